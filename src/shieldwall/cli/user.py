"""`shieldwall user`: people who sign in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from shieldwall.cli.directory import TenantOption, open_state, tenant_of, typist
from shieldwall.identity import passwords, users

user_commands = typer.Typer(help="People who sign in; roles say what they may do.", no_args_is_help=True)

Upn = Annotated[str, typer.Argument(help="User principal name, such as ann@contoso.com.", show_default=False)]
PasswordOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the standard input.")
]


@user_commands.command("create")
def create(
    upn: Upn,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="May let partners' applications in.")] = False,
    password_stdin: PasswordOption = False,
    tenant: TenantOption = "",
) -> None:
    """Make a user and print a password once, unless one is given. They may do nothing until they have a role.

    Example: shieldwall user create ann@contoso.com --name "Ann O'Hara"
    """
    password = _password(password_stdin)
    with open_state() as database:
        owner = tenant_of(database, tenant)
        user = users.create_user(
            database, owner.id, upn, password, display_name=name, admin=admin, actor=typist()
        )
    typer.echo(f"object id  {user.id}")
    _show(password, password_stdin)


@user_commands.command("list")
def list_(tenant: TenantOption = "") -> None:
    """List the users.

    Example: shieldwall user list
    """
    with open_state() as database:
        for user in users.list_users(database, tenant_of(database, tenant).id):
            marks = [word for word, shown in (("admin", user.admin), ("disabled", not user.enabled)) if shown]
            typer.echo("  ".join([user.id, user.upn, user.display_name, *marks]))


@user_commands.command("disable")
def disable(
    upn: Upn,
    enable: Annotated[bool, typer.Option("--enable", help="Let them in again.")] = False,
    tenant: TenantOption = "",
) -> None:
    """Refuse a user; their tokens end within seconds.

    Example: shieldwall user disable ann@contoso.com
    """
    with open_state() as database:
        owner = tenant_of(database, tenant)
        user = users.set_enabled(database, owner.id, upn, enable, actor=typist())
    typer.echo(f"{user.upn}: {'enabled' if user.enabled else 'disabled'}")


@user_commands.command("reset")
def reset(upn: Upn, password_stdin: PasswordOption = False, tenant: TenantOption = "") -> None:
    """Give a user a new password; what was signed in with the old one ends within seconds.

    Example: shieldwall user reset ann@contoso.com
    """
    password = _password(password_stdin)
    with open_state() as database:
        owner = tenant_of(database, tenant)
        users.reset_password(database, owner.id, upn, password, actor=typist())
    _show(password, password_stdin)


@user_commands.command("delete")
def delete(upn: Upn, tenant: TenantOption = "") -> None:
    """Remove a user.

    Example: shieldwall user delete ann@contoso.com
    """
    with open_state() as database:
        users.delete_user(database, tenant_of(database, tenant).id, upn, actor=typist())
    typer.echo(f"deleted {upn}")


def _password(given: bool) -> str:
    return sys.stdin.readline().rstrip("\r\n") if given else passwords.generate()


def _show(password: str, given: bool) -> None:
    if not given:
        typer.echo(f"password   {password}\nKeep it now: it is not shown again.")
