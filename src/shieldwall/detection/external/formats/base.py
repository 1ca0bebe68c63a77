"""What a format is: how its records are known, and how one becomes bodies in our schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from shieldwall.detection.external.mapping import Mapped, Record


@dataclass(frozen=True)
class Format:
    """``recognises`` must be true of no other product's records: nobody says what they sent."""

    name: str
    title: str
    recognises: Callable[[Record], bool]
    read: Callable[[Record], Iterable[Mapped]]
    """FieldError for a record that is no alert, or lacks what makes one."""
    content_types: tuple[str, ...] = ()
    parse_line: Callable[[str], Record] | None = None
    """Of formats that are lines of text: a line as a record. FieldError names what is wrong."""
    marks: tuple[str, ...] = ()
    """Texts that a line of the format has near its beginning."""


def ranked(value: Any, *steps: tuple[float, str]) -> str | None:
    """The word of the highest step that a number reaches; None where it is none.

    >>> ranked("7", (0, "Low"), (5, "Medium"), (8, "High"))
    'Medium'
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return next((word for least, word in reversed(steps) if number >= least), steps[0][1])
