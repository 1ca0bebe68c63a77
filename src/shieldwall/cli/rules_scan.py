"""`shieldwall rules scan`: recordings against all rules, without a server."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from shieldwall.detection.rules.builtin import builtin_rules
from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.sigma.archives import UnreadablePathError
from shieldwall.detection.sigma.importing import load
from shieldwall.detection.streaming.cache import RuleCache
from shieldwall.detection.streaming.recordings import Fired, Report, scan_recordings
from shieldwall.settings import Settings

console = Console(highlight=False, soft_wrap=True)
_HOSTS_SHOWN = 3
_PROBLEMS_SHOWN = 10
_COLORS = {"High": "red", "Medium": "yellow", "Low": "cyan", "Informational": "dim"}


def scan(
    files: Annotated[
        list[Path], typer.Argument(help="Recordings: EVTX, JSON, folders, archives.", exists=True)
    ],
    rules: Annotated[
        list[Path] | None, typer.Option(help="Sigma rules to use too: a file, a folder or an archive.")
    ] = None,
    builtin: Annotated[bool, typer.Option(help="Use the rules that come with the product.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
) -> None:
    """Look for what rules find in recordings, and show which fired, how often and on which hosts.

    Nothing is kept, and no server is needed. Rules that need several events are left out, and said to be.

    Example: shieldwall rules scan security.evtx --rules sigma_core.zip
    """
    settings = Settings.load()
    cache = settings.data / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with _progress() as progress:
        task = progress.add_task("reading rules", total=None)
        wanted = _rules(rules or [], builtin, cache)
        if not wanted:
            raise typer.BadParameter("there are no rules: give some with --rules")

        def tell(step: str, done: int) -> None:
            progress.update(task, description=f"{done:,} records read" if step == "records" else "looking")

        report = scan_recordings(files, wanted, RuleCache(cache / "scanned-rules.json"), tell)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(_data(report, wanted), option=orjson.OPT_INDENT_2) + b"\n")
    else:
        _show(report, wanted)


def _rules(paths: Sequence[Path], builtin: bool, cache: Path) -> list[Rule]:
    """All rules by id; BadParameter names a path that cannot be read."""
    found = dict(builtin_rules()) if builtin else {}
    for path in paths:
        try:
            converted = load(path, cache=cache / "sigma.json")
        except UnreadablePathError as error:
            raise typer.BadParameter(str(error)) from None
        found |= {rule.id: rule for rule in converted.rules}
        if converted.refused:
            print(f"{len(converted.refused)} rules of {path} cannot be used", file=sys.stderr)  # noqa: T201
    return list(found.values())


def _data(report: Report, rules: Sequence[Rule]) -> dict[str, Any]:
    return {
        "records": report.account.records,
        "stored": report.stored,
        "rejected": report.rejected,
        "unreadable": [f"{item.file}: {item.text}" for item in report.account.problems],
        "rules": len(rules),
        "leftOut": report.left_out,
        "failed": report.failed,
        "fired": [
            {
                "id": item.rule.id,
                "name": item.rule.name,
                "severity": item.rule.severity,
                "techniques": list(item.rule.techniques),
                "events": item.events,
                "hosts": item.hosts,
            }
            for item in report.fired
        ],
    }


def _show(report: Report, rules: Sequence[Rule]) -> None:
    if report.fired:
        console.print(_fired(report.fired))
        console.print(_techniques(report.fired))
    events = sum(item.events for item in report.fired)
    console.print(
        f"{len(report.fired)} of {len(rules):,} rules fired on {events:,} events; "
        f"{report.stored:,} of {report.account.records:,} records stored, {report.rejected:,} rejected"
    )
    if report.left_out:
        console.print(f"{len(report.left_out):,} rules need more than one event and were left out")
    for rule_id, why in report.failed.items():
        console.print(f"[red]{escape(_plain(rule_id))} failed:[/] {escape(_plain(why))}")
    for problem in report.account.problems[:_PROBLEMS_SHOWN]:
        console.print(f"[red]{escape(_plain(problem.file))}:[/] {escape(_plain(problem.text))}")
    if len(report.account.problems) > _PROBLEMS_SHOWN:
        console.print(f"and {len(report.account.problems) - _PROBLEMS_SHOWN} more problems; --json lists all")


def _fired(fired: Sequence[Fired]) -> Table:
    table = Table("severity", "rule", "techniques", "hosts", title="Rules that fired")
    table.add_column("events", justify="right")
    for item in fired:
        hosts = [f"{_plain(name) or '?'} ({count:,})" for name, count in item.hosts.items()]
        more = f" and {len(hosts) - _HOSTS_SHOWN} more" if len(hosts) > _HOSTS_SHOWN else ""
        color = _COLORS[item.rule.severity]
        table.add_row(
            f"[{color}]{item.rule.severity}[/]",
            escape(_plain(item.rule.name)),
            ", ".join(item.rule.techniques),
            escape(", ".join(hosts[:_HOSTS_SHOWN]) + more),
            f"{item.events:,}",
        )
    return table


def _techniques(fired: Sequence[Fired]) -> Table:
    table = Table("technique", "rules", "hosts", title="ATT&CK techniques")
    table.add_column("events", justify="right")
    events: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    hosts: dict[str, set[str]] = {}
    for item in fired:
        for technique in item.rule.techniques:
            events[technique] += item.events
            rules[technique] += 1
            hosts.setdefault(technique, set()).update(item.hosts)
    for technique, count in events.most_common():
        table.add_row(technique, str(rules[technique]), str(len(hosts[technique])), f"{count:,}")
    return table


def _plain(text: str) -> str:
    """Words of others on a terminal: nothing that the terminal would obey."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
