"""The sign-in page: a person signs in to an application, which gets a code for it on its redirect address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from shieldwall.api import oauth_html as html
from shieldwall.api import oauth_protocol as protocol
from shieldwall.api import oauth_scopes
from shieldwall.api.access import services_of
from shieldwall.api.oauth import tenant_id_of
from shieldwall.api.oauth_forms import WRONG, PageRoute, address, csrf_token, own_form, person, with_cookie
from shieldwall.api.oauth_protocol import OAuthError
from shieldwall.identity import authorization_codes
from shieldwall.identity.applications import any_application
from shieldwall.identity.models import Application
from shieldwall.identity.people import User
from shieldwall.identity.redirects import is_registered
from shieldwall.identity.standing import standing

router = APIRouter(route_class=PageRoute, tags=["OAuth"])

STATE_LIMIT = 4000
NONCE_LIMIT = 500
MODES = ("query", "fragment", "form_post")


@dataclass(frozen=True)
class SignInRequest:
    """A sign-in whose application and redirect address are known, so that errors can go there."""

    application: Application
    redirect_uri: str
    state: str
    mode: str
    tenant_id: str | None
    asked: oauth_scopes.Asked
    challenge: str
    nonce: str
    prompt: str
    login_hint: str


class Returned(Exception):
    """An answer that goes to the application instead of a page."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


@router.get("/{tenant}/oauth2/v2.0/authorize", summary="Sign in to an application (v2)")
async def sign_in_page_v2(tenant: str, request: Request) -> Response:
    """A page for people. The code goes to `redirect_uri`; public clients need PKCE with S256."""
    return await _show(tenant, request, 2)


@router.get("/{tenant}/oauth2/authorize", summary="Sign in to an application (v1)")
async def sign_in_page_v1(tenant: str, request: Request) -> Response:
    """Also the consent link of partner applications: `prompt=consent` without `redirect_uri`."""
    return await _show(tenant, request, 1)


@router.post("/{tenant}/oauth2/v2.0/authorize", include_in_schema=False)
async def sign_in_v2(tenant: str, request: Request) -> Response:
    return await _decide(tenant, request, 2)


@router.post("/{tenant}/oauth2/authorize", include_in_schema=False)
async def sign_in_v1(tenant: str, request: Request) -> Response:
    return await _decide(tenant, request, 1)


async def _show(tenant: str, request: Request, version: int) -> Response:
    query = _query(request)
    if query.get("prompt") in ("consent", "admin_consent") and "redirect_uri" not in query:
        await asyncio.to_thread(tenant_id_of, services_of(request), tenant)
        kept = urlencode({"client_id": query.get("client_id", ""), "state": query.get("state", "")})
        return RedirectResponse(f"/{tenant}/v2.0/adminconsent?{kept}", 302)
    try:
        asked = await _read(tenant, query, request, version)
        if asked.prompt == "none":
            _fail(asked, "login_required", 50058, "Nobody is signed in; show the page.")
    except Returned as returned:
        return returned.answer
    return _page(request, asked)


async def _decide(tenant: str, request: Request, version: int) -> Response:
    form = await own_form(request)
    try:
        asked = await _read(tenant, _query(request), request, version)
        if form.get("decision") == "cancel":
            _fail(asked, "access_denied", 65004, "The person did not sign in.")
        user = await person(request, form, asked.tenant_id)
        if user is None:
            return _page(request, asked, form.get("username", ""), WRONG, 400)
        return await asyncio.to_thread(_code, request, asked, user)
    except Returned as returned:
        return returned.answer


def _code(request: Request, asked: SignInRequest, user: User) -> Response:
    """Send the person back with a code, if their tenant knows the application."""
    database = services_of(request).database
    found = standing(database, user.tenant_id, asked.application.id)
    if found is None:
        _fail(asked, "access_denied", 65001, "The tenant has not consented to this application.")
    try:
        oauth_scopes.usable(asked.asked.scopes, found.delegated)
    except OAuthError as error:
        _fail(asked, "access_denied", error.number, error.text)
    code = authorization_codes.issue(
        database,
        user,
        asked.application.id,
        scopes=asked.asked.scopes,
        audience=asked.asked.audience,
        redirect_uri=asked.redirect_uri,
        challenge=asked.challenge,
        nonce=asked.nonce,
        source=address(request),
    )
    return _return(asked, {"code": code})


async def _read(tenant: str, query: Mapping[str, str], request: Request, version: int) -> SignInRequest:
    """Check a request: its application and address first, whose errors are shown; the rest is sent back."""
    services = services_of(request)
    tenant_id = await asyncio.to_thread(tenant_id_of, services, tenant)
    client_id, redirect_uri = query.get("client_id", ""), query.get("redirect_uri", "")
    application = await asyncio.to_thread(any_application, services.database, client_id)
    if application is None:
        raise protocol.failed_sign_in("application", client_id, tenant)
    if not is_registered(redirect_uri, application.redirect_uris, public=application.public):
        raise OAuthError(
            400,
            "invalid_request",
            50011,
            f"The redirect URI '{protocol.shown(redirect_uri)}' is not one of those registered for the"
            f" application '{application.name}'.",
        )
    if len(query.get("state", "")) > STATE_LIMIT or len(query.get("nonce", "")) > NONCE_LIMIT:
        raise OAuthError(400, "invalid_request", 90100, "The state or nonce is too long.")
    mode = query.get("response_mode", "query")
    asked = SignInRequest(
        application,
        redirect_uri,
        query.get("state", ""),
        mode if mode in MODES else "query",
        tenant_id if tenant_id or application.multi_tenant else application.tenant_id,
        oauth_scopes.Asked("", "", ()),
        query.get("code_challenge", ""),
        query.get("nonce", ""),
        query.get("prompt", ""),
        query.get("login_hint", "")[:200],
    )
    if query.get("response_type") != "code":
        _fail(asked, "unsupported_response_type", 700054, "The response_type must be 'code'.")
    if mode not in MODES:
        _fail(asked, "invalid_request", 90023, f"The response_mode must be one of {', '.join(MODES)}.")
    _check_challenge(asked, query.get("code_challenge_method", ""))
    try:
        scopes = oauth_scopes.read(query, services.tokens.audiences, version)
    except OAuthError as error:
        _fail(asked, error.error, error.number, error.text)
    if scopes is None:
        _fail(asked, "invalid_request", 900144, "Name a scope.")
    return SignInRequest(**{**vars(asked), "asked": scopes})


def _check_challenge(asked: SignInRequest, method: str) -> None:
    if not asked.challenge and not method:
        if asked.application.public:
            _fail(asked, "invalid_request", 9002325, "Public clients need a code_challenge (PKCE) with S256.")
        return
    if method != "S256" or not authorization_codes.CHALLENGE.fullmatch(asked.challenge):
        _fail(asked, "invalid_request", 501491, "The code_challenge must be of the method S256.")


def _page(
    request: Request, asked: SignInRequest, upn: str = "", problem: str = "", status: int = 200
) -> Response:
    csrf = csrf_token(request)
    about = html.paragraph(f"{asked.application.name} asks to act for you.")
    wanted = [scope for scope in asked.asked.scopes if scope not in protocol.IDENTITY_SCOPES]
    if oauth_scopes.DEFAULT in wanted:
        wanted = asked.application.delegated
    body = html.sign_in_form(
        csrf,
        about=about + html.listing("As far as your own roles let you, it may use:", wanted),
        accept="Sign in",
        upn=upn or asked.login_hint,
        problem=problem,
    )
    answer = html.page("Sign in", body, status=status, form_targets=[_origin(asked.redirect_uri)])
    return with_cookie(answer, csrf)


def _fail(asked: SignInRequest, error: str, number: int, text: str) -> NoReturn:
    described = f"AADSTS{number}: {text}"
    raise Returned(_return(asked, {"error": error, "error_description": described}))


def _return(asked: SignInRequest, fields: dict[str, str]) -> Response:
    """Take an answer to the application in the way that it asked for."""
    if asked.state:
        fields["state"] = asked.state
    target = asked.redirect_uri
    if asked.mode == "form_post":
        return html.page("Continue", html.post_form(target, fields), form_targets=[_origin(target)])
    if asked.mode == "fragment":
        location = f"{target}#{urlencode(fields)}"
    else:
        location = f"{target}{'&' if urlsplit(target).query else '?'}{urlencode(fields)}"
    return RedirectResponse(location, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def _origin(target: str) -> str:
    url = urlsplit(target)
    return f"{url.scheme}://{url.netloc}"


def _query(request: Request) -> dict[str, str]:
    """The query's parameters; one that comes twice is refused, since parts could read it differently."""
    try:
        pairs = parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=protocol.FIELDS_LIMIT)
    except ValueError:
        raise OAuthError(400, "invalid_request", 90100, "The query has too many parameters.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise OAuthError(400, "invalid_request", 9000411, "A parameter is duplicated.")
    return found
