"""Access tokens: RS256 JSON Web Tokens with the documented claims, issued and verified."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from cachetools import TTLCache
from joserfc import jwt
from joserfc.errors import JoseError

from shieldwall.errors import ApiError, unauthorized
from shieldwall.identity import claims as made
from shieldwall.identity.audiences import Audiences
from shieldwall.identity.claims import issuer
from shieldwall.identity.people import User
from shieldwall.identity.principal import Principal
from shieldwall.identity.roles import rights
from shieldwall.identity.sign_in import SignIn
from shieldwall.identity.signing_keys import SigningKeys, keys_folder
from shieldwall.identity.standing import Standing, standing
from shieldwall.settings import Settings
from shieldwall.state import scope
from shieldwall.state.engine import Database

LIFETIME = 3600
LEEWAY = 30
"""Seconds by which clocks of servers that share their keys may differ."""
TOKEN_LIMIT = 16 << 10
VERIFIED_LIMIT = 20_000
APPLICATION_SECONDS = 2.0
"""How long a change may take to be seen: what applications and people hold is read at most this often."""

_ALGORITHM = "RS256"

Read = TypeVar("Read")


@dataclass(frozen=True)
class AccessToken:
    """A signed token; times are Unix seconds."""

    value: str
    not_before: int
    expires: int


class Holder(Protocol):
    """An application in the tenant that a token is for."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def tenant_id(self) -> str: ...
    @property
    def roles(self) -> list[str]: ...


@dataclass(frozen=True)
class _Verified:
    """What a token itself says; ``scopes`` and ``generation`` are of a person's."""

    principal: Principal
    expires: int
    scopes: frozenset[str] = frozenset()
    generation: int = 0


@dataclass(frozen=True)
class _Person:
    upn: str
    enabled: bool
    generation: int
    rights: dict[str, scope.Reach]


class TokenService:
    """Issues tokens and tells who a token speaks for. Safe to use from any thread."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.audiences = Audiences(settings)
        self.sign_in = SignIn(database)
        self.keys = SigningKeys(keys_folder(settings), LIFETIME + LEEWAY)
        self._database = database
        self._lock = threading.Lock()
        self._verified: TTLCache[bytes, _Verified] = TTLCache(VERIFIED_LIMIT, LIFETIME)
        self._standings: TTLCache[tuple[str, str], Standing | None] = TTLCache(
            VERIFIED_LIMIT, APPLICATION_SECONDS
        )
        self._people: TTLCache[tuple[str, str], _Person | None] = TTLCache(
            VERIFIED_LIMIT, APPLICATION_SECONDS
        )

    def issue(
        self, application: Holder, audience: str, *, base: str, version: int, proof: str = made.SECRET
    ) -> AccessToken:
        """A token of one hour for ``audience``, in the form of the token endpoint of ``version`` 1 or 2."""
        about = made.application(application.id, application.name, application.tenant_id, proof)
        return self._signed(about | {"roles": sorted(application.roles)}, audience, base, version)

    def issue_for(
        self,
        user: User,
        found: Standing,
        scopes: Iterable[str],
        audience: str,
        *,
        base: str,
        version: int,
        proof: str,
    ) -> AccessToken:
        """A person's token: the application may use ``scopes`` of what the person may do."""
        about = made.application(found.id, found.name, user.tenant_id, proof) | made.person(user)
        return self._signed(about | {"scp": " ".join(scopes)}, audience, base, version)

    def identify(self, user: User, client_id: str, nonce: str, *, base: str, version: int) -> str:
        """An id token, which tells an application who has signed in and opens nothing."""
        about = made.person(user) | {"tid": user.tenant_id, "preferred_username": user.upn}
        if nonce:
            about["nonce"] = nonce
        return self._signed(about, client_id, base, version).value

    def verify(self, bearer: str | None) -> Principal:
        """Who calls, from an ``Authorization`` header's value or a bare token; ApiError 401 otherwise.

        The signature is checked once for each token. What the caller may do is read from the state at most
        every ``APPLICATION_SECONDS``: a permission counts while the token, the application and, for a person,
        one of their roles all have it.
        """
        token = _bare(bearer)
        mark = _mark(token)
        with self._lock:
            known = self._verified.get(mark)
        if known is None:
            known = self._check(token)
            with self._lock:
                self._verified[mark] = known
        about = known.principal
        found = self._cached(self._standings, about.tenant_id, about.application_id, self._standing)
        person = None
        if about.user_id:
            person = self._cached(self._people, about.tenant_id, about.user_id, self._person)
        return _principal(known, found, person)

    def recall(self, bearer: str | None) -> Principal | None:
        """What `verify` answers from what is remembered; None where something must be read or computed first.

        For the event loop, which must not wait: crossing to a thread and back takes longer than this.
        """
        with self._lock:
            known = self._verified.get(_mark(_bare(bearer)))
            if known is None:
                return None
            about = known.principal
            application, user = (about.tenant_id, about.application_id), (about.tenant_id, about.user_id)
            if application not in self._standings or (about.user_id and user not in self._people):
                return None
            found, person = self._standings.get(application), self._people.get(user)
        return _principal(known, found, person)

    def _signed(self, about: dict[str, Any], audience: str, base: str, version: int) -> AccessToken:
        issued = int(time.time())
        claims = made.token(about, audience, base, version, issued, issued + LIFETIME)
        key = self.keys.current
        header = {"alg": _ALGORITHM, "typ": "JWT", "kid": str(key.kid)}
        value = jwt.encode(header, claims, key, algorithms=[_ALGORITHM])
        return AccessToken(value, issued, issued + LIFETIME)

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
        if "scp" not in claims:
            roles = frozenset(str(role) for role in claims.get("roles") or ())
            return _Verified(Principal(tenant_id, application_id, "", roles), expires)
        user_id, generation = str(claims.get("oid", "")), claims.get(made.GENERATION)
        if not user_id or not isinstance(generation, int):
            raise unauthorized("The access token names no user.")
        principal = Principal(tenant_id, application_id, "", frozenset(), user_id)
        return _Verified(principal, expires, frozenset(str(claims["scp"]).split()), generation)

    def _issuers(self, tenant_id: str) -> set[str]:
        return {issuer(base, tenant_id, version) for base in self.audiences.bases for version in (1, 2)}

    def _cached(
        self,
        cache: TTLCache[tuple[str, str], Read],
        tenant_id: str,
        identifier: str,
        read: Callable[[str, str], Read],
    ) -> Read:
        key = (tenant_id, identifier)
        with self._lock:
            if key in cache:
                return cache[key]
        found = read(tenant_id, identifier)
        with self._lock:
            cache[key] = found
        return found

    def _standing(self, tenant_id: str, application_id: str) -> Standing | None:
        return standing(self._database, tenant_id, application_id)

    def _person(self, tenant_id: str, user_id: str) -> _Person | None:
        with self._database.read(tenant_id) as session:
            user = session.get(User, user_id)
            if user is None:
                return None
            return _Person(user.upn, user.enabled, user.generation, dict(rights(session, user_id)))


def _principal(known: _Verified, found: Standing | None, person: _Person | None) -> Principal:
    """Who calls, by the token, the application's standing and the person's, if it is a person's token."""
    if known.expires + LEEWAY <= time.time():
        raise unauthorized("The access token has expired.")
    principal = known.principal
    if found is None:
        raise unauthorized("The application of the access token is disabled or does not exist.")
    if not principal.user_id:
        return replace(principal, name=found.name, roles=principal.roles & set(found.roles))
    if person is None or not person.enabled or person.generation != known.generation:
        raise unauthorized("The user of the access token is disabled, or must sign in again.")
    usable = known.scopes & set(found.delegated)
    held = {name: reach for name, reach in person.rights.items() if name in usable}
    return replace(principal, name=person.upn, rights=held)


def _mark(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


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
