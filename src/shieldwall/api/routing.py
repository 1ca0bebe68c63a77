"""Routers whose operations describe themselves: what OpenAPI tells comes from what is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from shieldwall.api.access import Requires
from shieldwall.api.bodies import Shape


class Operation(APIRoute):
    """A route whose OpenAPI entry tells the permissions and the body that its dependencies ask for."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        extra = dict(self.openapi_extra or {})
        for needed in self.dependant.dependencies:
            if isinstance(needed.call, Requires):
                extra["x-permissions"] = list(needed.call.permissions)
                extra["x-delegated-permissions"] = list(needed.call.delegated)
            elif isinstance(needed.call, Shape):
                extra |= needed.call.openapi()
        self.openapi_extra = extra


def router(tag: str) -> APIRouter:
    return APIRouter(route_class=Operation, tags=[tag])
