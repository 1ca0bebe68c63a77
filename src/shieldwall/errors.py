"""The one error that leaves the server: what the API documents as ``{"error": {code, message, target}}``."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4


class ApiError(Exception):
    """A refusal with its HTTP status, documented code and a message for the caller.

    Domain parts raise it (or a subclass) for the caller's mistakes; the HTTP layer alone renders it.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.target = str(uuid4())

    def body(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message, "target": self.target}}


def bad_request(message: str, code: str = "BadRequest") -> ApiError:
    return ApiError(400, code, message)


def missing_parameter(name: str) -> ApiError:
    return ApiError(400, "MissingRequiredParameter", f"Parameter {name} is missing.")


def unauthorized(message: str = "The access token is missing, expired or not valid.") -> ApiError:
    return ApiError(401, "Unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def not_found(kind: str, identifier: str) -> ApiError:
    return ApiError(404, "ResourceNotFound", f"{kind} {identifier} was not found")


def too_many_requests(message: str, retry_after: int) -> ApiError:
    return ApiError(429, "TooManyRequests", message, headers={"Retry-After": str(retry_after)})
