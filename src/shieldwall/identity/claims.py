"""The claims of tokens, in the forms of versions 1 and 2 of the token endpoint."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID, uuid5

from shieldwall.identity.people import User

PUBLIC, SECRET, CERTIFICATE = "0", "1", "2"
"""How an application proved itself, as ``appidacr`` and ``azpacr`` tell it."""
GENERATION = "xms_gen"
"""Our own claim: which of a user's passwords the token was signed in with."""

Claims = dict[str, Any]


def application(client_id: str, name: str, tenant_id: str, proof: str) -> Claims:
    """Of the application that a token is given to, as a subject of its own."""
    object_id = str(uuid5(UUID(client_id), tenant_id))
    return {
        "app_displayname": name,
        "appid": client_id,
        "idtyp": "app",
        "oid": object_id,
        "sub": object_id,
        "tid": tenant_id,
        "appidacr": proof,
    }


def person(user: User) -> Claims:
    """Of a person who signed in; they take the place of the application's own."""
    return {
        "idtyp": "user",
        "name": user.display_name,
        "oid": user.id,
        "sub": user.id,
        "upn": user.upn,
        "unique_name": user.upn,
        GENERATION: user.generation,
    }


def token(about: Claims, audience: str, base: str, version: int, issued: int, expires: int) -> Claims:
    """All claims of a token about somebody."""
    claims = {
        "aud": audience,
        "iss": issuer(base, about["tid"], version),
        "iat": issued,
        "nbf": issued,
        "exp": expires,
        **about,
        "uti": secrets.token_urlsafe(16),
        "ver": f"{version}.0",
    }
    proof = claims.pop("appidacr", None)
    if version == 1:
        claims["idp"] = issuer(base, about["tid"], 1)
    if proof is not None:
        claims |= {"appidacr": proof} if version == 1 else {"azp": about["appid"], "azpacr": proof}
    return claims


def issuer(base: str, tenant_id: str, version: int) -> str:
    """The ``iss`` claim of a tenant's tokens, as the discovery document of that version names it."""
    return f"{base}/{tenant_id}/v2.0" if version == 2 else f"{base}/{tenant_id}/"
