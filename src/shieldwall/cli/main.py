"""`shieldwall`: every command of the server, each in a module that is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "run": "shieldwall.cli.run:run",
    "serve": "shieldwall.cli.run:serve",
    "demo": "shieldwall.cli.demo:demo",
    "query": "shieldwall.cli.query:query",
    "api": "shieldwall.cli.api:api",
    "kql": "shieldwall.cli.kql:kql_commands",
    "app": "shieldwall.cli.app:app_commands",
    "user": "shieldwall.cli.user:user_commands",
    "role": "shieldwall.cli.role:role_commands",
    "tenant": "shieldwall.cli.app:tenant_commands",
    "keys": "shieldwall.cli.keys:keys_commands",
    "device": "shieldwall.cli.device:device_commands",
    "alert": "shieldwall.cli.alert:alert_commands",
    "incident": "shieldwall.cli.incident:incident_commands",
    "action": "shieldwall.cli.action:action_commands",
    "import": "shieldwall.cli.importing:import_files",
    "rejects": "shieldwall.cli.rejects:rejects_commands",
    "rules": "shieldwall.cli.rules:rules_commands",
}
"""Where each command is: a function, or a group of commands."""


class Commands(TyperGroup):
    """The commands, without loading those that are not called: a server's parts take a second to load."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            command = typer.main.get_command(found)
        else:
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command()(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="shieldwall",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Open endpoint detection and response that speaks the Microsoft Defender for Endpoint API.

    Example: shieldwall run
    """


if __name__ == "__main__":
    app()
