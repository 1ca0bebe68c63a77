"""What commands on applications, users and roles share: the state, the tenant meant, and who types."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from shieldwall.errors import ApiError
from shieldwall.identity import applications
from shieldwall.identity.models import Application, Tenant
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

TenantOption = Annotated[
    str, typer.Option(help="Tenant, by name or id; needed only where there are several.")
]


@contextmanager
def open_state() -> Iterator[Database]:
    """The state, brought up to date; a refusal becomes the command's own message."""
    try:
        settings = Settings.load()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.state_url)
    try:
        database.migrate()
        yield database
    except ApiError as error:
        raise typer.BadParameter(error.message) from None
    finally:
        database.close()


def tenant_of(database: Database, named: str, application_id: str = "") -> Tenant:
    """The tenant that was named, else the one of the application, else the only one."""
    if named:
        with database.system_read() as session:
            found = applications.find_tenant(session, named)
        if found is None:
            raise typer.BadParameter(f"there is no tenant {named}; see `shieldwall tenant list`")
        return found
    with database.system_read() as session:
        application = session.get(Application, application_id.lower()) if application_id else None
        owner = session.get(Tenant, application.tenant_id) if application else None
    if owner is not None:
        return owner
    if application_id:
        raise typer.BadParameter(f"there is no application {application_id}; see `shieldwall app list`")
    tenants = applications.list_tenants(database)
    if not tenants:
        raise typer.BadParameter("there is no tenant yet: `shieldwall tenant create NAME`")
    if len(tenants) > 1:
        names = ", ".join(tenant.name for tenant in tenants)
        raise typer.BadParameter(f"there are several tenants, name one with --tenant: {names}")
    return tenants[0]


def typist() -> str:
    """Who types, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"
