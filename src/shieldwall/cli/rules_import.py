"""`shieldwall rules import`: Sigma rules of a file, a folder or an archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shieldwall.cli import quickstart
from shieldwall.detection.rules.service import RuleService
from shieldwall.detection.sigma.archives import UnreadablePathError
from shieldwall.detection.sigma.conversion import Converted
from shieldwall.detection.sigma.importing import load, read_placeholders
from shieldwall.detection.sigma.refusals import Refused
from shieldwall.errors import ApiError
from shieldwall.identity.applications import find_tenant
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

SHOWN = 20
"""Refused rules that are listed one by one unless all are asked for."""
ACTOR = Principal("", "shieldwall rules import", "", frozenset())

console = Console(highlight=False, soft_wrap=True)


def import_rules(
    path: Annotated[Path, typer.Argument(help="A Sigma rule file, a folder, or a zip or tar archive.")],
    tenant: Annotated[str, typer.Option(help="Name or id of the tenant.")] = quickstart.TENANT_NAME,
    placeholders: Annotated[
        Path | None, typer.Option(help="YAML file with values for %name% of rules that expand it.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Convert and report, but keep nothing.")] = False,
    every: Annotated[bool, typer.Option("--all", help="List every refused rule.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write each refusal as a line of JSON here.")] = None,
) -> None:
    """Convert Sigma rules to KQL and keep them, or bring those that were imported before up to date.

    What was decided about a rule (off, severity, device groups, actions, suppressions) stays as it is. A rule
    that cannot be converted is reported with the reason and does not hold up the others.

    Example: shieldwall rules import sigma_all_rules.zip
    """
    settings = Settings.load()
    database = Database(settings.state_url)
    with database.system_read() as session:
        found = find_tenant(session, tenant)
    if found is None:
        raise typer.BadParameter(f"there is no tenant {tenant!r}")
    try:
        values = read_placeholders(placeholders) if placeholders else None
        with _progress() as progress:
            task = progress.add_task("converting", total=None)
            converted = load(
                path,
                values,
                settings.data / "cache" / "sigma.json",
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    except UnreadablePathError as error:
        raise typer.BadParameter(str(error)) from None
    outcomes: Counter[str] = Counter()
    refused = list(converted.refused)
    if not check:
        outcomes, more = _keep(database, found.id, converted)
        refused += more
    if report is not None:
        report.write_bytes(b"".join(orjson.dumps(asdict(item)) + b"\n" for item in refused))
    _show(converted, outcomes, refused, every=every)
    if not converted.rules:
        raise typer.Exit(1)


def _keep(database: Database, tenant_id: str, converted: Converted) -> tuple[Counter[str], list[Refused]]:
    """Store the rules; how many were added and the like, and those that the store refused."""
    actor = Principal(tenant_id, ACTOR.application_id, "", frozenset())
    try:
        # They were compiled as they were converted.
        results = RuleService(database).import_many(actor, converted.rules, checked=True)
    except ApiError as error:
        raise typer.BadParameter(error.message) from None
    refused = [
        Refused("", item.rule.name, item.reason, kind="not kept", rule_id=item.rule.id)
        for item in results
        if item.outcome == "refused"
    ]
    return Counter(item.outcome for item in results), refused


def _show(converted: Converted, outcomes: Counter[str], refused: Sequence[Refused], *, every: bool) -> None:
    counts = Table("rules", "count", title="Sigma rules")
    counts.add_row("converted", str(len(converted.rules)))
    for name in ("added", "updated", "unchanged"):
        if outcomes:
            counts.add_row(f"  {name}", str(outcomes[name]))
    counts.add_row("refused", str(len(refused)))
    console.print(counts)
    if not refused:
        return
    reasons = Table("count", "reason")
    grouped = Counter(item.reason[:120] for item in refused)
    for reason, count in grouped.most_common(SHOWN):
        reasons.add_row(str(count), escape(_plain(reason)))
    console.print(reasons)
    if every or len(refused) <= SHOWN:
        for item in refused:
            console.print(escape(_plain(f"{item} [{item.title}]" if item.title else str(item))))
    else:
        console.print("--all lists every refused rule, --report FILE writes them down")


def _plain(text: str) -> str:
    """Words of a rule on a terminal: nothing that the terminal would obey."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
