"""Access tokens: RS256 JSON Web Tokens with the documented claims, issued and verified."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from cachetools import TTLCache
from joserfc import jwt
from joserfc.errors import JoseError

from shieldwall.errors import ApiError, unauthorized
from shieldwall.identity.audiences import Audiences
from shieldwall.identity.models import Application
from shieldwall.identity.principal import Principal
from shieldwall.identity.sign_in import SignIn
from shieldwall.identity.signing_keys import SigningKeys, keys_folder
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

LIFETIME = 3600
LEEWAY = 30
"""Seconds by which clocks of servers that share their keys may differ."""
TOKEN_LIMIT = 16 << 10
VERIFIED_LIMIT = 20_000
APPLICATION_SECONDS = 2.0
"""How long a change to an application may take to be seen: what it holds is read at most this often."""

_ALGORITHM = "RS256"


@dataclass(frozen=True)
class AccessToken:
    """A signed token; times are Unix seconds."""

    value: str
    not_before: int
    expires: int


@dataclass(frozen=True)
class _Verified:
    principal: Principal
    expires: int


class TokenService:
    """Issues tokens and tells who a token speaks for. Safe to use from any thread."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.audiences = Audiences(settings)
        self.sign_in = SignIn(database)
        self.keys = SigningKeys(keys_folder(settings), LIFETIME + LEEWAY)
        self._database = database
        self._lock = threading.Lock()
        self._verified: TTLCache[bytes, _Verified] = TTLCache(VERIFIED_LIMIT, LIFETIME)
        self._applications: TTLCache[tuple[str, str], Application | None] = TTLCache(
            VERIFIED_LIMIT, APPLICATION_SECONDS
        )

    def issue(self, application: Application, audience: str, *, base: str, version: int) -> AccessToken:
        """A token of one hour for ``audience``, in the form of the token endpoint of ``version`` 1 or 2."""
        issued = int(time.time())
        object_id = str(uuid5(UUID(application.id), application.tenant_id))
        claims = {
            "aud": audience,
            "iss": issuer(base, application.tenant_id, version),
            "iat": issued,
            "nbf": issued,
            "exp": issued + LIFETIME,
            "app_displayname": application.name,
            "appid": application.id,
            "idtyp": "app",
            "oid": object_id,
            "roles": sorted(application.roles),
            "sub": object_id,
            "tid": application.tenant_id,
            "uti": secrets.token_urlsafe(16),
            "ver": f"{version}.0",
        }
        if version == 1:
            claims |= {"appidacr": "1", "idp": issuer(base, application.tenant_id, 1)}
        else:
            claims |= {"azp": application.id, "azpacr": "1"}
        key = self.keys.current
        header = {"alg": _ALGORITHM, "typ": "JWT", "kid": str(key.kid)}
        value = jwt.encode(header, claims, key, algorithms=[_ALGORITHM])
        return AccessToken(value, issued, issued + LIFETIME)

    def verify(self, bearer: str | None) -> Principal:
        """Who calls, from an ``Authorization`` header's value or a bare token; ApiError 401 otherwise.

        The signature is checked once for each token. What the application may do is read from the state at
        most every ``APPLICATION_SECONDS``: a role counts while the token and the application both have it.
        """
        token = _bare(bearer)
        mark = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._verified.get(mark)
        if known is None:
            known = self._check(token)
            with self._lock:
                self._verified[mark] = known
        if known.expires + LEEWAY <= time.time():
            raise unauthorized("The access token has expired.")
        principal = known.principal
        application = self._application(principal.tenant_id, principal.application_id)
        if application is None or application.disabled:
            raise unauthorized("The application of the access token is disabled or does not exist.")
        return replace(principal, name=application.name, roles=principal.roles & set(application.roles))

    def _check(self, token: str) -> _Verified:
        """Verify signature and claims of a token that was not seen before."""
        header = _header(token)
        key = self.keys.get(header.get("kid"))
        if header.get("alg") != _ALGORITHM or "crit" in header or key is None:
            raise unauthorized("The access token was not issued by this service.")
        try:
            claims = jwt.decode(token, key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError):
            raise unauthorized("The signature of the access token is not valid.") from None
        audience, authority, tenant_id, application_id = (
            str(claims.get(name, "")) for name in ("aud", "iss", "tid", "appid")
        )
        if audience not in self.audiences.accepted:
            raise unauthorized("The access token is for another audience.")
        if not (tenant_id and application_id):
            raise unauthorized("The access token names no tenant or application.")
        if authority not in self._issuers(tenant_id):
            raise unauthorized("The access token is from another issuer.")
        expires, not_before = claims.get("exp"), claims.get("nbf")
        if not (isinstance(expires, int) and isinstance(not_before, int)):
            raise unauthorized("The access token has no times.")
        if not_before - LEEWAY > time.time():
            raise unauthorized("The access token is not yet valid.")
        roles = frozenset(str(role) for role in claims.get("roles") or ())
        return _Verified(Principal(tenant_id, application_id, "", roles), expires)

    def _issuers(self, tenant_id: str) -> set[str]:
        return {issuer(base, tenant_id, version) for base in self.audiences.bases for version in (1, 2)}

    def _application(self, tenant_id: str, application_id: str) -> Application | None:
        key = (tenant_id, application_id)
        with self._lock:
            if key in self._applications:
                return self._applications[key]
        with self._database.read(tenant_id) as session:
            found = session.get(Application, application_id)
        with self._lock:
            self._applications[key] = found
        return found


def issuer(base: str, tenant_id: str, version: int) -> str:
    """The ``iss`` claim of a tenant's tokens, as the discovery document of that version names it."""
    return f"{base}/{tenant_id}/v2.0" if version == 2 else f"{base}/{tenant_id}/"


def _bare(bearer: str | None) -> str:
    scheme, _, token = (bearer or "").strip().rpartition(" ")
    if scheme.strip().lower() not in ("", "bearer"):
        raise unauthorized("The Authorization header must carry a Bearer token.")
    if not token:
        raise unauthorized()
    if len(token) > TOKEN_LIMIT or not token.isascii():
        raise unauthorized("The access token cannot be read.")
    return token


def _header(token: str) -> dict[str, Any]:
    first, _, rest = token.partition(".")
    unreadable: ApiError = unauthorized("The access token cannot be read.")
    if rest.count(".") != 1:
        raise unreadable
    try:
        header = json.loads(urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, RecursionError):
        raise unreadable from None
    if not isinstance(header, dict):
        raise unreadable
    return header
