"""Device codes: an application without a browser polls while a person enters its short code elsewhere."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import select

from shieldwall.identity import audit
from shieldwall.identity.granted import BadGrant, Granted, add, digest, new_secret
from shieldwall.identity.models import Application
from shieldwall.identity.people import DeviceCode, User
from shieldwall.state.engine import Database
from shieldwall.times import now

LIFETIME = timedelta(minutes=15)
INTERVAL = 5
"""Seconds that a client waits between polls."""

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word; no digits that look like letters."""


def create(
    database: Database,
    application: Application,
    tenant_id: str | None,
    scopes: tuple[str, ...],
    audience: str,
) -> tuple[str, str]:
    """A device code and its user code, which people of ``tenant_id`` may enter, or of any if None."""
    secret, kept = new_secret()
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    user_code = f"{letters[:4]}-{letters[4:]}"
    row = DeviceCode(
        digest=kept,
        tenant_id=tenant_id or application.tenant_id,
        any_tenant=tenant_id is None,
        application_id=application.id,
        user_digest=_user_digest(user_code),
        scopes=list(scopes),
        audience=audience,
    )
    with database.system_session() as session:
        add(session, row, LIFETIME)
    return secret, user_code


def pending(database: Database, user_code: str) -> DeviceCode | None:
    """The request that waits for this code."""
    with database.system_read() as session:
        row = session.scalar(select(DeviceCode).where(DeviceCode.user_digest == _user_digest(user_code)))
    return row if row and row.status == "pending" and row.expires_time > now() else None


def decide(database: Database, user_code: str, user: User, approve: bool, *, source: str) -> bool:
    """A user's answer to a request; False when it no longer waits, or is not for their tenant."""
    with database.system_session() as session:
        wanted = select(DeviceCode).where(DeviceCode.user_digest == _user_digest(user_code))
        row = session.scalar(wanted.with_for_update())
        if row is None or row.status != "pending" or row.expires_time <= now():
            return False
        if not row.any_tenant and row.tenant_id != user.tenant_id:
            return False
        row.status, row.user_id, row.tenant_id = (
            "approved" if approve else "declined",
            user.id,
            user.tenant_id,
        )
        detail = {"application": row.application_id, "scopes": row.scopes}
        action = "signin.device" if approve else "signin.device.decline"
        audit.record(
            session, user.upn, action, user.id, detail=detail, tenant_id=user.tenant_id, source_ip=source
        )
    return True


def poll(database: Database, application_id: str, secret: str) -> Granted:
    """What the person granted, once they have; BadGrant tells to wait, or why to stop."""
    with database.system_session() as session:
        wanted = select(DeviceCode).where(DeviceCode.digest == digest(secret)).with_for_update()
        row = session.scalar(wanted)
        if row is None or row.application_id != application_id or row.status == "used":
            raise BadGrant("invalid_grant", 70008, "The device code is unknown or was used before.")
        if row.expires_time <= now():
            raise BadGrant("expired_token", 70020, "The device code has expired; start again.")
        if row.status == "declined":
            raise BadGrant("authorization_declined", 70018, "The person declined to sign in.")
        status, last, user_id = row.status, row.polled_time, row.user_id
        row.polled_time = now()
        if status == "approved":
            row.status = "used"
    if status == "pending" or user_id is None:
        if last is not None and now() - last < timedelta(seconds=INTERVAL - 1):
            raise BadGrant("slow_down", 70016, "Poll less often.")
        raise BadGrant("authorization_pending", 70016, "The person has not signed in yet. Keep polling.")
    return Granted(row.tenant_id, row.application_id, user_id, tuple(row.scopes), row.audience, str(uuid4()))


def _user_digest(user_code: str) -> str:
    return digest("".join(letter for letter in user_code.upper()[:40] if letter in _LETTERS))
