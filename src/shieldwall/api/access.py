"""Who may call a route: the permissions it names, checked before anything of the request is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastapi import Request

from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal

if TYPE_CHECKING:
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
        return principal


def requires(*permissions: str) -> Callable[[Request], Principal]:
    """Let in applications that hold at least one of ``permissions``; ApiError 401 or 403 otherwise."""
    return Requires(*permissions)


def check(principal: Principal, permissions: Sequence[str]) -> None:
    """ApiError 403, naming what is missing, where the caller holds none of ``permissions``."""
    if permissions and not principal.may(*permissions):
        raise ApiError(
            403,
            "Forbidden",
            "The application does not have any of the required application permissions"
            f" ({', '.join(permissions)}) to access the resource.",
        )
