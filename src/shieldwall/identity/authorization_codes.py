"""Authorization codes: carried by a person's browser from the sign-in page to the application, good once."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import select

from shieldwall.identity import audit
from shieldwall.identity.granted import BadGrant, Granted, add, digest, new_secret
from shieldwall.identity.people import AuthorizationCode, User
from shieldwall.identity.refresh_tokens import end_family
from shieldwall.state.engine import Database
from shieldwall.times import now

LIFETIME = timedelta(minutes=5)

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


def issue(
    database: Database,
    user: User,
    application_id: str,
    *,
    scopes: tuple[str, ...],
    audience: str,
    redirect_uri: str,
    challenge: str,
    nonce: str,
    source: str,
) -> str:
    """A code for a user who has just signed in."""
    secret, kept = new_secret()
    row = AuthorizationCode(
        digest=kept,
        application_id=application_id,
        user_id=user.id,
        scopes=list(scopes),
        audience=audience,
        redirect_uri=redirect_uri,
        challenge=challenge,
        nonce=nonce,
        family=str(uuid4()),
    )
    with database.session(user.tenant_id) as session:
        add(session, row, LIFETIME)
        detail = {"application": application_id, "scopes": list(scopes)}
        audit.record(session, user.upn, "signin.code", user.id, detail=detail, source_ip=source)
    return secret


def redeem(database: Database, application_id: str, secret: str, redirect_uri: str, verifier: str) -> Granted:
    """What a code grants, which is used up by this. BadGrant when it does not count."""
    with database.system_session() as session:
        wanted = select(AuthorizationCode).where(AuthorizationCode.digest == digest(secret))
        row = session.scalar(wanted.with_for_update())
        if row is None or row.application_id != application_id or row.expires_time <= now():
            raise BadGrant("invalid_grant", 70008, "The authorization code is unknown or has expired.")
        stolen = row.used
        if stolen:
            end_family(session, row.tenant_id, row.user_id, row.application_id, row.family)
        elif not hmac.compare_digest(row.redirect_uri.encode(), redirect_uri.encode()):
            raise BadGrant("invalid_grant", 50011, "The redirect_uri is not the one of the sign-in.")
        elif not _proves(verifier, row.challenge):
            raise BadGrant(
                "invalid_grant", 501481, "The code_verifier does not match the code_challenge of the sign-in."
            )
        row.used = True
    if stolen:
        raise BadGrant("invalid_grant", 54005, "The authorization code was used before; sign in again.")
    return Granted(
        row.tenant_id,
        row.application_id,
        row.user_id,
        tuple(row.scopes),
        row.audience,
        row.family,
        row.nonce,
    )


def _proves(verifier: str, challenge: str) -> bool:
    """Whether the S256 of ``verifier`` is ``challenge``; where there was none, none may come."""
    if not challenge:
        return not verifier
    if not _VERIFIER.fullmatch(verifier):
        return False
    made = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(made, challenge.encode())
