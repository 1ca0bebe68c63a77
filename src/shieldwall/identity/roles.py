"""Roles: what people may do, on which devices, and who has them.

Every change and its audit entry are one transaction. ApiError 400 and 404 are the caller's mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shieldwall.errors import bad_request, not_found
from shieldwall.identity import audit, permissions
from shieldwall.identity.applications import Actor
from shieldwall.identity.people import Role, RoleDeviceGroup, RoleMember
from shieldwall.identity.users import find_user
from shieldwall.state import scope
from shieldwall.state.engine import Database
from shieldwall.times import now

ALL_DEVICES = None
"""As ``groups`` of a role."""


def create_role(
    database: Database,
    tenant_id: str,
    name: str,
    granted: Iterable[str],
    groups: Iterable[int] | None,
    *,
    actor: Actor = "system",
) -> Role:
    """Make a role of delegated permissions over device groups by id; 0 is for devices of no group."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise bad_request("A role's name is 1 to 200 printable characters.")
    role = Role(id=str(uuid4()), name=name, permissions=[], created_time=now())
    try:
        with database.session(tenant_id) as session:
            session.add(role)
            _set(role, granted, groups)
            session.flush()
            audit.record(session, actor, "role.create", role.id, detail=_detail(role))
    except IntegrityError:
        raise bad_request(f"There is a role named {name} already, or a device group is unknown.") from None
    return role


def update_role(
    database: Database,
    tenant_id: str,
    name: str,
    granted: Iterable[str],
    groups: Iterable[int] | None,
    *,
    actor: Actor = "system",
) -> Role:
    """Change what a role allows and where; it takes effect within seconds."""
    with database.session(tenant_id) as session:
        role = _existing(session, name)
        _set(role, granted, groups)
        audit.record(session, actor, "role.update", role.id, detail=_detail(role))
    return role


def list_roles(database: Database, tenant_id: str) -> Sequence[Role]:
    with database.read(tenant_id) as session:
        return session.scalars(select(Role).order_by(Role.name)).all()


def delete_role(database: Database, tenant_id: str, name: str, *, actor: Actor = "system") -> None:
    with database.session(tenant_id) as session:
        role = _existing(session, name)
        session.delete(role)
        audit.record(session, actor, "role.delete", role.id, detail={"name": role.name})


def assign(database: Database, tenant_id: str, name: str, upn: str, *, actor: Actor = "system") -> None:
    """Give a user a role."""
    with database.session(tenant_id) as session:
        role, user = _existing(session, name), find_user(session, upn)
        if user.id not in [member.user_id for member in role.members]:
            role.members.append(RoleMember(tenant_id=tenant_id, user_id=user.id))
        audit.record(session, actor, "role.assign", role.id, detail={"user": user.id})


def unassign(database: Database, tenant_id: str, name: str, upn: str, *, actor: Actor = "system") -> None:
    """Take a role from a user."""
    with database.session(tenant_id) as session:
        role, user = _existing(session, name), find_user(session, upn)
        role.members = [member for member in role.members if member.user_id != user.id]
        audit.record(session, actor, "role.unassign", role.id, detail={"user": user.id})


def rights(session: Session, user_id: str) -> Mapping[str, scope.Reach]:
    """What a user's roles allow: each delegated permission with the devices on which it may be used."""
    reaches: dict[str, list[scope.Reach]] = {}
    member = select(RoleMember.role_id).where(RoleMember.user_id == user_id)
    for role in session.scalars(select(Role).where(Role.id.in_(member))):
        for permission in role.permissions:
            reaches.setdefault(permission, []).append(_reach(role))
    return {permission: scope.together(found) for permission, found in reaches.items()}


def _reach(role: Role) -> scope.Reach:
    if role.all_devices:
        return None
    groups = {0: ""} if role.ungrouped else {}
    groups |= {kept.device_group_id: kept.group.name for kept in role.groups if kept.group}
    return scope.DeviceScope(frozenset(groups), frozenset(groups.values()))


def _set(role: Role, granted: Iterable[str], groups: Iterable[int] | None) -> None:
    role.permissions = permissions.validated_delegated(granted)
    role.all_devices = groups is ALL_DEVICES
    wanted = set(groups or ())
    role.ungrouped = 0 in wanted
    kept = {row.device_group_id: row for row in role.groups}
    role.groups = [
        kept.get(group) or RoleDeviceGroup(tenant_id=role.tenant_id, device_group_id=group)
        for group in sorted(wanted - {0})
    ]


def _detail(role: Role) -> dict[str, object]:
    groups = sorted(row.device_group_id for row in role.groups)
    return {
        "name": role.name,
        "permissions": role.permissions,
        "all_devices": role.all_devices,
        "groups": [0, *groups] if role.ungrouped else groups,
    }


def _existing(session: Session, name: str) -> Role:
    role = session.scalar(select(Role).where((Role.name == name) | (Role.id == name)))
    if role is None:
        raise not_found("Role", name[:200])
    return role
