"""`shieldwall app` and `shieldwall tenant`: who may call the API, on the state of this machine's settings."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from shieldwall.errors import ApiError
from shieldwall.identity import applications, permissions
from shieldwall.identity.models import Application, ApplicationSecret, Tenant
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now

app_commands = typer.Typer(help="Applications: what calls the API with a client id and a secret.")
tenant_commands = typer.Typer(help="Tenants: customers whose devices, alerts and applications are apart.")

console = Console(highlight=False, soft_wrap=True)

TenantOption = Annotated[
    str, typer.Option(help="Tenant, by name or id; needed only where there are several.")
]
RoleOption = Annotated[
    list[str] | None, typer.Option("--role", help="Application permission; repeat it, or say `all`.")
]
DaysOption = Annotated[int, typer.Option(help="Days until the secret expires.")]
ClientId = Annotated[str, typer.Argument(help="Client id of the application.", show_default=False)]


@app_commands.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name that people know it by.", show_default=False)],
    role: RoleOption = None,
    tenant: TenantOption = "",
    days: DaysOption = applications.SECRET_DAYS,
) -> None:
    """Make an application and print its client id and secret. The secret is shown this once.

    Example: shieldwall app create "our playbook" --role Machine.Read.All --role Machine.Isolate
    """
    if not role:
        raise typer.BadParameter(
            "name at least one --role, or --role all. There are:\n  "
            + "\n  ".join(sorted(permissions.APPLICATION_PERMISSIONS))
        )
    with _state() as database:
        owner = _tenant(database, tenant)
        application, secret = applications.create_application(
            database, owner.id, name, _roles(role), days=days, actor=_user()
        )
    console.print(f"tenant         {owner.id}  ({owner.name})", markup=False)
    console.print(f"client id      {application.id}", markup=False)
    _print_secret(secret, days)


@app_commands.command("list")
def list_(tenant: TenantOption = "") -> None:
    """List applications with their roles and their secrets' first characters and ends.

    Example: shieldwall app list
    """
    table = Table("name", Column("client id", no_wrap=True), "roles", "secrets")
    with _state() as database:
        for application in applications.list_applications(database, _tenant(database, tenant).id):
            name = application.name + (" (disabled)" if application.disabled else "")
            table.add_row(name, application.id, "\n".join(application.roles), _secrets(application))
    console.print(table, markup=False)


@app_commands.command("update")
def update(
    client_id: ClientId,
    role: RoleOption = None,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Refuse it, or let it in again.")
    ] = None,
    tenant: TenantOption = "",
) -> None:
    """Set an application's roles, or disable it. It takes effect within seconds, on its tokens too.

    Example: shieldwall app update 91e956db-016b-473b-98c6-66210632cc4e --role Alert.Read.All
    """
    if not role and disable is None:
        raise typer.BadParameter("say --role, --disable or --enable")
    with _state() as database:
        owner = _tenant(database, tenant, client_id)
        application = applications.update_application(
            database,
            owner.id,
            client_id,
            roles=_roles(role) if role else None,
            disabled=disable,
            actor=_user(),
        )
    state = "disabled" if application.disabled else "enabled"
    console.print(f"{application.name}: {state}, {', '.join(application.roles)}", markup=False)


@app_commands.command("rotate")
def rotate(
    client_id: ClientId,
    tenant: TenantOption = "",
    days: DaysOption = applications.SECRET_DAYS,
    revoke_others: Annotated[bool, typer.Option(help="End all its other secrets now.")] = False,
) -> None:
    """Give an application another secret and print it once; the old ones go on until they expire.

    Example: shieldwall app rotate 91e956db-016b-473b-98c6-66210632cc4e
    """
    with _state() as database:
        owner = _tenant(database, tenant, client_id)
        secret = applications.rotate_secret(
            database, owner.id, client_id, days=days, revoke_others=revoke_others, actor=_user()
        )
    _print_secret(secret, days)


@app_commands.command("delete")
def delete(client_id: ClientId, tenant: TenantOption = "") -> None:
    """Remove an application; its tokens are refused within seconds.

    Example: shieldwall app delete 91e956db-016b-473b-98c6-66210632cc4e
    """
    with _state() as database:
        owner = _tenant(database, tenant, client_id)
        applications.delete_application(database, owner.id, client_id, actor=_user())
    console.print(f"deleted {client_id}", markup=False)


@tenant_commands.command("create")
def create_tenant(
    name: Annotated[
        str, typer.Argument(help="Name, usable in URLs, such as contoso.com.", show_default=False)
    ],
) -> None:
    """Make a tenant and print its id.

    Example: shieldwall tenant create contoso.com
    """
    with _state() as database:
        tenant = applications.create_tenant(database, name, _user())
    console.print(f"{tenant.id}  {tenant.name}", markup=False)


@tenant_commands.command("list")
def list_tenants() -> None:
    """List the tenants.

    Example: shieldwall tenant list
    """
    with _state() as database:
        for tenant in applications.list_tenants(database):
            console.print(f"{tenant.id}  {tenant.name}", markup=False)


@contextmanager
def _state() -> Iterator[Database]:
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


def _tenant(database: Database, named: str, application_id: str = "") -> Tenant:
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


def _roles(named: list[str]) -> list[str]:
    everything = any(role.lower() == "all" for role in named)
    return sorted(permissions.APPLICATION_PERMISSIONS) if everything else named


def _secrets(application: Application) -> str:
    return "\n".join(_secret_line(secret) for secret in application.secrets)


def _secret_line(secret: ApplicationSecret) -> str:
    word = "expired" if secret.expires_time <= now() else "until"
    return f"{secret.hint}… {word} {secret.expires_time:%Y-%m-%d}"


def _print_secret(secret: str, days: int) -> None:
    console.print(f"client secret  {secret}", markup=False)
    console.print(f"Keep it now: it is not shown again. It expires in {days} days.", style="dim")


def _user() -> str:
    """Who types, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return "cli"
