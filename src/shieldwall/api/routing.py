"""Routers whose operations describe themselves: what OpenAPI tells comes from what is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from shieldwall.api.access import Requires
from shieldwall.api.bodies import Shape
from shieldwall.api.contract import load, shape

_REFUSED = {
    "description": "Refused. The codes are those of the service; 405 has no body.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["code", "message"],
                        "properties": {
                            "code": {"type": "string"},
                            "message": {"type": "string"},
                            "target": {"type": "string"},
                        },
                    }
                },
            }
        }
    },
}


class Operation(APIRoute):
    """A route whose OpenAPI entry tells what its dependencies ask for, and the statuses of the contract."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        method = next(iter(options.get("methods") or ["GET"]))
        options["status_code"] = options.get("status_code") or _statuses().get((method, shape(path)), 200)
        options["responses"] = {"4XX": _REFUSED} | (options.get("responses") or {})
        super().__init__(path, endpoint, **options)
        extra = dict(self.openapi_extra or {})
        for needed in self.dependant.dependencies:
            if isinstance(needed.call, Requires):
                extra["x-permissions"] = list(needed.call.permissions)
                extra["x-delegated-permissions"] = list(needed.call.delegated)
            elif isinstance(needed.call, Shape):
                extra |= needed.call.openapi()
        self.openapi_extra = extra


@cache
def _statuses() -> Mapping[tuple[str, str], int]:
    """The status of a good answer by method and shape of the path, as the contract has it."""
    return {(each.method, shape(each.path)): each.answer.status for each in load().operations}


def router(tag: str) -> APIRouter:
    return APIRouter(route_class=Operation, tags=[tag])
