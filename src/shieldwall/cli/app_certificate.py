"""`shieldwall app certificate`: certificates that applications sign their assertions with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shieldwall.cli.directory import TenantOption, open_state, tenant_of, typist
from shieldwall.identity import certificates

certificate_commands = typer.Typer(help="Certificates that prove an application.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(help="Client id of the application.", show_default=False)]


@certificate_commands.command("add")
def add(
    client_id: ClientId,
    file: Annotated[Path, typer.Argument(help="Certificate, PEM or DER; never its key.", exists=True)],
    tenant: TenantOption = "",
) -> None:
    """Register a certificate and print its thumbprint. It counts until its own end.

    Example: shieldwall app certificate add 91e956db-016b-473b-98c6-66210632cc4e playbook.pem
    """
    with open_state() as database:
        owner = tenant_of(database, tenant, client_id)
        kept = certificates.add_certificate(database, owner.id, client_id, file.read_bytes(), actor=typist())
    typer.echo(f"{kept.sha1.upper()}  until {kept.expires_time:%Y-%m-%d}  {kept.subject}")


@certificate_commands.command("list")
def list_(client_id: ClientId, tenant: TenantOption = "") -> None:
    """List an application's certificates.

    Example: shieldwall app certificate list 91e956db-016b-473b-98c6-66210632cc4e
    """
    with open_state() as database:
        owner = tenant_of(database, tenant, client_id)
        for kept in certificates.list_certificates(database, owner.id, client_id):
            typer.echo(f"{kept.sha1.upper()}  until {kept.expires_time:%Y-%m-%d}  {kept.subject}")


@certificate_commands.command("remove")
def remove(
    client_id: ClientId,
    thumbprint: Annotated[str, typer.Argument(help="SHA-1 or SHA-256 thumbprint.", show_default=False)],
    tenant: TenantOption = "",
) -> None:
    """Remove a certificate; what it signs is refused from now on.

    Example: shieldwall app certificate remove 91e956db-016b-473b-98c6-66210632cc4e 0F3A...
    """
    with open_state() as database:
        owner = tenant_of(database, tenant, client_id)
        certificates.remove_certificate(database, owner.id, client_id, thumbprint, actor=typist())
    typer.echo(f"removed {thumbprint}")
