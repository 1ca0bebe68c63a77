"""`shieldwall app consent`: which partners' applications a tenant lets in."""

from __future__ import annotations

from typing import Annotated

import typer

from shieldwall.cli.directory import TenantOption, open_state, tenant_of, typist
from shieldwall.identity import consents


def consent(
    client_id: Annotated[
        str, typer.Argument(help="Client id of the partner's application; none lists them.")
    ] = "",
    tenant: TenantOption = "",
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the consent back.")] = False,
) -> None:
    """Let another tenant's application into a tenant, with all that it asks for now, or take that back.

    Example: shieldwall app consent 91e956db-016b-473b-98c6-66210632cc4e --tenant fabrikam.com
    """
    with open_state() as database:
        owner = tenant_of(database, tenant)
        if client_id and revoke:
            consents.revoke(database, owner.id, client_id, actor=typist())
            typer.echo(f"{owner.name} has taken its consent back")
        elif client_id:
            kept = consents.grant(database, owner.id, client_id, actor=typist())
            typer.echo(f"{owner.name} lets it use: {', '.join([*kept.roles, *kept.delegated])}")
        else:
            for kept, name in consents.list_consents(database, owner.id):
                typer.echo(
                    f"{kept.application_id}  {name}  {kept.created_time:%Y-%m-%d} by {kept.granted_by}: "
                    f"{', '.join([*kept.roles, *kept.delegated])}"
                )
