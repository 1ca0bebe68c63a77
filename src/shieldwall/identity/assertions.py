"""Client assertions: an application proves itself with a token signed by the key of its certificate."""

from __future__ import annotations

import hashlib
import json
import math
import time
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from shieldwall.identity.models import ApplicationCertificate, UsedAssertion
from shieldwall.identity.standing import Standing
from shieldwall.state.engine import Database
from shieldwall.times import now

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LENGTH_LIMIT = 16 << 10
LIFETIME_LIMIT = 24 * 3600
LEEWAY = 300
"""Seconds by which a client's clock may be off."""

_ALGORITHMS = ["RS256", "PS256"]


class _Registry(jws.JWSRegistry):
    """Lets a header carry the certificate itself, as MSAL's does; nothing is read from that."""

    max_header_length = LENGTH_LIMIT


_REGISTRY = _Registry(algorithms=_ALGORITHMS)


class BadAssertion(Exception):
    """Why an assertion does not count, in words for its sender; ``number`` is the AADSTS number."""

    def __init__(self, text: str, number: int = 700027) -> None:
        super().__init__(text)
        self.text = text
        self.number = number


def claimed_client(assertion: str) -> str:
    """Whom an assertion claims to be of, unproven; empty when it cannot be read."""
    try:
        claims = _part(assertion, 1)
    except BadAssertion:
        return ""
    return str(claims.get("sub") or claims.get("iss") or "")


def verify(
    database: Database, standing: Standing, assertion: str, audiences: Collection[str], source: str
) -> None:
    """Raise unless ``assertion`` proves the application, to this service, now and not yet elsewhere.

    A client may send one assertion again until it expires, as MSAL does; whoever got hold of it may not, so
    each counts only from the network that sent it first, and no other may carry its ``jti``.
    """
    header = _part(assertion, 0)
    certificate = _named(standing, header)
    if header.get("alg") not in _ALGORITHMS or "crit" in header:
        raise BadAssertion("The assertion must be signed with RS256 or PS256.")
    try:
        key = RSAKey.import_key(certificate.pem)
        payload = jws.deserialize_compact(assertion, key, registry=_REGISTRY).payload
        claims = json.loads(payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadAssertion("Client assertion failed signature validation.") from None
    expires = _check(standing, claims, audiences)
    _once(database, standing, str(claims["jti"]), assertion, source, expires)


def _named(standing: Standing, header: Mapping[str, Any]) -> ApplicationCertificate:
    """The registered certificate that the header names by its thumbprint."""
    for name, column in (("x5t#S256", "sha256"), ("x5t", "sha1")):
        if name not in header:
            continue
        thumbprint = _thumbprint(header[name])
        for kept in standing.application.certificates:
            if getattr(kept, column) == thumbprint:
                if kept.expires_time <= now():
                    raise BadAssertion("The certificate of the assertion has expired.", 7000222)
                return kept
        break
    else:
        raise BadAssertion("The assertion names no certificate: its header needs x5t or x5t#S256.")
    raise BadAssertion("The key that signed the assertion is not of a certificate of the application.")


def _check(standing: Standing, claims: Any, audiences: Collection[str]) -> float:
    """The end of a signed assertion, whose claims must say that it is for us, by the application, for now."""
    if not isinstance(claims, dict):
        raise BadAssertion("The assertion has no claims.")
    for name in ("iss", "sub"):
        if str(claims.get(name, "")).lower() != standing.id:
            raise BadAssertion(f"The assertion's {name} must be the client id.")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(each, str) and each.rstrip("/") in audiences for each in named):
        raise BadAssertion("The assertion's aud must be this token endpoint.", 700023)
    if not isinstance(claims.get("jti"), str) or not 1 <= len(claims["jti"]) <= 200:
        raise BadAssertion("The assertion needs a jti.")
    moment, expires = time.time(), _seconds(claims.get("exp"))
    if expires <= moment - LEEWAY:
        raise BadAssertion("The assertion has expired, or has no exp.", 700024)
    if expires > moment + LIFETIME_LIMIT:
        raise BadAssertion("The assertion is good for longer than a day.", 700024)
    if _seconds(claims.get("nbf", moment)) > moment + LEEWAY:
        raise BadAssertion("The assertion is not yet valid.", 700024)
    return expires


def _once(
    database: Database, standing: Standing, jti: str, assertion: str, source: str, expires: float
) -> None:
    home = standing.application.tenant_id
    digest = hashlib.sha256(f"{standing.id}\n{jti}".encode()).hexdigest()
    use = hashlib.sha256(f"{source}\n{assertion}".encode()).hexdigest()
    end = datetime.fromtimestamp(expires + LEEWAY, UTC)
    try:
        with database.session(home) as session:
            session.execute(delete(UsedAssertion).where(UsedAssertion.expires_time < now()))
            known = session.get(UsedAssertion, digest)
            if known is None:
                session.add(UsedAssertion(digest=digest, use=use, expires_time=end))
            elif known.use != use:
                raise BadAssertion("The assertion was used before.", 700030)
    except IntegrityError:
        with database.read(home) as session:
            known = session.get(UsedAssertion, digest)
        if known is None or known.use != use:
            raise BadAssertion("The assertion was used before.", 700030) from None


def _part(assertion: str, number: int) -> dict[str, Any]:
    parts = assertion.split(".")
    if len(assertion) > LENGTH_LIMIT or len(parts) != 3:
        raise BadAssertion("The assertion cannot be read.")
    try:
        part = json.loads(urlsafe_b64decode(parts[number] + "=" * (-len(parts[number]) % 4)))
    except (ValueError, RecursionError):
        part = None
    if not isinstance(part, dict):
        raise BadAssertion("The assertion cannot be read.")
    return part


def _thumbprint(text: Any) -> str:
    """Hexadecimal of a thumbprint that is base64url of its bytes."""
    try:
        content = urlsafe_b64decode(f"{text}" + "=" * (-len(f"{text}") % 4))
    except ValueError:
        return ""
    return content.hex()


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise BadAssertion("The assertion has no exp, or a time that is no number.", 700024)
