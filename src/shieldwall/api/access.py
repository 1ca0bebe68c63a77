"""Who may call a route: the permissions it names, checked before anything of the request is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastapi import Request

from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal

if TYPE_CHECKING:
    from shieldwall.api.rate_limits import RateLimits
    from shieldwall.services import Services


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


class Requires:
    """A dependency that answers the caller, who holds one of ``permissions``; none means any valid token."""

    def __init__(self, *permissions: str) -> None:
        self.permissions = permissions

    def __call__(self, request: Request) -> Principal:
        principal = services_of(request).tokens.verify(request.headers.get("authorization"))
        request.state.principal = principal
        check(principal, self.permissions)
        limit(request, principal)
        return principal


def requires(*permissions: str) -> Callable[[Request], Principal]:
    """Let in applications that hold at least one of ``permissions``; ApiError 401 or 403 otherwise."""
    return Requires(*permissions)


def limit(request: Request, principal: Principal) -> None:
    """ApiError 429 where the caller's application has called this operation too often."""
    template = request.scope["state"].get("template")
    if template is not None and services_of(request).settings.rate_limits:
        limits: RateLimits = request.app.state.limits
        limits.admit(principal, request.method, template)


def check(principal: Principal, permissions: Sequence[str]) -> None:
    """ApiError 403, naming what is missing, where the caller holds none of ``permissions``."""
    if permissions and not principal.may(*permissions):
        raise ApiError(
            403,
            "Forbidden",
            "The application does not have any of the required application permissions"
            f" ({', '.join(permissions)}) to access the resource.",
        )
