"""Who may call a route: the permissions it names, checked before anything of the request is read.

One mechanism for applications and people: a route names application permissions, and what a person needs
follows from them (`identity/permissions.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from shieldwall.errors import ApiError
from shieldwall.identity.permissions import delegated as twin
from shieldwall.identity.principal import Principal
from shieldwall.state import scope

if TYPE_CHECKING:
    from shieldwall.api.rate_limits import RateLimits
    from shieldwall.services import Services


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


class Requires:
    """A dependency that answers the caller, who holds one of ``permissions``; none means any valid token."""

    def __init__(self, *permissions: str, delegated: Sequence[str] | None = None) -> None:
        self.permissions = permissions
        self.delegated = tuple(
            dict.fromkeys(map(twin, permissions)) if delegated is None else delegated,
        )

    async def __call__(self, request: Request) -> Principal:
        # A coroutine: what it says of the devices must hold for the rest of the request, and what runs in a
        # thread says it to nobody else.
        tokens, bearer = services_of(request).tokens, request.headers.get("authorization")
        principal = tokens.recall(bearer)
        if principal is None:
            principal = await run_in_threadpool(tokens.verify, bearer)
        request.state.principal = principal
        check(principal, self.permissions, self.delegated)
        limit(request, principal)
        return principal


def requires(
    *permissions: str, delegated: Sequence[str] | None = None
) -> Callable[[Request], Coroutine[Any, Any, Principal]]:
    """Let in applications that hold one of ``permissions``, and people with one of ``delegated``.

    Those are the twins of ``permissions`` unless the operation is documented to need others; an empty list
    keeps people out. ApiError 401 or 403 otherwise. From here on the caller's devices are all that there are.
    """
    return Requires(*permissions, delegated=delegated)


def limit(request: Request, principal: Principal) -> None:
    """ApiError 429 where the caller's application has called this operation too often."""
    template = request.scope["state"].get("template")
    if template is not None and services_of(request).settings.rate_limits:
        limits: RateLimits = request.app.state.limits
        limits.admit(principal, request.method, template)


def check(principal: Principal, permissions: Sequence[str], delegated: Sequence[str] | None = None) -> None:
    """ApiError 403 where the caller holds none of the permissions; else narrow to where they hold them."""
    if not principal.user_id:
        scope.narrow(None)
        if permissions and not principal.may(*permissions):
            raise _forbidden("The application", "application permissions", permissions)
        return
    needed = [twin(permission) for permission in permissions] if delegated is None else delegated
    scope.narrow(principal.reach(needed))
    if permissions and not principal.may_delegated(needed):
        raise _forbidden("The user", "delegated permissions", needed)


def _forbidden(who: str, kind: str, needed: Sequence[str]) -> ApiError:
    listed = f" ({', '.join(needed)})" if needed else ""
    return ApiError(
        403,
        "Forbidden",
        f"{who} does not have any of the required {kind}{listed} to access the resource.",
    )
