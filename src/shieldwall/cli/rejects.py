"""`shieldwall rejects`: what agents sent and the server could not store."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shieldwall.cli.client import LocalClient
from shieldwall.settings import Settings

SHOWN = 200
"""Characters of a line that are shown; the API gives 4,096."""

rejects_commands = typer.Typer(help="Lines of agents that could not be stored.", no_args_is_help=True)


@rejects_commands.callback()
def group() -> None:
    """Keeps the group a group while it has one command."""


@rejects_commands.command("list")
def list_rejects(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20,
    device: Annotated[str, typer.Option(help="Only those of the device with this id.")] = "",
) -> None:
    """List the newest rejected lines with the reasons. The server must be running.

    Example: shieldwall rejects list --limit 5 --device 2f9c0d6ce2a54cbd5d8f4f0b6a3c1e7d9b8a7c65
    """
    client = LocalClient(Settings.load())
    table = Table("time", "device", "batch", "line", "reason", "text")
    for letter in client.get("/api/rejects", limit=str(limit), device=device)["value"]:
        table.add_row(
            letter["time"],
            letter["machineId"],
            str(letter["sequence"]),
            str(letter["line"]),
            _harmless(letter["reason"]),
            _harmless(letter["text"][:SHOWN]),
        )
    console = Console(highlight=False)
    if table.row_count:
        console.print(table)
    else:
        console.print("nothing was rejected")


def _harmless(text: str) -> Text:
    """A device's words on a terminal: no markup, and nothing that the terminal would obey."""
    return Text("".join(letter if letter.isprintable() else "·" for letter in text))
