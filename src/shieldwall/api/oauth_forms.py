"""What the sign-in pages share: forms that only our own pages can send, and refusals that are pages."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse

from shieldwall.api import oauth_html as html
from shieldwall.api.access import services_of
from shieldwall.api.oauth_protocol import OAuthError, read_form
from shieldwall.errors import ApiError
from shieldwall.identity.people import User

COOKIE = "__Host-shieldwall-csrf"
WRONG = "The user name or the password is wrong."

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class PageRoute(APIRoute):
    """Shows errors to the person who sits before the browser."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthError as error:
                return _refused(f"AADSTS{error.number}: {error.text}", error.status, error.headers)
            except ApiError as error:
                return _refused(error.message, error.status, error.headers)

        return handler


def _refused(text: str, status: int, headers: dict[str, str]) -> Response:
    answer = html.page("Sign-in is not possible", html.alert(text), status=status)
    answer.headers.update(headers)
    return answer


def csrf_token(request: Request) -> str:
    """What the forms of this browser carry: the same in all its tabs."""
    known = request.cookies.get(COOKIE, "")
    return known if _TOKEN.fullmatch(known) else secrets.token_urlsafe(32)


def with_cookie(answer: HTMLResponse, token: str) -> HTMLResponse:
    """Bind the browser to the token. The cookie's name keeps other hosts from setting it."""
    answer.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="lax", path="/")
    return answer


async def own_form(request: Request) -> dict[str, str]:
    """The fields of a form that came from a page of ours in this browser; OAuthError otherwise."""
    form = await read_form(request)
    cookie, field = request.cookies.get(COOKIE, ""), form.get("csrf", "")
    if not _TOKEN.fullmatch(cookie) or not hmac.compare_digest(cookie.encode(), field.encode()):
        raise OAuthError(
            403, "invalid_request", 90014, "The page is too old or cookies are off; open it again."
        )
    return form


async def person(request: Request, form: dict[str, str], tenant_id: str | None) -> User | None:
    """Who signs in with a form, None when name and password do not belong together."""
    sign_in = services_of(request).tokens.sign_in
    upn, password = form.get("username", ""), form.get("password", "")
    return await sign_in.person(tenant_id, upn, password, address(request))


def address(request: Request) -> str:
    return request.client.host if request.client else ""
