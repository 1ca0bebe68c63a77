"""Requests and errors of the token endpoint as clients write and read them; nothing here reads any state."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse

from shieldwall.identity import assertions
from shieldwall.times import now

FORM_LIMIT = 64 << 10
FIELDS_LIMIT = 64
NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}

IDENTITY_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class OAuthError(Exception):
    """A refusal of the token endpoint: HTTP status, OAuth ``error`` and AADSTS number with its text."""

    def __init__(
        self, status: int, error: str, number: int, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.number = number
        self.text = text
        self.headers = dict(headers or {})

    def response(self, request: Request) -> JSONResponse:
        trace, time = str(uuid4()), now().strftime("%Y-%m-%d %H:%M:%SZ")
        correlation = request.headers.get("client-request-id", "")
        if not _GUID.fullmatch(correlation):
            correlation = str(uuid4())
        body = {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} Trace ID: {trace}"
            f" Correlation ID: {correlation} Timestamp: {time}",
            "error_codes": [self.number],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
        }
        headers = {**NO_STORE, "x-ms-request-id": trace, "client-request-id": correlation, **self.headers}
        return JSONResponse(body, self.status, headers)


@dataclass(frozen=True)
class Client:
    """Which application asks, and what it proves that with; a public one proves nothing."""

    id: str
    secret: str = ""
    assertion: str = ""


async def read_form(request: Request) -> dict[str, str]:
    """The body's form fields whatever the method and Content-Type: clients leave them out or mix them up."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_LIMIT:
            raise OAuthError(413, "invalid_request", 90100, "The request body is too large.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_LIMIT, errors="strict")
    except ValueError:
        raise OAuthError(400, "invalid_request", 90100, "The request body is not a valid form.") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            raise OAuthError(400, "invalid_request", 9000411, f"The parameter '{shown(name)}' is duplicated.")
        form[name] = value
    return form


def client_of(form: Mapping[str, str], authorization: str | None) -> Client:
    """Read who asks; OAuthError names what is wrong."""
    basic_id, basic_secret = _basic(authorization)
    assertion = form.get("client_assertion", "")
    if assertion and form.get("client_assertion_type") != assertions.TYPE:
        raise OAuthError(400, "invalid_request", 90023, f"client_assertion_type must be '{assertions.TYPE}'.")
    client_id = form.get("client_id") or basic_id or assertions.claimed_client(assertion)
    client_id = client_id or needed(form, "client_id")
    if basic_id and client_id != basic_id:
        raise OAuthError(
            400, "invalid_request", 90023, "The Authorization header and the body name different clients."
        )
    return Client(client_id, form.get("client_secret") or basic_secret, assertion)


def no_proof() -> OAuthError:
    return OAuthError(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    )


def unknown_tenant(tenant: str) -> OAuthError:
    return OAuthError(
        400,
        "invalid_request",
        90002,
        f"Tenant '{shown(tenant)}' not found. Check to make sure you have the correct tenant ID and are"
        " signing into the correct cloud.",
    )


def unknown_resource(resource: str, version: int) -> OAuthError:
    return OAuthError(
        400,
        "invalid_resource",
        500011,
        f"The resource principal named {shown(resource)} was not found in the tenant."
        + (" Scopes end in '/.default'." if version == 2 else ""),
    )


def failed_sign_in(reason: str, client_id: str, tenant: str) -> OAuthError:
    """The answer to a ``SignInError``'s reason."""
    app = shown(client_id)
    if reason == "application":
        return OAuthError(
            400,
            "unauthorized_client",
            700016,
            f"Application with identifier '{app}' was not found in the directory '{shown(tenant)}'.",
        )
    if reason == "expired":
        return OAuthError(
            401,
            "invalid_client",
            7000222,
            f"The provided client secret keys for app '{app}' are expired.",
        )
    return OAuthError(
        401,
        "invalid_client",
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret"
        f" value, not the client secret ID, for a secret added to app '{app}'.",
    )


def token_answer(value: str, not_before: int, expires: int, resource: str, version: int) -> dict[str, Any]:
    """The token response: numbers in version 2, texts in version 1."""
    seconds = expires - not_before - 1
    if version == 2:
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": value,
        }
    return {
        "token_type": "Bearer",
        "expires_in": str(seconds),
        "ext_expires_in": str(seconds),
        "expires_on": str(expires),
        "not_before": str(not_before),
        "resource": resource,
        "access_token": value,
    }


def resource_of(form: Mapping[str, str], version: int) -> str:
    """What an application's own token is for. Clients mix up the versions' parameters; either will do."""
    named = "scope" if version == 2 else "resource"
    other = "resource" if version == 2 else "scope"
    text = form.get(named) or form.get(other) or needed(form, named)
    resources = [scope for scope in text.split() if scope not in IDENTITY_SCOPES]
    if len(resources) != 1:
        raise OAuthError(
            400,
            "invalid_scope",
            70011,
            f"The provided value for the input parameter '{named}' is not valid."
            " Name one resource, such as https://api.securitycenter.microsoft.com/.default.",
        )
    if version == 2 and form.get("scope") and not resources[0].endswith("/.default"):
        raise OAuthError(
            400,
            "invalid_scope",
            1002012,
            f"The provided value for scope {shown(text)} is not valid. Client credential flows must have a"
            " scope value with /.default suffixed to the resource identifier (application ID URI).",
        )
    return resources[0]


def _basic(authorization: str | None) -> tuple[str, str]:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise OAuthError(
            401,
            "invalid_client",
            7000215,
            "The Authorization header is not valid Basic authentication.",
            {"WWW-Authenticate": "Basic"},
        )
    return unquote_plus(client_id), unquote_plus(secret)


def needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError(
            400,
            "invalid_request",
            900144,
            f"The request body must contain the following parameter: '{name}'.",
        )
    return value


def shown(text: str) -> str:
    """A caller's text, made harmless for logs and messages."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])
