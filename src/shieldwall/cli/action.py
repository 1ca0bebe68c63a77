"""`shieldwall action`: what automated investigations want to do, and the approval that it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shieldwall.cli.client import LocalClient
from shieldwall.settings import Settings

action_commands = typer.Typer(
    help="Remediation by automated investigations: list, approve, reject.", no_args_is_help=True
)

WAITING = "PendingApproval"
COLOURS = {WAITING: "yellow", "Succeeded": "green", "Failed": "red", "Rejected": "dim", "Expired": "dim"}

Investigation = Annotated[int, typer.Argument(help="The investigation's id.", show_default=False)]
Numbers = Annotated[
    list[int] | None, typer.Argument(help="Numbers of its actions; without any, all that wait.")
]


@action_commands.command("list")
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was done, approved or rejected before.")
    ] = False,
    top: Annotated[int, typer.Option(help="Of how many investigations, newest first.", min=1, max=1000)] = 50,
) -> None:
    """List the actions that wait for approval.

    Example: shieldwall action list --all
    """
    client = LocalClient(Settings.load())
    table = Table("investigation", "action", "device", "what", "file", "verdict", "status", "decided by")
    for investigation in _investigations(client, everything, top):
        number = investigation["id"]
        for action in client.get(f"/api/investigations/{number}/actions")["value"]:
            if everything or action["status"] == WAITING:
                table.add_row(number, *_cells(action))
    console = Console()
    if table.row_count:
        console.print(table)
    else:
        console.print("Nothing was remediated." if everything else "Nothing waits for approval.")


@action_commands.command("approve")
def approve(investigation: Investigation, numbers: Numbers = None) -> None:
    """Let an investigation do what it waits to do.

    Example: shieldwall action approve 12 1
    """
    _decide(investigation, numbers, "approve")


@action_commands.command("reject")
def reject(investigation: Investigation, numbers: Numbers = None) -> None:
    """Refuse what an investigation waits to do.

    Example: shieldwall action reject 12
    """
    _decide(investigation, numbers, "reject")


def _investigations(client: LocalClient, everything: bool, top: int) -> Iterator[dict[str, Any]]:
    options = {"$top": str(top)}
    if not everything:
        options["$filter"] = f"state eq '{WAITING}'"
    yield from client.get("/api/investigations", **options)["value"]


def _decide(investigation: int, numbers: list[int] | None, verb: str) -> None:
    client = LocalClient(Settings.load())
    place = f"/api/investigations/{investigation}"
    waiting = [
        action["number"] for action in client.get(f"{place}/actions")["value"] if action["status"] == WAITING
    ]
    for number in numbers or waiting:
        client.post(f"{place}/actions/{number}/{verb}", {})
    if not (numbers or waiting):
        raise typer.BadParameter(f"no action of investigation {investigation} waits for approval")
    done = len(numbers or waiting)
    verbed = "approved" if verb == "approve" else "rejected"
    state = client.get(place)["state"]
    typer.echo(f"{verbed} {done} {'action' if done == 1 else 'actions'}; the investigation is {state}")


def _cells(action: dict[str, Any]) -> tuple[str, ...]:
    status = action["status"]
    return (
        str(action["number"]),
        action["machineId"][:12],
        action["type"],
        escape(action["path"] or action["sha1"]),
        action["verdict"],
        f"[{COLOURS.get(status, 'white')}]{status}[/]",
        escape(action["decidedBy"] or ""),
    )
