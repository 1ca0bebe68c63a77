"""People who sign in: making, changing and recognising them.

Every change and its audit entry are one transaction. ApiError 400 and 404 are the caller's mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shieldwall.errors import bad_request, not_found
from shieldwall.identity import audit, passwords
from shieldwall.identity.applications import Actor
from shieldwall.identity.people import AuthorizationCode, DeviceCode, RefreshToken, User
from shieldwall.state.engine import Database
from shieldwall.times import now

_UPN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,125}[A-Za-z0-9])?")


def create_user(
    database: Database,
    tenant_id: str,
    upn: str,
    password: str,
    *,
    display_name: str = "",
    admin: bool = False,
    actor: Actor = "system",
) -> User:
    """Make a user, who may do nothing until a role is given to them."""
    if not _UPN.fullmatch(upn):
        raise bad_request("A user principal name looks like an e-mail address, such as ann@contoso.com.")
    if len(display_name) > 200 or not display_name.isprintable():
        raise bad_request("A display name is at most 200 printable characters.")
    user = User(
        id=str(uuid4()),
        upn=upn.lower(),
        display_name=display_name or upn.partition("@")[0],
        digest=passwords.digest(password),
        admin=admin,
        created_time=now(),
    )
    try:
        with database.session(tenant_id) as session:
            session.add(user)
            session.flush()
            detail = {"upn": user.upn, "admin": admin}
            audit.record(session, actor, "user.create", user.id, detail=detail)
    except IntegrityError:
        raise bad_request(f"There is a user {upn} already.") from None
    return user


def list_users(database: Database, tenant_id: str) -> Sequence[User]:
    with database.read(tenant_id) as session:
        return session.scalars(select(User).order_by(User.upn)).all()


def set_enabled(
    database: Database, tenant_id: str, upn: str, enabled: bool, *, actor: Actor = "system"
) -> User:
    """Refuse a user, whose tokens end within seconds, or let them in again."""
    with database.session(tenant_id) as session:
        user = find_user(session, upn)
        user.enabled = enabled
        if not enabled:
            _sign_out(session, user)
        audit.record(session, actor, "user.enable" if enabled else "user.disable", user.id)
    return user


def reset_password(
    database: Database, tenant_id: str, upn: str, password: str, *, actor: Actor = "system"
) -> User:
    """Give a user a new password; whatever was signed in with the old one ends within seconds."""
    with database.session(tenant_id) as session:
        user = find_user(session, upn)
        user.digest = passwords.digest(password)
        _sign_out(session, user)
        audit.record(session, actor, "user.reset", user.id)
    return user


def delete_user(database: Database, tenant_id: str, upn: str, *, actor: Actor = "system") -> None:
    with database.session(tenant_id) as session:
        user = find_user(session, upn)
        session.delete(user)
        audit.record(session, actor, "user.delete", user.id, detail={"upn": user.upn})


def find_user(session: Session, upn: str) -> User:
    """A user of the session's tenant by user principal name or object id; ApiError 404."""
    wanted = upn.strip().lower()
    found = session.scalar(select(User).where((User.upn == wanted) | (User.id == wanted)))
    if found is None:
        raise not_found("User", upn[:200])
    return found


def find_by_upn(session: Session, upn: str) -> User | None:
    """The user of this name, whichever tenant a system session finds them in."""
    if "\x00" in upn:
        return None
    return session.scalar(select(User).where(User.upn == upn.strip().lower()[:200]))


def authenticate(database: Database, tenant_id: str | None, upn: str, password: str) -> User | None:
    """The enabled user whose password this is, of ``tenant_id`` or of any; as slow when there is none."""
    with database.system_read() as session:
        user = find_by_upn(session, upn)
    right = user is not None and user.enabled and tenant_id in (None, user.tenant_id)
    return user if passwords.matches(password, user.digest if user and right else None) else None


def _sign_out(session: Session, user: User) -> None:
    """End every token, and every code and refresh token that more could come of."""
    user.generation += 1
    for kept in (AuthorizationCode, DeviceCode, RefreshToken):
        session.execute(delete(kept).where(kept.user_id == user.id))
