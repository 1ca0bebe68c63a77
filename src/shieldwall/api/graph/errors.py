"""Refusals in Graph's shape, with the ids by which a caller and an operator find a request in the log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers

from shieldwall.errors import ApiError
from shieldwall.times import now

ROOTS = ("/v1.0", "/beta")
"""What paths of Graph begin with."""

_CODES = {
    "Unauthorized": "InvalidAuthenticationToken",
    "ResourceNotFound": "NotFound",
    "ODataError": "BadRequest",
    "InvalidRequestBody": "BadRequest",
    "MissingRequiredParameter": "BadRequest",
    "InvalidInput": "BadRequest",
}
_CLIENT_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")


def root(path: str) -> str | None:
    """The root of Graph that a path is under, if it is under one."""
    return next((item for item in ROOTS if path == item or path.startswith(f"{item}/")), None)


def is_graph(path: str) -> bool:
    return root(path) is not None


def request_ids(headers: Headers) -> dict[str, str]:
    """The headers that every answer carries: an id of its own, and the caller's where that is one."""
    own = str(uuid4())
    said = headers.get("client-request-id", "")
    return {"request-id": own, "client-request-id": said if _CLIENT_ID.fullmatch(said) else own}


def body(problem: ApiError, ids: Mapping[str, str]) -> dict[str, Any]:
    inner = {"date": f"{now():%Y-%m-%dT%H:%M:%S}", **ids}
    code = _CODES.get(problem.code, problem.code)
    return {"error": {"code": code, "message": problem.message, "innerError": inner}}
