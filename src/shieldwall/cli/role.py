"""`shieldwall role`: what people may do, and on which devices."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import select

from shieldwall.cli.directory import TenantOption, open_state, tenant_of, typist
from shieldwall.devices.models import DeviceGroup
from shieldwall.identity import permissions, roles
from shieldwall.identity.people import Role, User
from shieldwall.state.engine import Database

role_commands = typer.Typer(help="Roles: what people may do, and on which devices.", no_args_is_help=True)

UNGROUPED = "ungrouped"
"""The word for devices of no group."""

Name = Annotated[str, typer.Argument(help="Name of the role.", show_default=False)]
Upn = Annotated[str, typer.Argument(help="User principal name.", show_default=False)]
PermissionOption = Annotated[
    list[str] | None,
    typer.Option("--permission", help="Delegated permission, such as Alert.Read; repeat it, or say `all`."),
]
GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", help="Device group; repeat it. `ungrouped` is devices of none, `all` is all."),
]


@role_commands.command("create")
def create(
    name: Name, permission: PermissionOption = None, group: GroupOption = None, tenant: TenantOption = ""
) -> None:
    """Make a role.

    Example: shieldwall role create "server team" --permission Machine.Read --group Servers
    """
    granted = _permissions(permission)
    with open_state() as database:
        owner = tenant_of(database, tenant)
        reach = _groups(database, owner.id, group)
        role = roles.create_role(database, owner.id, name, granted, reach, actor=typist())
    typer.echo(f"{role.id}  {role.name}")


@role_commands.command("update")
def update(
    name: Name, permission: PermissionOption = None, group: GroupOption = None, tenant: TenantOption = ""
) -> None:
    """Set all of a role's permissions and device groups anew; it takes effect within seconds.

    Example: shieldwall role update "server team" --permission Machine.Read --group Servers --group ungrouped
    """
    granted = _permissions(permission)
    with open_state() as database:
        owner = tenant_of(database, tenant)
        reach = _groups(database, owner.id, group)
        role = roles.update_role(database, owner.id, name, granted, reach, actor=typist())
    typer.echo(f"{role.id}  {role.name}")


@role_commands.command("list")
def list_(tenant: TenantOption = "") -> None:
    """List roles with their permissions, device groups and members.

    Example: shieldwall role list
    """
    with open_state() as database:
        owner = tenant_of(database, tenant)
        with database.read(owner.id) as session:
            names = {user.id: user.upn for user in session.scalars(select(User))}
        for role in roles.list_roles(database, owner.id):
            members = ", ".join(sorted(names[member.user_id] for member in role.members)) or "nobody"
            typer.echo(f"{role.name}: {', '.join(role.permissions)} on {_reach(role)}; {members}")


@role_commands.command("assign")
def assign(name: Name, upn: Upn, tenant: TenantOption = "") -> None:
    """Give a user a role.

    Example: shieldwall role assign "server team" ann@contoso.com
    """
    with open_state() as database:
        roles.assign(database, tenant_of(database, tenant).id, name, upn, actor=typist())
    typer.echo(f"{upn} has the role {name}")


@role_commands.command("unassign")
def unassign(name: Name, upn: Upn, tenant: TenantOption = "") -> None:
    """Take a role from a user.

    Example: shieldwall role unassign "server team" ann@contoso.com
    """
    with open_state() as database:
        roles.unassign(database, tenant_of(database, tenant).id, name, upn, actor=typist())
    typer.echo(f"{upn} has the role {name} no more")


@role_commands.command("delete")
def delete(name: Name, tenant: TenantOption = "") -> None:
    """Remove a role.

    Example: shieldwall role delete "server team"
    """
    with open_state() as database:
        roles.delete_role(database, tenant_of(database, tenant).id, name, actor=typist())
    typer.echo(f"deleted {name}")


def _permissions(named: list[str] | None) -> list[str]:
    if not named:
        raise typer.BadParameter(
            "name at least one --permission, or --permission all. There are:\n  "
            + "\n  ".join(sorted(permissions.DELEGATED_PERMISSIONS))
        )
    everything = any(name.lower() == "all" for name in named)
    return sorted(permissions.DELEGATED_PERMISSIONS) if everything else named


def _groups(database: Database, tenant_id: str, named: list[str] | None) -> list[int] | None:
    """Ids of device groups, None for all devices."""
    if not named:
        raise typer.BadParameter("name at least one --group, or --group all")
    if any(name.lower() == "all" for name in named):
        return roles.ALL_DEVICES
    with database.read(tenant_id) as session:
        known = {group.name.lower(): group.id for group in session.scalars(select(DeviceGroup))}
    known[UNGROUPED] = 0
    if unknown := [name for name in named if name.lower() not in known]:
        raise typer.BadParameter(
            f"there is no device group {unknown[0]}; there are: {', '.join(sorted(known))}"
        )
    return [known[name.lower()] for name in named]


def _reach(role: Role) -> str:
    if role.all_devices:
        return "all devices"
    names = sorted(kept.group.name for kept in role.groups if kept.group)
    return ", ".join([*names, UNGROUPED] if role.ungrouped else names) or "no device"
