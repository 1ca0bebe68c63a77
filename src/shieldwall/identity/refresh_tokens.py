"""Refresh tokens: each is good once and brings its successor; one that comes twice ends them all."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from shieldwall.identity import audit
from shieldwall.identity.granted import BadGrant, Granted, add, digest, new_secret
from shieldwall.identity.people import RefreshToken
from shieldwall.state.engine import Database
from shieldwall.times import now

LIFETIME = timedelta(days=14)
"""Since it was last used."""


def issue(database: Database, granted: Granted) -> str:
    """A refresh token for what was granted."""
    secret, kept = new_secret()
    row = RefreshToken(
        digest=kept,
        application_id=granted.application_id,
        user_id=granted.user_id,
        scopes=list(granted.scopes),
        audience=granted.audience,
        family=granted.family,
    )
    with database.session(granted.tenant_id) as session:
        add(session, row, LIFETIME)
    return secret


def redeem(database: Database, application_id: str, secret: str) -> Granted:
    """What a refresh token grants, which is used up by this. BadGrant when it does not count."""
    with database.system_session() as session:
        wanted = select(RefreshToken).where(RefreshToken.digest == digest(secret)).with_for_update()
        row = session.scalar(wanted)
        if row is None or row.application_id != application_id or row.expires_time <= now():
            raise BadGrant("invalid_grant", 700082, "The refresh token is unknown or has expired.")
        stolen = row.used
        if stolen:
            end_family(session, row.tenant_id, row.user_id, row.application_id, row.family)
        row.used = True
    if stolen:
        raise BadGrant("invalid_grant", 50173, "The refresh token was used before; sign in again.")
    return Granted(
        row.tenant_id, row.application_id, row.user_id, tuple(row.scopes), row.audience, row.family
    )


def end_family(session: Session, tenant_id: str, user_id: str, application_id: str, family: str) -> None:
    """End all that came of one sign-in, of which something was used by two."""
    session.execute(delete(RefreshToken).where(RefreshToken.family == family))
    detail = {"application": application_id, "reason": "used twice"}
    audit.record(session, user_id, "signin.revoke", user_id, "failure", detail, tenant_id=tenant_id)
