"""`shieldwall rules`: detection rules, read, tuned, tried and brought in."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from typer.core import TyperGroup

from shieldwall.cli.rules_client import PATH, RulesClient

COLOURS = {"High": "red", "Medium": "yellow", "Low": "cyan", "Informational": "white"}


class Commands(TyperGroup):
    """The commands here, and those that are loaded when they are called: engines take a second to load."""

    ELSEWHERE = {
        "create": "shieldwall.cli.rules_files:create",
        "test": "shieldwall.cli.rules_files:try_examples",
        "apply": "shieldwall.cli.rules_files:apply",
        "import": "shieldwall.cli.rules_import:import_rules",
        "scan": "shieldwall.cli.rules_scan:scan",
    }

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *self.ELSEWHERE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, name = self.ELSEWHERE[cmd_name].partition(":")
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command()(getattr(import_module(module), name))
        command = typer.main.get_command(single)
        command.name = cmd_name
        return command


rules_commands = typer.Typer(help="Detection rules.", cls=Commands, no_args_is_help=True)
console = Console(highlight=False)

Which = Annotated[str, typer.Argument(metavar="RULE", help="The rule's id or its whole name.")]


@rules_commands.command("list")
def list_rules(
    source: Annotated[str, typer.Option(help="Only Custom, Sigma or BuiltIn ones.")] = "",
    find: Annotated[str, typer.Option(help="Only those with this in name, category or technique.")] = "",
) -> None:
    """List the rules with their state and what their last run came to. The server must be running.

    Example: shieldwall rules list --source BuiltIn --find T1059
    """
    table = Table("id", "severity", "name", "source", "frequency", "techniques", "last run", "alerts")
    rules = RulesClient().get(PATH, source=source)["value"]
    for rule in rules:
        words = " ".join([rule["name"], rule["category"], *rule["techniques"]])
        if find.lower() not in words.lower():
            continue
        last = rule["lastRun"] or {}
        table.add_row(
            plain(rule["id"]),
            _severity(rule["severity"]),
            plain(rule["name"]) if rule["enabled"] else f"[dim]{plain(rule['name'])} (off)[/]",
            rule["source"],
            frequency(rule["period"]),
            " ".join(rule["techniques"][:3]),
            ""
            if not last
            else f"[red]failed[/] {last['lastRunDateTime']}"
            if last["failureReason"]
            else str(last["lastRunDateTime"]),
            str(last.get("alerts", "")),
        )
    if table.row_count:
        console.print(table)
    console.print(f"{table.row_count} of {len(rules)} rules")


@rules_commands.command("show")
def show(which: Which) -> None:
    """Show one rule: its query, what a hit raises, what was decided about it, and its suppressions.

    Example: shieldwall rules show "Reverse shell command"
    """
    client = RulesClient()
    rule = client.get(_path(client, which))
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("id", rule["id"]),
        ("source", rule["source"]),
        ("state", "on" if rule["enabled"] else "off"),
        ("severity", rule["severity"]),
        ("category", rule["category"]),
        ("techniques", ", ".join(rule["techniques"])),
        ("frequency", frequency(rule["period"])),
        ("look-back", frequency(rule["lookback"]) if rule["lookback"] else ""),
        ("title", rule["title"]),
        ("description", rule["description"]),
        ("recommended", rule["recommendedAction"] or ""),
        ("entities", ", ".join(f"{kind}: {column}" for kind, column in rule["entities"].items())),
        ("details", ", ".join(f"{name}: {column}" for name, column in rule["details"].items())),
        ("device groups", "all" if rule["deviceGroups"] is None else ", ".join(rule["deviceGroups"])),
        ("actions", ", ".join(action["kind"] for action in rule["actions"])),
        ("next run", rule["nextRunTime"] or ""),
    ):
        if value:
            facts.add_row(f"[dim]{name}[/]", plain(str(value)))
    parts: list[Any] = [facts, "", Syntax(rule["query"], "text", word_wrap=True)]
    kept = client.get(f"{_path(client, rule['id'])}/suppressions")["value"]
    if kept:
        parts += ["", _suppressions(kept)]
    console.print(Panel(Group(*parts), title=plain(rule["name"])))


@rules_commands.command("enable")
def enable(which: Which) -> None:
    """Let a rule raise alerts again; it goes on from now.

    Example: shieldwall rules enable "Reverse shell command"
    """
    _tune(which, {"enabled": True}, "is on")


@rules_commands.command("disable")
def disable(which: Which) -> None:
    """Let a rule raise no more alerts. An update of its text leaves it off.

    Example: shieldwall rules disable "Reverse shell command"
    """
    _tune(which, {"enabled": False}, "is off")


@rules_commands.command("tune")
def tune(
    which: Which,
    severity: Annotated[str, typer.Option(help="Instead of the rule's own; `own` takes it back.")] = "",
    group: Annotated[
        list[str] | None, typer.Option(help="Only on devices of this group; `all` takes it back.")
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(
            help="Isolate, CollectPackage, Scan, Investigate, Restrict, BlockFile, AllowFile or "
            "StopAndQuarantine on each hit; `none` takes all back."
        ),
    ] = None,
) -> None:
    """Decide about a rule, whoever wrote it: severity, device groups, what to do on a hit.

    Example: shieldwall rules tune "Reverse shell command" --severity High --action Isolate --group Servers
    """
    body: dict[str, Any] = {}
    if severity:
        body["severity"] = None if severity.lower() == "own" else severity
    if group:
        body["deviceGroups"] = None if group == ["all"] else group
    if action:
        body["actions"] = [] if action == ["none"] else action
    if not body:
        raise typer.BadParameter("give --severity, --group or --action")
    _tune(which, body, "is tuned")


@rules_commands.command("delete")
def delete(which: Which) -> None:
    """Delete a rule; its alerts stay. A built-in one can only be disabled.

    Example: shieldwall rules delete "My old rule"
    """
    client = RulesClient()
    client.delete(_path(client, which))
    console.print(f"{plain(which)} is deleted")


@rules_commands.command("run")
def run(which: Which) -> None:
    """Run a rule now over what its next run would look at; a continuous one over 30 days.

    Example: shieldwall rules run "Logon after many failed ones"
    """
    client = RulesClient()
    with console.status("running"):
        done = client.post(f"{_path(client, which)}/run", {})
    console.print(_runs([done]))
    if done["error"]:
        raise typer.Exit(1)


@rules_commands.command("runs")
def runs(which: Which, limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 20) -> None:
    """Show the newest runs of a rule: the windows of ingestion time, rows, alerts, and what raised none.

    Example: shieldwall rules runs "Logon after many failed ones" --limit 5
    """
    client = RulesClient()
    found = client.get(f"{_path(client, which)}/runs", limit=str(limit))["value"]
    console.print(_runs(found) if found else "it has not run yet")


@rules_commands.command("suppress")
def suppress(
    which: Which,
    column: Annotated[str, typer.Argument(help="A column of the rule's result.")],
    value: Annotated[str, typer.Argument(help="Its value, in any case.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    device: Annotated[str, typer.Option(help="Only on the device with this name or id.")] = "",
    group: Annotated[str, typer.Option(help="Only on devices of this group.")] = "",
    product: Annotated[str, typer.Option(help="Only for records of this source.")] = "",
    until: Annotated[str, typer.Option(help="Date and time at which it ends.")] = "",
) -> None:
    """Raise no alert for hits of a rule with one value. The record of its runs counts them still.

    Example: shieldwall rules suppress "Reverse shell command" AccountName backup --reason "nightly copy"
    """
    client = RulesClient()
    body = {"column": column, "value": value, "reason": reason}
    more = {"device": device, "deviceGroup": group, "product": product, "expires": until}
    body |= {name: text for name, text in more.items() if text}
    made = client.post(f"{_path(client, which)}/suppressions", body)
    console.print(f"suppression {made['id']} is in force")


@rules_commands.command("unsuppress")
def unsuppress(
    which: Which, number: Annotated[int, typer.Argument(help="As `rules show` lists it.")]
) -> None:
    """End a suppression.

    Example: shieldwall rules unsuppress "Reverse shell command" 3
    """
    client = RulesClient()
    client.delete(f"{_path(client, which)}/suppressions/{number}")
    console.print(f"suppression {number} is ended")


def _path(client: RulesClient, which: str) -> str:
    """The path of the rule with this id or name."""
    rules = client.get(PATH)["value"]
    found = [rule for rule in rules if which in (rule["id"],) or rule["name"].lower() == which.lower()]
    if not found:
        raise typer.BadParameter(f"there is no rule {which!r}; `shieldwall rules list` shows all")
    return f"{PATH}/{quote(found[0]['id'], safe='')}"


def _tune(which: str, body: dict[str, Any], said: str) -> None:
    client = RulesClient()
    changed = client.post(f"{_path(client, which)}/tune", body)
    console.print(f"{plain(changed['name'])} {said}")


def _runs(found: list[dict[str, Any]]) -> Table:
    table = Table("kind", "from", "until", "seconds", "rows", "alerts", "repeats", "suppressed", "over limit")
    for item in found:
        table.add_row(
            item["kind"],
            item["windowStart"],
            item["windowEnd"],
            f"{item['seconds']:.2f}",
            *(str(item[name]) for name in ("rows", "alerts", "repeated", "suppressed", "overLimit")),
        )
        if item["error"]:
            table.add_row("[red]failed[/]", plain(item["error"]))
    return table


def _suppressions(kept: list[dict[str, Any]]) -> Table:
    table = Table("number", "column", "value", "where", "until", "hits", "reason", title="Suppressions")
    for item in kept:
        where = ", ".join(filter(None, (item["device"], item["deviceGroup"], item["product"])))
        table.add_row(
            str(item["id"]),
            plain(item["column"]),
            plain(item["value"]),
            plain(where) or "everywhere",
            item["expires"] or "",
            str(item["hits"]),
            plain(item["reason"]),
        )
    return table


def frequency(minutes: int) -> str:
    """Minutes in words.

    >>> frequency(0), frequency(15), frequency(720), frequency(2880)
    ('continuous', '15 min', '12 h', '2 d')
    """
    if not minutes:
        return "continuous"
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size} {unit}"
    return f"{minutes} min"


def plain(text: str) -> str:
    """Words of others on a terminal: no markup, and nothing that the terminal would obey."""
    return escape("".join(letter if letter.isprintable() or letter == "\n" else "·" for letter in text))


def _severity(name: str) -> str:
    return f"[{COLOURS.get(name, 'white')}]{name}[/]"
