"""`shieldwall incident`: incidents drawn for people: alerts, process trees, evidence and actions taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.tree import Tree

from shieldwall.cli.client import LocalClient
from shieldwall.cli.graph_svg import svg
from shieldwall.cli.graph_text import BAD, dot, mermaid
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


class Graph(StrEnum):
    """How the attack story is written."""

    TREE = "tree"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
    JSON = "json"


@incident_commands.command("show")
def show(
    number: Annotated[int, typer.Argument(help="The incident's id.")],
    graph: Annotated[
        Graph | None,
        typer.Option(help="Write the attack story as a graph instead: to --out, or the terminal."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the graph to.", dir_okay=False)] = None,
) -> None:
    """Draw one incident: its alerts, process trees, evidence and the actions on its devices.

    Example: shieldwall incident show 12 --graph svg --out incident.svg
    """
    client = LocalClient(Settings.load())
    if graph is not None:
        _write_graph(client.get(f"/api/incidents/{number}/story"), graph, out)
        return
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


def _write_graph(story: dict[str, Any], graph: Graph, out: Path | None) -> None:
    if graph is Graph.TREE:
        if out is not None:
            raise typer.BadParameter("a tree is for the terminal; --out takes mermaid, dot, svg or json")
        Console().print(story_tree(story))
        return
    text = _WRITERS[graph](story)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {out}: {error.strerror}") from None
    typer.echo(f"{out}: {len(story['nodes'])} nodes, {len(story['edges'])} edges")


_WRITERS: dict[Graph, Callable[[dict[str, Any]], str]] = {
    Graph.MERMAID: mermaid,
    Graph.DOT: dot,
    Graph.SVG: svg,
    Graph.JSON: lambda story: json.dumps(story, indent=2, ensure_ascii=False) + "\n",
}


def story_tree(story: dict[str, Any]) -> Tree:
    """The attack story by device: what happened on each, oldest first, and why it belongs here."""
    title = f"Incident {story['incidentId']}: {escape(story['incidentName'])}"
    root = Tree(f"[bold]{title}[/]  {_coloured(story['severity'])}, {story['status']}")
    titles = {alert["alertId"]: alert["title"] for alert in story["alerts"]}
    devices: dict[str, Tree] = {}
    by_alert: dict[str, list[dict[str, Any]]] = {}
    for node in story["nodes"]:
        for alert in node["alertIds"]:
            by_alert.setdefault(alert, []).append(node)
    for alert in story["alerts"]:
        where = alert["computerDnsName"] or alert["machineId"] or "no device"
        if where not in devices:
            devices[where] = root.add(f"[bold blue]{escape(where)}[/]")
        branch = devices[where].add(
            f"[dim]{alert['firstActivity']}[/] {_coloured(alert['severity'])} {escape(alert['title'])}"
        )
        for reason in alert["reasons"]:
            shared = ", ".join(f"{each['kind']} {each['value']}" for each in reason["shared"])
            other = titles.get(reason["alertId"], reason["alertId"])
            branch.add(f"[dim]linked to {escape(other)} by {escape(shared)}[/]")
        if alert["movedBy"]:
            branch.add(f"[dim]put here by {escape(alert['movedBy'])}[/]")
        for node in by_alert.get(alert["alertId"], []):
            if node["kind"] not in ("alert", "device"):
                mark = "[red]" if node["verdict"] in BAD else "[cyan]"
                branch.add(f"{mark}{node['kind']}[/] {escape(node['label'])}")
    return root


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
