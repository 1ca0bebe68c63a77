"""`shieldwall incident`: incidents drawn for people: alerts, process trees, evidence and actions taken."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.tree import Tree

from shieldwall.cli.client import LocalClient
from shieldwall.settings import Settings

COLOURS = {"High": "red", "Medium": "yellow", "Low": "cyan", "Informational": "white"}

incident_commands = typer.Typer(help="Look at incidents.", no_args_is_help=True)


@incident_commands.command("list")
def list_incidents(
    top: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=100)] = 20,
) -> None:
    """List the newest incidents.

    Example: shieldwall incident list --top 5
    """
    client = LocalClient(Settings.load())
    table = Table("id", "severity", "status", "alerts", "last activity", "name")
    for incident in client.get("/api/incidents", **{"$top": str(top)})["value"]:
        table.add_row(
            str(incident["incidentId"]),
            _coloured(incident["severity"]),
            incident["status"],
            str(len(incident["alerts"])),
            incident["lastUpdateTime"],
            escape(incident["incidentName"]),
        )
    Console().print(table)


@incident_commands.command("show")
def show(number: Annotated[int, typer.Argument(help="The incident's id.")]) -> None:
    """Draw one incident: its alerts, process trees, evidence and the actions on its devices.

    Example: shieldwall incident show 12
    """
    client = LocalClient(Settings.load())
    devices = {
        device["mdatpDeviceId"]
        for alert in client.get(f"/api/incidents/{number}")["alerts"]
        for device in alert["devices"]
    }
    actions = [
        action
        for device in sorted(devices)
        for action in client.get("/api/machineactions", **{"$filter": f"machineId eq '{device}'"})["value"]
    ]
    show_incident(client, number, Console(), actions)


def show_incident(client: LocalClient, number: int, console: Console, actions: list[dict[str, Any]]) -> None:
    """Draw incident ``number`` with ``actions`` below it."""
    incident = client.get(f"/api/incidents/{number}")
    parts: list[Any] = [_alert_table(incident["alerts"])]
    drawn: set[tuple[Any, ...]] = set()
    for alert in incident["alerts"]:
        story = client.get(f"/api/alerts/{alert['alertId']}/story")
        root = story["processTree"]
        if root and (key := (story["machineId"], root["processId"], root["creationTime"])) not in drawn:
            drawn.add(key)
            parts += ["", _tree(root)]
    parts += ["", _evidence_table(incident["alerts"])]
    if actions:
        parts += ["", _action_table(actions)]
    title = f"Incident {number}: {escape(incident['incidentName'])}"
    console.print(Panel(Group(*parts), title=title, subtitle=f"{incident['severity']}, {incident['status']}"))


def _coloured(severity: str) -> str:
    return f"[{COLOURS.get(severity, 'white')}]{severity}[/]"


def _alert_table(alerts: list[dict[str, Any]]) -> Table:
    table = Table("severity", "alert", "source", "device", "first activity", title="Alerts", expand=True)
    for alert in alerts:
        table.add_row(
            _coloured(alert["severity"]),
            escape(alert["title"]),
            alert["detectionSource"],
            ", ".join(str(device["deviceDnsName"]) for device in alert["devices"]),
            alert["firstActivity"],
        )
    return table


def _tree(node: dict[str, Any], parent: Tree | None = None) -> Tree:
    """A process and its children; the ones with alerts stand out."""
    marks = "".join(f"  [bold red]▲ {escape(title)}[/]" for title in node["alerts"])
    text = f"[bold]{escape(node['fileName'] or '?')}[/] [dim]{node['processId']}[/]{marks}"
    line = escape(node["commandLine"][:160])
    branch = Tree(f"{text}\n[dim]{line}[/]") if parent is None else parent.add(f"{text}\n[dim]{line}[/]")
    for event in node["events"]:
        branch.add(f"[cyan]{escape(event['actionType'])}[/] {escape(event['text'])}")
    for child in node["children"]:
        _tree(child, branch)
    return branch


def _evidence_table(alerts: list[dict[str, Any]]) -> Table:
    table = Table("kind", "what", "detail", title="Evidence", expand=True)
    seen = set()
    for entity in (entity for alert in alerts for entity in alert["entities"]):
        row = _entity(entity)
        if row not in seen:
            seen.add(row)
            table.add_row(*map(escape, row))
    return table


def _entity(entity: dict[str, Any]) -> tuple[str, str, str]:
    kind = entity["entityType"]
    if kind == "Process":
        return kind, f"{entity['fileName'] or ''} ({entity['processId']})", entity["processCommandLine"] or ""
    if kind == "File":
        where = f"{entity['filePath'] or ''}/{entity['fileName'] or ''}"
        return kind, where, entity["sha256"] or entity["sha1"] or ""
    if kind == "User":
        return kind, entity["accountName"] or "", entity["domainName"] or ""
    return kind, entity["ipAddress"] or entity["url"] or entity["registryKey"] or "", ""


def _action_table(actions: list[dict[str, Any]]) -> Table:
    table = Table("action", "status", "by", "at", "comment", title="Actions taken", expand=True)
    for action in actions:
        table.add_row(
            action["type"],
            action["status"],
            action["requestor"],
            action["creationDateTimeUtc"],
            escape(action["requestorComment"] or ""),
        )
    return table
