"""Thousands of rules over a million events in one pass, beside one query a rule; then as events come.

Example: python -m benchmarks.rules --recordings ../shared/datasets/otrf --rules ../shared/sigma/rules.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.generator import batches
from benchmarks.rule_data import made_records, made_rules, recorded, sigma_rules
from benchmarks.stores import batch, stores
from shieldwall.alerts.models import Alert
from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.rules.rule_set import RuleSet, Watched
from shieldwall.detection.streaming.cache import RuleCache
from shieldwall.detection.streaming.compiling import CompiledRule
from shieldwall.detection.streaming.continuous import ContinuousDetection, InForce
from shieldwall.detection.streaming.matching import WatchedRules
from shieldwall.errors import ApiError
from shieldwall.settings import Settings
from shieldwall.sources.stage import Sources
from shieldwall.telemetry.hunting import Hunting, Limits
from shieldwall.telemetry.ingest import Batch, Ingester
from shieldwall.telemetry.schema import SOURCE_EVENTS, TABLES
from shieldwall.telemetry.store import TelemetryStore

TIMES_FASTER = 15.0
SECONDS, MEMORY = 60.0, 2000
"""For a million events; MB."""
COLD, CACHED = 10.0, 1.0
RATE = 10_000
"""Events a second that are kept up with."""
LATENCY = 3.0
BATCH = 500
SMALL_BLOCKS = (
    "SETTINGS max_threads = 1, max_insert_threads = 1, max_block_size = 8192, "
    "min_insert_block_size_rows = 8192, min_insert_block_size_bytes = 16000000"
)
KEPT_DAYS = 20_000
"""Recordings are some years old."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--recordings", type=Path, help="folder of JSON lines and zips; else generated")
    parser.add_argument("--rules", type=Path, help="Sigma: folder, archive or JSON lines; else generated")
    parser.add_argument("--count", type=int, default=2600, help="generated rules")
    parser.add_argument("--imported", type=int, default=200_000, help="records; the others repeat them")
    parser.add_argument(
        "--baseline", type=int, default=0, help="so many rules are also run one by one; else all"
    )
    parser.add_argument("--seconds", type=int, default=20, help="of continuous detection")
    parser.add_argument("--step", choices=("fill", "pass", "alone", "continuous"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        return int(globals()[given.step.replace("pass", "one_pass")](given) or 0)
    with tempfile.TemporaryDirectory(prefix="shieldwall-bench-") as scratch:
        given.folder = Path(scratch)
        keep_rules(given)
        # Each in a process of its own, so that none is measured with the memory of another.
        if run("fill", given.folder):
            return 1
        failed = [run(step, given.folder) for step in ("pass", "alone", "continuous")]
    return int(any(failed))


def run(step: str, folder: Path) -> int:
    command = [
        sys.executable,
        "-m",
        "benchmarks.rules",
        *sys.argv[1:],
        "--step",
        step,
        "--folder",
        str(folder),
    ]
    return subprocess.run(command, check=False).returncode


def told(name: str, value: float, aim: float, unit: str, *, least: bool = False) -> bool:
    """Print a figure; whether it misses its aim."""
    missed = value < aim if least else value > aim
    print(
        f"{name:58} {value:9,.1f} {unit:6} (aim {'at least' if least else 'under'} {aim:g})"
        f"{'  MISSED' if missed else ''}"
    )
    return missed


def keep_rules(given: argparse.Namespace) -> None:
    began = time.monotonic()
    rules = sigma_rules(given.rules) if given.rules else made_rules(given.count)
    print(f"{len(rules):,} rules, ready as KQL in {time.monotonic() - began:.1f} s")
    (given.folder / "rules.json").write_text(json.dumps([[r.id, r.name, r.query, r.title] for r in rules]))


def kept_rules(folder: Path) -> list[Watched]:
    return [Watched(Rule(*parts), None) for parts in json.loads((folder / "rules.json").read_text())]


def opened(folder: Path) -> TelemetryStore:
    return TelemetryStore.open(replace(Settings(), data=folder / "data", retention_days=KEPT_DAYS))


def fill(given: argparse.Namespace) -> None:
    """Import the recordings once, and repeat their rows up to so many events."""
    source = (
        recorded(given.recordings) if given.recordings else made_records(min(given.events, given.imported))
    )
    with stores(given.folder / "data") as (_, database, tenant):
        store = opened(given.folder)

        async def work() -> None:
            ingester = Ingester(store, database, sources=Sources(store, database))
            await ingester.start()
            stored = 0
            for body in source:
                result = await ingester.submit(
                    Batch(tenant, "", "sensor", "", "", 0, body, "identity", source="windows")
                )
                stored += result.stored
                if stored >= min(given.events, given.imported):
                    break
            await ingester.stop()

        asyncio.run(work())
        once = count(store, SOURCE_EVENTS)
        for repeat in range(1, -(-given.events // once)):
            again(store, repeat)
        parts = ", ".join(
            f"{name} {rows:,}" for name in TABLES if (rows := count(store, name)) and "Info" not in name
        )
        print(f"events: {once:,} of recordings, repeated: {parts}")
        settle(store)
        store.close()


def settle(store: TelemetryStore) -> None:
    """Wait until the rows are merged: importing them is not what is measured."""
    quiet = 0
    while quiet < 5:
        quiet = 0 if store.system_query("SELECT count() AS n FROM system.merges")[0]["n"] else quiet + 1
        time.sleep(1)


def again(store: TelemetryStore, repeat: int) -> None:
    """All rows of recordings once more, as those of other devices at another time."""
    with store.writer() as client:
        for name, table in TABLES.items():
            if table.from_agents or name == SOURCE_EVENTS:
                client.command(
                    f"INSERT INTO shieldwall.{name} "
                    f"SELECT * REPLACE(concat(DeviceId, '~{repeat}') AS DeviceId, "
                    f"Timestamp + toIntervalSecond({repeat}) AS Timestamp) "
                    f"FROM (SELECT * FROM shieldwall.{name} WHERE position(DeviceId, '~') = 0) {SMALL_BLOCKS}"
                )


def count(store: TelemetryStore, table: str) -> int:
    return int(store.system_query(f"SELECT count() AS n FROM shieldwall.{table}")[0]["n"])


def one_pass(given: argparse.Namespace) -> int:
    watched = kept_rules(given.folder)
    path = given.folder / "compiled.json"
    times = []
    for _ in range(2):
        began = time.monotonic()
        cache = RuleCache(path)
        rules = WatchedRules(watched, cache)
        cache.keep(item.rule.query for item in watched)
        times.append(time.monotonic() - began)
    missed = told("compiling the rules", times[0], COLD, "s") + told(
        "the same from the cache", times[1], CACHED, "s"
    )
    for rule_id, error in list(rules.refused.items())[:20]:
        print(f"not continuous: {rule_id}: {error.message}")
    store = opened(given.folder)
    began = time.monotonic()
    with store.writer() as client:
        rules.warm(client)
    ready = time.monotonic() - began
    missed += told("compiling them, and the database's search for their texts", times[0] + ready, COLD, "s")
    began, used = time.monotonic(), time.process_time()
    found = rules.find_everywhere(store)
    seconds, used = time.monotonic() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    events = count(store, SOURCE_EVENTS)
    store.close()
    (given.folder / "pass.json").write_text(json.dumps([seconds, len(watched) - len(rules.refused)]))
    print(
        f"{sum(found.counts.values()):,} hits of {len(found.counts)} rules; "
        f"{len(found.failed)} rules failed; {used:,.1f} s of CPU"
    )
    missed += told(
        f"{len(watched):,} rules over {events:,} events", seconds, SECONDS * max(1, events / 1e6), "s"
    )
    missed += told("memory of that process", memory, MEMORY, "MB")
    return missed + len(found.failed)


def alone(given: argparse.Namespace) -> int:
    """The same rules as hunts, one query each: a sample spread evenly, scaled up to all."""
    seconds_of_pass, evaluated = json.loads((given.folder / "pass.json").read_text())
    cache = RuleCache(given.folder / "compiled.json")
    queries = [item.rule.query for item in kept_rules(given.folder)]
    queries = [query for query in queries if isinstance(cache.get(query), CompiledRule)]
    some = queries[:: max(1, len(queries) // given.baseline)] if given.baseline else queries
    store = opened(given.folder)
    tenant = str(
        store.system_query(f"SELECT toString(any(TenantId)) AS t FROM shieldwall.{SOURCE_EVENTS}")[0]["t"]
    )
    hunting, limits = Hunting(store), Limits(rows=10_000_000)
    began, used = time.monotonic(), time.process_time()
    for query in some:
        with hunting.hunt(tenant, f"{query}\n| count", limits) as hunt:
            list(hunt.rows)
    seconds, used = (
        (end - start) * evaluated / len(some)
        for start, end in ((began, time.monotonic()), (used, time.process_time()))
    )
    store.close()
    print(
        f"one query a rule, from {len(some)} of {evaluated:,} rules: {seconds:,.0f} s ({used:,.0f} of CPU); "
        f"in one pass {seconds_of_pass:,.1f} s"
    )
    return told(
        "times faster than one query a rule", seconds / seconds_of_pass, TIMES_FASTER, "times", least=True
    )


def continuous(given: argparse.Namespace) -> int:
    """Events as agents send them, with all rules active; alerts commit before the acknowledgement."""
    with stores(given.folder / "live") as (store, database, tenant):
        detection = ContinuousDetection(store, database, store.settings)
        marked = Rule(
            "marked", "marked", 'DeviceProcessEvents | where ProcessCommandLine has "systemctl"', "marked"
        )
        watched = [*kept_rules(given.folder), Watched(marked, None)]
        rules = {item.rule.id: item.rule for item in watched}
        active = WatchedRules(watched, RuleCache(given.folder / "compiled.json"))
        with store.writer() as client:
            active.warm(client)
        detection.take(InForce(RuleSet(0, rules, {}), active))
        bodies = list(batches(RATE * given.seconds, BATCH))
        waits: list[float] = []

        async def send(ingester: Ingester, number: int, body: bytes) -> None:
            began = time.monotonic()
            while True:
                try:
                    await ingester.submit(batch(tenant, number % 50, number // 50 + 1, body))
                except ApiError as error:
                    if error.status != 429:
                        raise
                    await asyncio.sleep(0.5)
                else:
                    break
            waits.append(time.monotonic() - began)

        async def work() -> float:
            ingester = Ingester(store, database, [detection])
            await ingester.start()
            began = time.monotonic()
            tasks = []
            for number, body in enumerate(bodies):
                await asyncio.sleep(max(0.0, began + number * BATCH / RATE - time.monotonic()))
                tasks.append(asyncio.create_task(send(ingester, number, body)))
            await asyncio.gather(*tasks)
            seconds = time.monotonic() - began
            await ingester.stop()
            return seconds

        seconds = asyncio.run(work())
        with database.system_read() as session:
            alerts = session.scalar(select(func.count()).select_from(Alert)) or 0
    sent = RATE * given.seconds
    print(f"{sent:,} events sent at {RATE:,}/s, {len(watched):,} rules active: {alerts} alerts")
    behind = seconds - given.seconds
    missed = int(alerts == 0)
    missed += told("events stored and looked at, a second", sent / seconds, RATE * 0.9, "/s", least=True)
    missed += told("median from sending an event to its alert", statistics.median(waits), LATENCY, "s")
    print(f"{'behind at the end':58} {behind:9,.1f} s")
    return missed


if __name__ == "__main__":
    sys.exit(main())
