"""The page where a person enters the code that a program shows, and signs in for that program."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from shieldwall.api import oauth_html as html
from shieldwall.api import oauth_scopes
from shieldwall.api.access import services_of
from shieldwall.api.oauth_forms import WRONG, PageRoute, address, csrf_token, own_form, person, with_cookie
from shieldwall.api.oauth_protocol import IDENTITY_SCOPES, OAuthError
from shieldwall.identity import device_codes
from shieldwall.identity.applications import any_application
from shieldwall.identity.models import Application
from shieldwall.identity.people import DeviceCode, User
from shieldwall.identity.standing import standing

if TYPE_CHECKING:
    from shieldwall.services import Services

router = APIRouter(route_class=PageRoute, tags=["OAuth"])

TITLE = "Sign in on another machine"
_GUESS = "device code"


@router.get("/{tenant}/oauth2/deviceauth", summary="Enter the code of a program")
async def code_page(tenant: str, request: Request) -> Response:
    """A page for people."""
    csrf = csrf_token(request)
    return with_cookie(html.page(TITLE, html.code_form(csrf)), csrf)


@router.post("/{tenant}/oauth2/deviceauth", include_in_schema=False)
async def enter(tenant: str, request: Request) -> Response:
    """First the code alone; then again with name and password, once the person has read what it is for."""
    form = await own_form(request)
    services, csrf, source = services_of(request), form["csrf"], address(request)
    services.tokens.sign_in.guess(source, _GUESS)
    code = form.get("user_code", "")[:40]
    waiting = await asyncio.to_thread(_waiting, services, code)
    if waiting is None:
        services.tokens.sign_in.guessed_wrongly(source, _GUESS)
        return html.page(TITLE, html.code_form(csrf, "No program waits with this code."), status=400)
    if "decision" not in form:
        return _page(csrf, code, *waiting)
    row = waiting[0]
    user = await person(request, form, None if row.any_tenant else row.tenant_id)
    if user is None:
        return _page(csrf, code, *waiting, form.get("username", ""), WRONG)
    return await asyncio.to_thread(_decide, services, code, waiting, user, form["decision"], source)


def _waiting(services: Services, code: str) -> tuple[DeviceCode, Application] | None:
    row = device_codes.pending(services.database, code)
    application = any_application(services.database, row.application_id) if row else None
    return (row, application) if row and application else None


def _decide(
    services: Services,
    code: str,
    waiting: tuple[DeviceCode, Application],
    user: User,
    decision: str,
    source: str,
) -> Response:
    row, application = waiting
    found = standing(services.database, user.tenant_id, application.id)
    if found is None:
        raise OAuthError(403, "access_denied", 65001, "Your tenant has not consented to this application.")
    oauth_scopes.usable(row.scopes, found.delegated)
    accepted = decision == "accept"
    if not device_codes.decide(services.database, code, user, accepted, source=source):
        raise OAuthError(400, "invalid_request", 70020, "The code has expired or was used; start again.")
    done = f"{application.name} is signed in." if accepted else f"{application.name} was not signed in."
    return html.page("Done", html.paragraph(f"{done} You can close this page."))


def _page(
    csrf: str, code: str, row: DeviceCode, application: Application, upn: str = "", problem: str = ""
) -> Response:
    wanted = [scope for scope in row.scopes if scope not in IDENTITY_SCOPES]
    if oauth_scopes.DEFAULT in wanted:
        wanted = application.delegated
    about = html.paragraph(
        f"{application.name} asks to act for you on another machine. Cancel if you did not start it."
    ) + html.listing("As far as your own roles let you, it may use:", wanted)
    body = html.sign_in_form(
        csrf, about=about, accept="Sign in", upn=upn, problem=problem, hidden={"user_code": code}
    )
    return html.page(TITLE, body, status=400 if problem else 200)
