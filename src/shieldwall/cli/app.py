"""`shieldwall app` and `shieldwall tenant`: who may call the API, on the state of this machine's settings."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from shieldwall.cli.app_certificate import certificate_commands
from shieldwall.cli.app_consent import consent
from shieldwall.cli.directory import TenantOption, open_state, tenant_of, typist
from shieldwall.identity import applications, permissions
from shieldwall.identity.models import Application, ApplicationSecret
from shieldwall.times import now

app_commands = typer.Typer(help="Applications: what calls the API with a client id and a secret.")
app_commands.add_typer(certificate_commands, name="certificate")
app_commands.command("consent")(consent)
tenant_commands = typer.Typer(help="Tenants: customers whose devices, alerts and applications are apart.")

console = Console(highlight=False, soft_wrap=True)

RoleOption = Annotated[
    list[str] | None, typer.Option("--role", help="Application permission; repeat it, or say `all`.")
]
DaysOption = Annotated[int, typer.Option(help="Days until the secret expires.")]
ClientId = Annotated[str, typer.Argument(help="Client id of the application.", show_default=False)]
DelegatedOption = Annotated[
    list[str] | None,
    typer.Option("--delegated", help="Permission that it may use for people; repeat it, or say `all`."),
]
RedirectOption = Annotated[
    list[str] | None, typer.Option("--redirect", help="Address that sign-ins return to; repeat it.")
]


@app_commands.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name that people know it by.", show_default=False)],
    role: RoleOption = None,
    delegated: DelegatedOption = None,
    redirect: RedirectOption = None,
    public: Annotated[
        bool, typer.Option("--public", help="It runs on people's machines and keeps no secret.")
    ] = False,
    multi_tenant: Annotated[
        bool, typer.Option("--multi-tenant", help="Other tenants may consent to it.")
    ] = False,
    tenant: TenantOption = "",
    days: DaysOption = applications.SECRET_DAYS,
) -> None:
    """Make an application and print its client id and secret. The secret is shown this once.

    Example: shieldwall app create "our playbook" --role Machine.Read.All --role Machine.Isolate
    Example: shieldwall app create "our console" --public --delegated all --redirect http://localhost
    """
    if not (role or delegated):
        raise typer.BadParameter(
            "name at least one --role, or --role all, or --delegated for what people do. There are:\n  "
            + "\n  ".join(sorted(permissions.APPLICATION_PERMISSIONS))
        )
    with open_state() as database:
        owner = tenant_of(database, tenant)
        application, secret = applications.create_application(
            database,
            owner.id,
            name,
            _roles(role or []),
            days=days,
            public=public,
            multi_tenant=multi_tenant,
            delegated=_delegated(delegated or []),
            redirect_uris=redirect or [],
            actor=typist(),
        )
    console.print(f"tenant         {owner.id}  ({owner.name})", markup=False)
    console.print(f"client id      {application.id}", markup=False)
    if secret:
        _print_secret(secret, days)


@app_commands.command("list")
def list_(tenant: TenantOption = "") -> None:
    """List applications with their roles and their secrets' first characters and ends.

    Example: shieldwall app list
    """
    table = Table("name", Column("client id", no_wrap=True), "roles", "secrets")
    with open_state() as database:
        for application in applications.list_applications(database, tenant_of(database, tenant).id):
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
    delegated: DelegatedOption = None,
    redirect: RedirectOption = None,
    multi_tenant: Annotated[
        bool | None, typer.Option("--multi-tenant/--single-tenant", help="Whether others may consent.")
    ] = None,
    tenant: TenantOption = "",
) -> None:
    """Set an application's roles, or disable it. It takes effect within seconds, on its tokens too.

    Example: shieldwall app update 91e956db-016b-473b-98c6-66210632cc4e --role Alert.Read.All
    """
    if not (role or delegated or redirect) and disable is None and multi_tenant is None:
        raise typer.BadParameter(
            "say what to change: --role, --delegated, --redirect, --disable, ...; see --help"
        )
    with open_state() as database:
        owner = tenant_of(database, tenant, client_id)
        application = applications.update_application(
            database,
            owner.id,
            client_id,
            roles=_roles(role) if role else None,
            disabled=disable,
            multi_tenant=multi_tenant,
            delegated=_delegated(delegated) if delegated else None,
            redirect_uris=redirect,
            actor=typist(),
        )
    state = "disabled" if application.disabled else "enabled"
    console.print(
        f"{application.name}: {state}, {', '.join([*application.roles, *application.delegated])}",
        markup=False,
    )


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
    with open_state() as database:
        owner = tenant_of(database, tenant, client_id)
        secret = applications.rotate_secret(
            database, owner.id, client_id, days=days, revoke_others=revoke_others, actor=typist()
        )
    _print_secret(secret, days)


@app_commands.command("delete")
def delete(client_id: ClientId, tenant: TenantOption = "") -> None:
    """Remove an application; its tokens are refused within seconds.

    Example: shieldwall app delete 91e956db-016b-473b-98c6-66210632cc4e
    """
    with open_state() as database:
        owner = tenant_of(database, tenant, client_id)
        applications.delete_application(database, owner.id, client_id, actor=typist())
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
    with open_state() as database:
        tenant = applications.create_tenant(database, name, typist())
    console.print(f"{tenant.id}  {tenant.name}", markup=False)


@tenant_commands.command("list")
def list_tenants() -> None:
    """List the tenants.

    Example: shieldwall tenant list
    """
    with open_state() as database:
        for tenant in applications.list_tenants(database):
            console.print(f"{tenant.id}  {tenant.name}", markup=False)


def _roles(named: list[str]) -> list[str]:
    everything = any(role.lower() == "all" for role in named)
    return sorted(permissions.APPLICATION_PERMISSIONS) if everything else named


def _delegated(named: list[str]) -> list[str]:
    everything = any(name.lower() == "all" for name in named)
    return sorted(permissions.DELEGATED_PERMISSIONS) if everything else named


def _secrets(application: Application) -> str:
    return "\n".join(_secret_line(secret) for secret in application.secrets)


def _secret_line(secret: ApplicationSecret) -> str:
    word = "expired" if secret.expires_time <= now() else "until"
    return f"{secret.hint}… {word} {secret.expires_time:%Y-%m-%d}"


def _print_secret(secret: str, days: int) -> None:
    console.print(f"client secret  {secret}", markup=False)
    console.print(f"Keep it now: it is not shown again. It expires in {days} days.", style="dim")
