"""Structured logs on standard error: JSON lines for machines, or readable lines for people."""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog

_SECRET_KEYS = ("secret", "password", "token", "authorization", "assertion", "private_key")


def configure(level: str = "INFO", json: bool = True) -> None:
    """Set up logging of the whole process; call once at start."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry the part of the server they come from."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(part=name))


def _hide_secrets(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for key in event:
        if any(word in key.lower() for word in _SECRET_KEYS):
            event[key] = "[hidden]"
    return event
