"""`shieldwall device group`: device groups, and how much is done on their devices without asking."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import func, select

from shieldwall.cli.directory import TenantOption, open_state, tenant_of, typist
from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.investigations.levels import set_level, tenant_level
from shieldwall.settings import AUTOMATION_LEVELS, Settings

group_commands = typer.Typer(help="Device groups and their automation levels.", no_args_is_help=True)

UNGROUPED = "ungrouped"
"""The word for devices of no group."""
DEFAULT = "default"


@group_commands.command("list")
def list_(tenant: TenantOption = "") -> None:
    """List device groups with their numbers of devices and automation levels.

    Example: shieldwall device group list
    """
    table = Table("group", "devices", "automation level")
    with open_state() as database:
        owner = tenant_of(database, tenant)
        with database.read(owner.id) as session:
            place = func.coalesce(Device.device_group_id, 0)
            counted = select(place, func.count()).group_by(place)
            sizes = dict(session.execute(counted).all())
            level = tenant_level(session, owner.id, Settings.load().automation_level)
            for group in session.scalars(select(DeviceGroup).order_by(DeviceGroup.name)):
                own = group.automation_level or f"{level} (the default)"
                table.add_row(escape(group.name), str(sizes.get(group.id, 0)), own)
            table.add_row(UNGROUPED, str(sizes.get(0, 0)), level)
    Console().print(table)


@group_commands.command("level")
def level(
    name: Annotated[
        str, typer.Argument(help="The group; `ungrouped` sets the default of all.", show_default=False)
    ],
    level: Annotated[
        str,
        typer.Argument(help=f"{', '.join(AUTOMATION_LEVELS)}; or `{DEFAULT}`.", show_default=False),
    ],
    tenant: TenantOption = "",
) -> None:
    """Set how much is remediated on a group's devices without asking.

    full: malicious files at once, suspicious ones after approval. core_folders, non_temp_folders: as full,
    but malicious files there need approval too. all_folders: everything does. none: no investigations.

    Example: shieldwall device group level Servers all_folders
    """
    with open_state() as database:
        owner = tenant_of(database, tenant)
        group = None if name == UNGROUPED else name
        set_level(database, owner.id, group, None if level == DEFAULT else level, typist())
    typer.echo(f"{name}: {level}")
