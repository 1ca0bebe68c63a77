"""Errors of the agent routes, in the API's one shape."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shieldwall import log
from shieldwall.errors import ApiError

logger = log.get("gateway")


async def render_api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _answer(error)


async def render_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "NotFound" if error.status_code == 404 else "BadRequest"
    return _answer(ApiError(error.status_code, code, error.detail, headers=error.headers))


async def render_failure(request: Request, error: Exception) -> Response:
    logger.error("request failed", path=request.url.path, exc_info=error)
    return _answer(ApiError(500, "InternalServerError", ""))


def _answer(error: ApiError) -> Response:
    return Response(orjson.dumps(error.body()), error.status, error.headers, "application/json")


exception_handlers: Any = {
    ApiError: render_api_error,
    HTTPException: render_http_error,
    Exception: render_failure,
}
