"""Reading request bodies with a bound, before anything is done with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from shieldwall.errors import ApiError, bad_request


async def read(request: Request, most: int) -> bytes:
    """The whole body; ApiError 413 as soon as it is known to be larger than ``most`` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    parts = []
    size = 0
    async for part in stream(request):
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


async def stream(request: Request) -> AsyncIterator[bytes]:
    """The body in parts; ApiError 400 when the client goes away in the middle."""
    try:
        async for part in request.stream():
            if part:
                yield part
    except ClientDisconnect:
        raise bad_request("The body was cut off.", "InvalidRequestBody") from None


def json_object(body: bytes) -> dict[str, Any]:
    """A body that must be a JSON object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise bad_request("The body is not JSON.", "InvalidRequestBody") from None
    if not isinstance(value, dict):
        raise bad_request("The body is not a JSON object.", "InvalidRequestBody")
    return value


def _too_large(most: int) -> ApiError:
    return ApiError(413, "MaximumBatchSizeExceeded", f"The body is larger than {most} bytes.")
