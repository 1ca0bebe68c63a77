"""Recordings against rules: imported into a store of their own, looked at once, told of, and gone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.rules.rule_set import Watched
from shieldwall.detection.streaming.cache import RuleCache
from shieldwall.detection.streaming.matching import Matches, WatchedRules
from shieldwall.identity.models import Tenant
from shieldwall.settings import Settings
from shieldwall.sources.reading.account import Account
from shieldwall.sources.reading.recordings import read
from shieldwall.sources.stage import Sources
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import Batch, Ingester
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

KEPT_DAYS = 20_000
"""Recordings may be of any age."""
BATCH_BYTES = 64 << 20
LEFT_OUT = 100
"""Rules that are not continuous, and problems, of which each is told."""


@dataclass(frozen=True)
class Fired:
    """A rule that found events: how many, and on which hosts."""

    rule: Rule
    events: int
    hosts: dict[str, int]


@dataclass
class Report:
    """What rules found in recordings. ``left_out`` are rules that need more than a row, with why."""

    account: Account
    stored: int = 0
    rejected: int = 0
    fired: list[Fired] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def scan_recordings(
    paths: Iterable[Path],
    rules: Sequence[Rule],
    cache: RuleCache,
    progress: Callable[[str, int], None] = lambda step, done: None,
) -> Report:
    """What ``rules`` find in the recordings at ``paths``, whatever their period.

    ``progress`` is told the step and how far it is: records read, then rules compiled.
    """
    report = Report(Account())
    with tempfile.TemporaryDirectory(prefix="shieldwall-scan-") as folder:
        settings = replace(
            Settings(), data=Path(folder), retention_days=KEPT_DAYS, ingest_max_compressed=BATCH_BYTES
        )
        database = Database(settings.state_url)
        store: TelemetryStore | None = None
        try:
            database.migrate()
            store = TelemetryStore.open(settings)
            asyncio.run(_import(paths, store, database, report, progress))
            progress("rules", len(rules))
            watched = WatchedRules([Watched(rule, None) for rule in rules], cache)
            cache.keep(rule.query for rule in rules)
            report.left_out = {rule_id: error.message for rule_id, error in watched.refused.items()}
            _tell(report, rules, watched.find_everywhere(store))
        finally:
            if store is not None:
                store.close()
            database.close()
    return report


async def _import(
    paths: Iterable[Path],
    store: TelemetryStore,
    database: Database,
    report: Report,
    progress: Callable[[str, int], None],
) -> None:
    tenant = str(uuid4())
    with database.system_session() as session:
        session.add(Tenant(id=tenant, name="recordings", created_time=now()))
    ingester = Ingester(store, database, sources=Sources(store, database))
    await ingester.start()
    try:
        for block in read(paths, report.account):
            batch = Batch(tenant, "", "recording", "", "", 0, block.payload, "identity", source=block.source)
            result = await ingester.submit(batch)
            report.stored += result.stored
            report.rejected += sum(verdict.count for verdict in result.verdicts if verdict.reason)
            progress("records", report.account.records)
    finally:
        await ingester.stop()


def _tell(report: Report, rules: Sequence[Rule], found: Matches) -> None:
    by_id = {rule.id: rule for rule in rules}
    report.failed = found.failed
    report.fired = sorted(
        (
            Fired(by_id[rule_id], count, dict(found.devices[(tenant, rule_id)].most_common()))
            for (tenant, rule_id), count in found.counts.items()
        ),
        key=lambda fired: (-_SEVERITIES.index(fired.rule.severity), fired.rule.name),
    )


_SEVERITIES = ("Informational", "Low", "Medium", "High")
