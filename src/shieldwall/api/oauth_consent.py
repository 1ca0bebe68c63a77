"""The page where an administrator of a tenant lets a partner's application in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from shieldwall.api import oauth_html as html
from shieldwall.api.access import services_of
from shieldwall.api.oauth import tenant_id_of
from shieldwall.api.oauth_forms import WRONG, PageRoute, csrf_token, own_form, person, with_cookie
from shieldwall.api.oauth_protocol import OAuthError, shown
from shieldwall.identity import consents
from shieldwall.identity.models import Application, Tenant
from shieldwall.identity.redirects import is_registered

if TYPE_CHECKING:
    from shieldwall.services import Services

router = APIRouter(route_class=PageRoute, tags=["OAuth"])

TITLE = "Let an application in"
STATE_LIMIT = 4000


@router.get("/{tenant}/v2.0/adminconsent", summary="Consent to a partner's application")
@router.get("/{tenant}/adminconsent", include_in_schema=False)
async def consent_page(
    tenant: str, request: Request, client_id: str = "", redirect_uri: str = "", state: str = ""
) -> Response:
    """A page for administrators. What the application may do in the tenant is shown before they accept."""
    services = services_of(request)
    await asyncio.to_thread(tenant_id_of, services, tenant)
    application, publisher = await asyncio.to_thread(_application, services, client_id)
    _check(application, redirect_uri, state)
    csrf = csrf_token(request)
    return with_cookie(_page(csrf, application, publisher, redirect_uri), csrf)


@router.post("/{tenant}/v2.0/adminconsent", include_in_schema=False)
@router.post("/{tenant}/adminconsent", include_in_schema=False)
async def decide(
    tenant: str, request: Request, client_id: str = "", redirect_uri: str = "", state: str = ""
) -> Response:
    form = await own_form(request)
    services = services_of(request)
    tenant_id = await asyncio.to_thread(tenant_id_of, services, tenant)
    application, publisher = await asyncio.to_thread(_application, services, client_id)
    _check(application, redirect_uri, state)
    if form.get("decision") != "accept":
        return _return(redirect_uri, state, {"error": "access_denied"}, "The application was not let in.")
    user = await person(request, form, tenant_id)
    if user is None or not user.admin:
        problem = WRONG if user is None else "Only an administrator of the tenant can let an application in."
        return _page(form["csrf"], application, publisher, redirect_uri, form.get("username", ""), problem)
    await asyncio.to_thread(_grant, services, user.tenant_id, application.id, user.upn)
    fields = {"admin_consent": "True", "tenant": user.tenant_id}
    return _return(redirect_uri, state, fields, f"{application.name} is let in.")


def _grant(services: Services, tenant_id: str, application_id: str, upn: str) -> None:
    consents.grant(services.database, tenant_id, application_id, actor=upn)


def _application(services: Services, client_id: str) -> tuple[Application, str]:
    """The application and the name of its publisher's tenant."""
    with services.database.system_read() as session:
        application = consents.partner_application(session, client_id.replace("\x00", ""))
        publisher = session.get(Tenant, application.tenant_id)
        return application, publisher.name if publisher else ""


def _check(application: Application, redirect_uri: str, state: str) -> None:
    if redirect_uri and not is_registered(redirect_uri, application.redirect_uris, public=False):
        raise OAuthError(
            400, "invalid_request", 50011, f"The redirect URI '{shown(redirect_uri)}' is not registered."
        )
    if len(state) > STATE_LIMIT:
        raise OAuthError(400, "invalid_request", 90100, "The state is too long.")


def _page(
    csrf: str,
    application: Application,
    publisher: str,
    redirect_uri: str,
    upn: str = "",
    problem: str = "",
) -> HTMLResponse:
    about = (
        html.paragraph(f"{application.name}, published by {publisher}, asks for your whole tenant:")
        + html.listing("By itself, on all devices:", application.roles)
        + html.listing("In the name of people, as far as their roles let them:", application.delegated)
        + html.paragraph("What you accept holds until you take it back: shieldwall app consent --revoke.")
    )
    body = html.sign_in_form(csrf, about=about, accept="Accept", upn=upn, problem=problem)
    url = urlsplit(redirect_uri)
    targets = [f"{url.scheme}://{url.netloc}"] if redirect_uri else []
    return html.page(TITLE, body, status=400 if problem else 200, form_targets=targets)


def _return(redirect_uri: str, state: str, fields: dict[str, str], done: str) -> Response:
    if not redirect_uri:
        return html.page("Done", html.paragraph(f"{done} You can close this page."))
    joint = "&" if urlsplit(redirect_uri).query else "?"
    kept = fields | ({"state": state} if state else {})
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(kept)}", 303, {"Cache-Control": "no-store"})
