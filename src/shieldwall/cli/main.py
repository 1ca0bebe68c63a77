"""`shieldwall`: every command of the server, each in a module of its own."""

from __future__ import annotations

import typer

from shieldwall.cli.app import app_commands, tenant_commands
from shieldwall.cli.demo import demo
from shieldwall.cli.device import device_commands
from shieldwall.cli.incident import incident_commands
from shieldwall.cli.keys import keys_commands
from shieldwall.cli.rejects import rejects_commands
from shieldwall.cli.run import run, serve

app = typer.Typer(
    name="shieldwall",
    help="Open endpoint detection and response that speaks the Microsoft Defender for Endpoint API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(run)
app.command()(serve)
app.command()(demo)
app.add_typer(app_commands, name="app")
app.add_typer(tenant_commands, name="tenant")
app.add_typer(keys_commands, name="keys")
app.add_typer(device_commands, name="device")
app.add_typer(incident_commands, name="incident")
app.add_typer(rejects_commands, name="rejects")

if __name__ == "__main__":
    app()
