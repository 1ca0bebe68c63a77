"""`shieldwall device`: enrolment tokens and devices."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import select

from shieldwall.cli import quickstart
from shieldwall.cli.device_group import group_commands
from shieldwall.devices import enrolment
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError
from shieldwall.identity.applications import find_tenant
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

device_commands = typer.Typer(help="Enrol, list and revoke devices.", no_args_is_help=True)
token_commands = typer.Typer(help="Enrolment tokens.", no_args_is_help=True)
device_commands.add_typer(token_commands, name="token")
device_commands.add_typer(group_commands, name="group")

TenantOption = Annotated[str, typer.Option(help="Name or id of the tenant.")]

console = Console(highlight=False, soft_wrap=True)


def _state(tenant: str) -> tuple[Database, str]:
    database = Database(Settings.load().state_url)
    with database.system_read() as session:
        found = find_tenant(session, tenant)
    if found is None:
        raise typer.BadParameter(f"there is no tenant {tenant!r}")
    return database, found.id


@token_commands.command("create")
def create_token(
    tenant: TenantOption = quickstart.TENANT_NAME,
    uses: Annotated[int, typer.Option(help="Devices that may use it; 0 for any number.", min=0)] = 1,
    hours: Annotated[float, typer.Option(help="How long it is good.", min=0.01, max=8760)] = 24,
    group: Annotated[str, typer.Option(help="Device group that its devices join.")] = "",
) -> None:
    """Make a token that lets new devices in. It is shown once.

    Example: shieldwall device token create --uses 1 --hours 24
    """
    database, tenant_id = _state(tenant)
    token = enrolment.create_token(database, tenant_id, uses=uses or None, hours=hours, group=group or None)
    typer.echo(token)


@token_commands.command("list")
def list_tokens(tenant: TenantOption = quickstart.TENANT_NAME) -> None:
    """List the tokens that exist, without their secrets.

    Example: shieldwall device token list
    """
    database, tenant_id = _state(tenant)
    table = Table("id", "uses left", "expires")
    for token in enrolment.list_tokens(database, tenant_id):
        left = "any" if token.uses_left is None else str(token.uses_left)
        table.add_row(token.id, left, f"{token.expires_time:%Y-%m-%d %H:%M} UTC")
    console.print(table)


@token_commands.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="The token's id.")],
    tenant: TenantOption = quickstart.TENANT_NAME,
) -> None:
    """End a token at once.

    Example: shieldwall device token revoke 6f0c3a52-7b1e-4a0c-9a39-2f1f5d1f9f5e
    """
    database, tenant_id = _state(tenant)
    try:
        enrolment.revoke_token(database, tenant_id, token_id)
    except ApiError as error:
        raise typer.BadParameter(error.message) from None


@device_commands.command("list")
def list_devices(tenant: TenantOption = quickstart.TENANT_NAME) -> None:
    """List the tenant's devices.

    Example: shieldwall device list
    """
    database, tenant_id = _state(tenant)
    table = Table("id", "name", "health", "last contact", "isolated")
    with database.read(tenant_id) as session:
        for device in session.scalars(select(Device).order_by(Device.computer_dns_name)):
            health = "revoked" if device.revoked else device.health_status
            isolated = "yes" if device.isolated else ""
            contact = f"{device.last_contact:%Y-%m-%d %H:%M:%S} UTC"
            table.add_row(device.id, escape(device.computer_dns_name), health, contact, isolated)
    console.print(table)


@device_commands.command("revoke")
def revoke(
    device_id: Annotated[str, typer.Argument(help="The device's id.")],
    tenant: TenantOption = quickstart.TENANT_NAME,
) -> None:
    """End a device's access at once and for good.

    Example: shieldwall device revoke 2f9c0d6ce2a54cbd5d8f4f0b6a3c1e7d9b8a7c65
    """
    database, tenant_id = _state(tenant)
    try:
        enrolment.revoke_device(database, tenant_id, device_id)
    except ApiError as error:
        raise typer.BadParameter(error.message) from None
