"""Token, discovery and key documents on the paths that Microsoft identity clients ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from shieldwall.api import oauth_grants, oauth_scopes
from shieldwall.api import oauth_protocol as protocol
from shieldwall.api.oauth_grants import TokenRequest
from shieldwall.api.oauth_protocol import OAuthError
from shieldwall.errors import ApiError
from shieldwall.identity import device_codes
from shieldwall.identity.applications import RESERVED_TENANTS, any_application, find_tenant
from shieldwall.identity.claims import issuer

if TYPE_CHECKING:
    from shieldwall.services import Services

DOCUMENT_SECONDS = 3600
"""How long clients may keep discovery and key documents."""


class OAuthRoute(APIRoute):
    """Renders errors as OAuth clients read them, which is not the shape of the rest of the API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthError as error:
                return error.response(request)
            except ApiError as error:
                number = 90033 if error.status == 429 else 90100
                refusal = OAuthError(
                    error.status, "temporarily_unavailable", number, error.message, error.headers
                )
                return refusal.response(request)

        return handler


router = APIRouter(route_class=OAuthRoute, tags=["OAuth"])


@router.post("/{tenant}/oauth2/token", summary="Get a token (v1, resource)")
@router.get("/{tenant}/oauth2/token", include_in_schema=False)
async def token_v1(tenant: str, request: Request) -> Response:
    """Any grant, for ``resource``. The form may come without a Content-Type, or in a GET's body."""
    return await _token(tenant, request, 1)


@router.post("/{tenant}/oauth2/v2.0/token", summary="Get a token (v2, scope)")
@router.get("/{tenant}/oauth2/v2.0/token", include_in_schema=False)
async def token_v2(tenant: str, request: Request) -> Response:
    """Any grant, for ``scope``: a resource and ``/.default``, or for people a resource and permissions."""
    return await _token(tenant, request, 2)


async def _token(tenant: str, request: Request, version: int) -> Response:
    services: Services = request.app.state.services
    form = await protocol.read_form(request)
    asked = TokenRequest(
        services,
        form,
        request.headers.get("authorization"),
        tenant,
        await asyncio.to_thread(tenant_id_of, services, tenant),
        version,
        services.tokens.audiences.base(request.headers.get("host")),
        request.client.host if request.client else "",
    )
    return JSONResponse(await oauth_grants.answer(asked), headers=protocol.NO_STORE)


@router.post("/{tenant}/oauth2/v2.0/devicecode", summary="Start a sign-in on another machine (v2)")
async def device_code_v2(tenant: str, request: Request) -> Response:
    """For programs without a browser: show the code to a person, and poll the token endpoint."""
    return await _device_code(tenant, request, 2)


@router.post("/{tenant}/oauth2/devicecode", summary="Start a sign-in on another machine (v1)")
async def device_code_v1(tenant: str, request: Request) -> Response:
    return await _device_code(tenant, request, 1)


async def _device_code(tenant: str, request: Request, version: int) -> Response:
    services: Services = request.app.state.services
    form = await protocol.read_form(request)
    tenant_id = await asyncio.to_thread(tenant_id_of, services, tenant)
    client_id = protocol.needed(form, "client_id")
    application = await asyncio.to_thread(any_application, services.database, client_id)
    if application is None:
        raise protocol.failed_sign_in("application", client_id, tenant)
    asked = oauth_scopes.read(form, services.tokens.audiences, version)
    if asked is None:
        raise OAuthError(400, "invalid_request", 900144, "Name a resource or scopes.")
    address = request.client.host if request.client else ""
    services.tokens.sign_in.started(address)
    device_code, user_code = await asyncio.to_thread(
        device_codes.create,
        services.database,
        application,
        tenant_id if tenant_id or application.multi_tenant else application.tenant_id,
        asked.scopes,
        asked.audience,
    )
    base = services.tokens.audiences.base(request.headers.get("host"))
    page = f"{base}/common/oauth2/deviceauth"
    seconds = int(device_codes.LIFETIME.total_seconds())
    body: dict[str, Any] = {
        "user_code": user_code,
        "device_code": device_code,
        "verification_uri" if version == 2 else "verification_url": page,
        "expires_in": seconds if version == 2 else str(seconds),
        "interval": device_codes.INTERVAL if version == 2 else str(device_codes.INTERVAL),
        "message": f"To sign in, use a web browser to open the page {page} and enter the code {user_code}"
        " to authenticate.",
    }
    return JSONResponse(body, headers=protocol.NO_STORE)


@router.get("/{tenant}/v2.0/.well-known/openid-configuration", summary="OpenID configuration (v2)")
async def configuration_v2(tenant: str, request: Request) -> Response:
    return await _configuration(tenant, request, 2)


@router.get("/{tenant}/.well-known/openid-configuration", summary="OpenID configuration (v1)")
async def configuration_v1(tenant: str, request: Request) -> Response:
    return await _configuration(tenant, request, 1)


async def _configuration(tenant: str, request: Request, version: int) -> Response:
    services: Services = request.app.state.services
    tenant_id = await asyncio.to_thread(tenant_id_of, services, tenant)
    base = services.tokens.audiences.base(request.headers.get("host"))
    segment = tenant_id or tenant.lower()
    middle = "v2.0/" if version == 2 else ""
    document = {
        "token_endpoint": f"{base}/{segment}/oauth2/{middle}token",
        "device_authorization_endpoint": f"{base}/{segment}/oauth2/{middle}devicecode",
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "client_secret_basic",
            "private_key_jwt",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
        "jwks_uri": f"{base}/{segment}/discovery/{middle}keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "grant_types_supported": oauth_grants.SUPPORTED,
        "code_challenge_methods_supported": ["S256"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer(base, tenant_id or "{tenantid}", version),
        "request_uri_parameter_supported": False,
        "authorization_endpoint": f"{base}/{segment}/oauth2/{middle}authorize",
        "claims_supported": [
            *("sub", "iss", "aud", "exp", "iat", "nbf", "nonce", "tid", "ver"),
            *("oid", "name", "upn", "preferred_username", "roles", "scp"),
        ],
        "tenant_region_scope": None,
        "cloud_instance_name": urlsplit(base).netloc,
    }
    return _document(document)


@router.get("/{tenant}/discovery/v2.0/keys", summary="Keys that verify tokens")
@router.get("/{tenant}/discovery/keys", include_in_schema=False)
@router.get("/discovery/v2.0/keys", include_in_schema=False)
@router.get("/discovery/keys", include_in_schema=False)
async def keys(request: Request) -> Response:
    """One set for all tenants."""
    services: Services = request.app.state.services
    return _document(services.tokens.keys.public_set())


@router.get("/common/discovery/instance", summary="Instance discovery")
async def instance(request: Request, authorization_endpoint: str = "") -> Response:
    """Where an authority's tenant is described; the only authority known here is this server itself."""
    services: Services = request.app.state.services
    audiences = services.tokens.audiences
    base = audiences.normal(authorization_endpoint)
    if base not in audiences.bases:
        raise OAuthError(400, "invalid_instance", 50049, "Unknown or invalid instance.")
    tenant = urlsplit(authorization_endpoint).path.strip("/").split("/")[0]
    tenant_id = await asyncio.to_thread(tenant_id_of, services, tenant)
    host = urlsplit(base).netloc
    segment = tenant_id or tenant.lower()
    document = {
        "tenant_discovery_endpoint": f"{base}/{segment}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }
    return _document(document)


def tenant_id_of(services: Services, tenant: str) -> str | None:
    """A tenant's id from its id or name, None for ``common`` and its like; OAuthError for a stranger."""
    if tenant.lower() in RESERVED_TENANTS:
        return None
    with services.database.system_read() as session:
        found = find_tenant(session, tenant)
    if found is None:
        raise protocol.unknown_tenant(tenant)
    return found.id


def _document(body: dict[str, Any]) -> Response:
    headers = {"Cache-Control": f"max-age={DOCUMENT_SECONDS}, private", "Vary": "Host"}
    return JSONResponse(body, headers=headers)
