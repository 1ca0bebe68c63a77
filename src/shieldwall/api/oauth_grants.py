"""The grants of the token endpoint: who may have a token, for each ``grant_type``."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from shieldwall import log
from shieldwall.api import oauth_protocol as protocol
from shieldwall.api import oauth_scopes
from shieldwall.api.oauth_protocol import Client, OAuthError, needed
from shieldwall.identity import audit, authorization_codes, claims, device_codes, refresh_tokens
from shieldwall.identity.applications import SignInError, any_application
from shieldwall.identity.assertions import BadAssertion
from shieldwall.identity.granted import BadGrant, Granted
from shieldwall.identity.people import User
from shieldwall.identity.standing import Standing, standing

if TYPE_CHECKING:
    from shieldwall.services import Services

logger = log.get("oauth")

Answer = dict[str, Any]


@dataclass(frozen=True)
class TokenRequest:
    """One call of the token endpoint. ``tenant_id`` is None under ``common`` and its like."""

    services: Services
    form: dict[str, str]
    authorization: str | None
    tenant: str
    tenant_id: str | None
    version: int
    base: str
    address: str


async def answer(request: TokenRequest) -> Answer:
    """The body of a good answer; OAuthError or ApiError else."""
    grant = needed(request.form, "grant_type")
    handler = GRANTS.get(grant)
    if handler is None:
        raise OAuthError(
            400,
            "unsupported_grant_type",
            70003,
            f"The app requested an unsupported grant type '{protocol.shown(grant)}'.",
        )
    try:
        return await handler(request)
    except BadGrant as error:
        raise OAuthError(400, error.error, error.number, error.text) from None


async def _client_credentials(request: TokenRequest) -> Answer:
    """An application's token for itself, with the roles that the tenant of the URL lets it have."""
    if request.tenant_id is None:
        raise OAuthError(400, "invalid_request", 50059, "Name the tenant in the URL of the request.")
    client = protocol.client_of(request.form, request.authorization)
    if not (client.secret or client.assertion):
        raise protocol.no_proof()
    resource = protocol.resource_of(request.form, request.version)
    tokens = request.services.tokens
    audience = tokens.audiences.normal(resource)
    if audience is None:
        raise protocol.unknown_resource(resource, request.version)
    found = await _proven(request, client, request.tenant_id)
    proof = claims.CERTIFICATE if client.assertion else claims.SECRET
    token = await asyncio.to_thread(
        tokens.issue, found, audience, base=request.base, version=request.version, proof=proof
    )
    return protocol.token_answer(token.value, token.not_before, token.expires, resource, request.version)


async def _authorization_code(request: TokenRequest) -> Answer:
    client, proof = await _client(request)
    form = request.form
    secret, redirect_uri = needed(form, "code"), needed(form, "redirect_uri")
    verifier = form.get("code_verifier", "")
    database = request.services.database
    granted = await asyncio.to_thread(
        authorization_codes.redeem, database, client, secret, redirect_uri, verifier
    )
    return await _tokens(request, granted, proof)


async def _refresh_token(request: TokenRequest) -> Answer:
    client, proof = await _client(request)
    secret = needed(request.form, "refresh_token")
    granted = await asyncio.to_thread(refresh_tokens.redeem, request.services.database, client, secret)
    return await _tokens(request, granted, proof)


async def _device_code(request: TokenRequest) -> Answer:
    client, proof = await _client(request)
    secret = request.form.get("device_code") or needed(request.form, "code")
    granted = await asyncio.to_thread(device_codes.poll, request.services.database, client, secret)
    return await _tokens(request, granted, proof)


async def _password(request: TokenRequest) -> Answer:
    """A person's name and password, from an application that people trust with them."""
    client, proof = await _client(request)
    upn, password = needed(request.form, "username"), needed(request.form, "password")
    asked = oauth_scopes.read(request.form, request.services.tokens.audiences, request.version)
    if asked is None:
        raise OAuthError(400, "invalid_request", 900144, "Name a resource or scopes.")
    services = request.services
    user = await services.tokens.sign_in.person(request.tenant_id, upn, password, request.address)
    if user is None:
        raise OAuthError(400, "invalid_grant", 50126, "Invalid username or password.")
    found = user
    granted = Granted(found.tenant_id, client, found.id, asked.scopes, asked.audience, str(uuid4()))

    def note() -> None:
        with services.database.session(found.tenant_id) as session:
            detail = {"application": client, "scopes": list(asked.scopes)}
            audit.record(
                session, found.upn, "signin.password", found.id, detail=detail, source_ip=request.address
            )

    await asyncio.to_thread(note)
    return await _tokens(request, granted, proof)


async def _client(request: TokenRequest) -> tuple[str, str]:
    """The id of the application that acts for a person, and how it proved itself."""
    client = protocol.client_of(request.form, request.authorization)
    application = await asyncio.to_thread(any_application, request.services.database, client.id)
    if application is None:
        raise protocol.failed_sign_in("application", client.id, request.tenant)
    if application.public:
        if client.secret or client.assertion:
            raise OAuthError(
                401,
                "invalid_client",
                700025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            )
        return application.id, claims.PUBLIC
    if not (client.secret or client.assertion):
        raise protocol.no_proof()
    await _proven(request, client, application.tenant_id)
    return application.id, claims.CERTIFICATE if client.assertion else claims.SECRET


async def _proven(request: TokenRequest, client: Client, tenant_id: str) -> Standing:
    """The application in a tenant, once its secret or assertion has proven it."""
    sign_in = request.services.tokens.sign_in
    try:
        if client.assertion:
            audiences = _audiences(request)
            return await sign_in.certified(tenant_id, client.id, client.assertion, audiences, request.address)
        return await sign_in.client(tenant_id, client.id, client.secret, request.address)
    except BadAssertion as error:
        logger.warning("assertion refused", reason=error.text, client=client.id[:36], address=request.address)
        raise OAuthError(401, "invalid_client", error.number, error.text) from None
    except SignInError as error:
        logger.warning("sign-in failed", reason=error.reason, client=client.id[:36], address=request.address)
        raise protocol.failed_sign_in(error.reason, client.id, request.tenant) from None


def _audiences(request: TokenRequest) -> frozenset[str]:
    """What the ``aud`` of an assertion may be: this token endpoint under any of the server's names."""
    segments = {request.tenant, request.tenant.lower(), request.tenant_id or ""} - {""}
    return frozenset(
        f"{base}/{segment}/{path}"
        for base in request.services.tokens.audiences.bases
        for segment in segments
        for path in ("oauth2/token", "oauth2/v2.0/token", "v2.0")
    )


async def _tokens(request: TokenRequest, granted: Granted, proof: str) -> Answer:
    """The tokens of what a person granted, as far as application, tenant and person still stand."""
    if request.tenant_id not in (None, granted.tenant_id):
        raise OAuthError(400, "invalid_grant", 500208, "The sign-in was in another tenant.")
    services, version = request.services, request.version
    asked = oauth_scopes.read(request.form, services.tokens.audiences, version)
    if asked is not None:
        kept = [scope for scope in granted.scopes if scope in protocol.IDENTITY_SCOPES]
        named = [scope for scope in asked.scopes if scope not in protocol.IDENTITY_SCOPES]
        # Only identity scopes: the permissions of the sign-in go on.
        granted = replace(granted, scopes=(*named, *kept), audience=asked.audience) if named else granted

    def work() -> Answer:
        found = standing(services.database, granted.tenant_id, granted.application_id)
        if found is None:
            raise protocol.failed_sign_in("application", granted.application_id, granted.tenant_id)
        with services.database.read(granted.tenant_id) as session:
            user = session.get(User, granted.user_id)
        if user is None or not user.enabled:
            raise OAuthError(400, "invalid_grant", 50057, "The user account is disabled.")
        return _issue(request, granted, found, user, proof)

    return await asyncio.to_thread(work)


def _issue(request: TokenRequest, granted: Granted, found: Standing, user: User, proof: str) -> Answer:
    tokens, version, base = request.services.tokens, request.version, request.base
    usable = oauth_scopes.usable(granted.scopes, found.delegated)
    token = tokens.issue_for(user, found, usable, granted.audience, base=base, version=version, proof=proof)
    body = protocol.token_answer(token.value, token.not_before, token.expires, granted.audience, version)
    identity = [scope for scope in granted.scopes if scope in protocol.IDENTITY_SCOPES]
    default = [oauth_scopes.DEFAULT] if oauth_scopes.DEFAULT in granted.scopes else []
    body["scope"] = " ".join([*(f"{granted.audience}/{name}" for name in (*usable, *default)), *identity])
    if "offline_access" in granted.scopes:
        body["refresh_token"] = refresh_tokens.issue(request.services.database, granted)
    if "openid" in granted.scopes:
        body["id_token"] = tokens.identify(user, found.id, granted.nonce, base=base, version=version)
    if request.form.get("client_info") == "1":
        info = orjson.dumps({"uid": user.id, "utid": user.tenant_id})
        body["client_info"] = urlsafe_b64encode(info).rstrip(b"=").decode()
    return body


GRANTS: dict[str, Callable[[TokenRequest], Awaitable[Answer]]] = {
    "client_credentials": _client_credentials,
    "authorization_code": _authorization_code,
    "refresh_token": _refresh_token,
    "urn:ietf:params:oauth:grant-type:device_code": _device_code,
    "device_code": _device_code,
    "password": _password,
}

SUPPORTED = tuple(name for name in GRANTS if name != "device_code")
