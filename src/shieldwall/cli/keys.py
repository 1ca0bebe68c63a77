"""`shieldwall keys`: the keys that sign access tokens, one set for all tenants."""

from __future__ import annotations

import typer

from shieldwall.identity import signing_keys
from shieldwall.identity.tokens import LIFETIME
from shieldwall.settings import Settings

keys_commands = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)


@keys_commands.callback()
def group() -> None:
    """Keeps the group a group while it has one command."""


@keys_commands.command("rotate")
def rotate() -> None:
    """Make a new key that signs all tokens from now on. Nobody has to sign in again.

    A running server takes it up within seconds. Older keys stay published until what they have signed has
    expired, then they are removed.

    Example: shieldwall keys rotate
    """
    try:
        settings = Settings.load()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not settings.secrets.is_dir():
        raise typer.BadParameter(f"no server has run on {settings.data.absolute()}: start `make run` first")
    path = signing_keys.create(signing_keys.keys_folder(settings))
    typer.echo(f"new key {path.stem}; older ones go in {LIFETIME // 60} minutes")
