"""`shieldwall alert`: alerts of other products sent, looked at, and their indicators decided about."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from shieldwall.cli.api import connected
from shieldwall.client import Client, ClientError, calls

FORMATS = ("shieldwall", "suricata", "zeek", "wazuh", "falco", "ocsf", "stix", "cef", "leef")
BATCH = 100
BATCH_BYTES = 2 << 20
SHOWN = 20

alert_commands = typer.Typer(help="Alerts of other products.", no_args_is_help=True)
indicator_commands = typer.Typer(help="Indicators that alerts of other products offer.", no_args_is_help=True)
alert_commands.add_typer(indicator_commands, name="indicators")


@alert_commands.command("send")
def send(
    file: Annotated[
        str, typer.Argument(help="A file of alerts, or - for standard input.", show_default=False)
    ],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}; else told by the records.")] = "",
) -> None:
    """Send alerts of another product: a JSON object or list, JSON lines, or lines of CEF or LEEF.

    What a Suricata file holds besides alerts is left out. The exit status is 1 when an alert was rejected.

    Example: shieldwall alert send /var/log/suricata/eve.json --format suricata
    """
    if format and format not in FORMATS:
        raise typer.BadParameter(f"the format must be one of {', '.join(FORMATS)}")
    records = list(_records(_text(file)))
    alerts = [(place, record) for place, record in records if not _is_other_event(record)]
    counts: Counter[str] = Counter()
    console = Console(highlight=False)
    table = Table("where", "result", "alert", "incident", "device", "sure", title="Alerts")
    with _client() as client, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending", total=len(alerts))
        for batch in _batches(alerts):
            listing = calls.send_external_alerts([record for _, record in batch], format)
            for result in client.each(listing):
                counts[result["result"]] += 1
                if table.row_count < SHOWN or (result["error"] and counts["rejected"] <= SHOWN):
                    _add_result(table, batch, dict(result))
            progress.advance(task, len(batch))
    if len(records) > len(alerts):
        counts["no alerts, left out"] = len(records) - len(alerts)
    if table.row_count:
        console.print(table)
    console.print(", ".join(f"{number} {name}" for name, number in counts.items()) or "nothing to send")
    if counts["rejected"]:
        raise typer.Exit(1)


@alert_commands.command("external")
def external(alert_id: Annotated[str, typer.Argument(help="The alert's id.")]) -> None:
    """Show what another product said of an alert, and how its device and process were found.

    Example: shieldwall alert external da637551227677560813_-961444813
    """
    with _client() as client:
        found = client.send(calls.external_alert(alert_id))
    table = Table("what", "value", show_header=False)
    for name in (
        "vendor",
        "product",
        "sensor",
        "externalId",
        "state",
        "confidence",
        "receivedTime",
        "nextTry",
    ):
        table.add_row(name, _plain(found[name]))
    table.add_row("reasons", _plain(", ".join(found["reasons"])))
    table.add_row("event", _plain(json.dumps(found["event"])))
    table.add_row("alert", _plain(json.dumps(found["alert"], indent=1, ensure_ascii=False)))
    Console(highlight=False).print(table)


@alert_commands.command("sources")
def sources() -> None:
    """List the products that sent alerts, and how far their clocks are ahead of the devices' clocks.

    Example: shieldwall alert sources
    """
    table = Table("vendor", "product", "sensor", "alerts", "last", "clock ahead")
    with _client() as client:
        for each in client.each(calls.alert_sources()):
            ahead = each["clockAheadSeconds"]
            clock = "not known yet" if ahead is None else f"{ahead:+.1f} s"
            named = (each["vendor"], each["product"], each["sensor"], each["alerts"], each["lastSeen"])
            table.add_row(*map(_plain, named), clock)
    Console(highlight=False).print(table)


@indicator_commands.command("list")
def list_offers(
    state: Annotated[
        str, typer.Option(help="Offered, Applied, Rejected or Failed; empty for all.")
    ] = "Offered",
    top: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 50,
) -> None:
    """List what alerts of other products call malicious.

    Example: shieldwall alert indicators list --state Offered
    """
    table = Table("id", "state", "type", "value", "action", "severity", "from", "alert")
    names = ("id", "state", "indicatorType", "indicatorValue", "action", "severity", "source", "alertId")
    if state and not state.isalpha():
        raise typer.BadParameter("--state is one word")
    wanted = calls.indicator_offers(filter=f"state eq '{state}'") if state else calls.indicator_offers()
    with _client() as client:
        for offer in islice(client.each(wanted), top):
            each = dict(offer)
            table.add_row(*(_plain(each[name]) for name in names))
    console = Console(highlight=False)
    console.print(table if table.row_count else "nothing is offered")


@indicator_commands.command("approve")
def approve(
    numbers: Annotated[list[int], typer.Argument(help="Ids of offers.", show_default=False)],
    action: Annotated[str, typer.Option(help="Audit, Warn or Block; else as offered.")] = "",
    days: Annotated[int, typer.Option(help="For how long; 0 for as offered.", min=0, max=365)] = 0,
) -> None:
    """Put offered values on the indicator list of all endpoints.

    Example: shieldwall alert indicators approve 12 13 --action Block --days 14
    """
    changes: dict[str, Any] = {"action": action} if action else {}
    changes |= {"days": days} if days else {}
    with _client() as client:
        for number in numbers:
            made = client.send(calls.approve_offer(number, **changes))
            typer.echo(f"{made['indicatorValue']} is indicator {made['indicatorId']} ({made['action']})")


@indicator_commands.command("reject")
def reject(
    numbers: Annotated[list[int], typer.Argument(help="Ids of offers.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, for those who look later.")] = "",
) -> None:
    """Turn offered values down; they are not offered again.

    Example: shieldwall alert indicators reject 14 --reason "our own mirror"
    """
    with _client() as client:
        for number in numbers:
            typer.echo(f"{client.send(calls.reject_offer(number, reason))['indicatorValue']} is rejected")


@indicator_commands.command("policy")
def policy(
    rules: Annotated[
        str, typer.Option(help="The rules as JSON, or @FILE; they replace those there are.")
    ] = "",
    allow: Annotated[list[str] | None, typer.Option(help="A value never to offer; repeatable.")] = None,
    disallow: Annotated[list[str] | None, typer.Option(help="A value to take off that list.")] = None,
) -> None:
    """Show or change what becomes of values that alerts of other products call malicious.

    Rules are tried in order: vendor, product, minSeverity, mode (off, offer or apply), action, days, types.

    Example: shieldwall alert indicators policy --rules '[{"vendor": "OISF", "mode": "apply"}]'
    """
    changes: dict[str, Any] = {}
    if rules:
        try:
            changes["rules"] = json.loads(Path(rules[1:]).read_text() if rules.startswith("@") else rules)
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"--rules: {error}") from None
    with _client() as client:
        found = client.send(calls.indicator_policy())
        if allow or disallow:
            gone = {each.lower() for each in disallow or ()}
            changes["allowed"] = [*(each for each in found["allowed"] if each not in gone), *(allow or ())]
        if changes:
            found = client.send(calls.change_indicator_policy(**changes))
    table = Table("vendor", "product", "from severity", "mode", "action", "days", "types")
    for rule in found["rules"]:
        names = ("vendor", "product", "minSeverity", "mode", "action", "days")
        table.add_row(*(_plain(rule[name]) for name in names), ", ".join(rule["types"]))
    console = Console(highlight=False)
    console.print(table)
    console.print("never offered:", _plain(", ".join(found["allowed"]) or "nothing of your own"))


@contextmanager
def _client() -> Iterator[Client]:
    """A client whose failures end the command with one line."""
    try:
        with connected() as client:
            yield client
    except ClientError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: {error}") from None


def _records(text: str) -> Iterator[tuple[str, Any]]:
    """Each record with where it is in the file."""
    if text.lstrip()[:1] not in ("{", "["):
        yield from _lines(text)
        return
    try:
        whole = json.loads(text)
    except ValueError:
        for place, line in _lines(text):
            try:
                yield place, json.loads(line)
            except ValueError as error:
                raise typer.BadParameter(f"{place} is no JSON: {error}") from None
        return
    if isinstance(whole, list):
        yield from ((f"item {number}", record) for number, record in enumerate(whole, 1))
    else:
        yield "item 1", whole


def _lines(text: str) -> Iterator[tuple[str, str]]:
    return ((f"line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _is_other_event(record: Any) -> bool:
    """Whether it is one of the many records of Suricata that are no alerts."""
    return (
        isinstance(record, dict) and record.get("event_type", "alert") != "alert" and "vendor" not in record
    )


def _batches(records: list[tuple[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    batch: list[tuple[str, Any]] = []
    size = 0
    for place, record in records:
        length = len(json.dumps(record))
        if batch and (len(batch) >= BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((place, record))
        size += length
    if batch:
        yield batch


def _add_result(table: Table, batch: list[tuple[str, Any]], result: dict[str, Any]) -> None:
    """A row of one alert, by its place in the file rather than in the batch."""
    words = result["item"].split(" ", 2)
    index = int(words[1]) - 1 if len(words) > 1 and words[1].isdigit() else 0
    place = " ".join([batch[index][0], *words[2:]])
    error = result["error"]
    told = f"rejected: {error['message']}" if error else result["result"]
    sure = f"{result['confidence']} %" if result["machineId"] else ""
    named = (place, told, result["alertId"], result["incidentId"], result["machineId"] or "not known yet")
    table.add_row(*map(_plain, named if not error else (place, told, "", "", "")), sure)


def _plain(value: Any) -> Text:
    """A product's words on a terminal: no markup, and nothing that the terminal would obey."""
    text = "" if value is None else str(value)
    return Text("".join(letter if letter.isprintable() or letter == "\n" else "·" for letter in text))
