"""Hunts over many process events: KQL beside SQL by hand in the same engine, and beside DuckDB over Parquet.

Example: python -m benchmarks.hunting --rows 2000000
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import duckdb

from benchmarks.hunting_data import RARE, fill
from benchmarks.hunts import hunts
from shieldwall.kql.clickhouse import ClickHouseEngine
from shieldwall.kql.engine import Statement
from shieldwall.settings import Settings
from shieldwall.telemetry.hunting import Hunting, Limits
from shieldwall.telemetry.store import TelemetryStore

TRIES = 7
AIM = 1.3
GRACE = 0.003
"""Seconds that compiling and checking may add to queries that take no time themselves."""


def timed(*works: Callable[[], object]) -> list[float]:
    """The best of several runs of each, in seconds, in turns: what else the machine does meets all alike."""
    best = [math.inf] * len(works)
    for _ in range(TRIES):
        for place, work in enumerate(works):
            began = time.perf_counter()
            work()
            best[place] = min(best[place], time.perf_counter() - began)
    return best


def parquet(store: TelemetryStore, folder: Path) -> str:
    """The process events as Parquet, the columns that the hunts read."""
    path = folder / "processes.parquet"
    with store.writer() as client:
        client.command(
            "INSERT INTO FUNCTION file('"
            + str(path)
            + "', 'Parquet') SELECT Timestamp, DeviceId, DeviceName, "
            "FileName, ProcessCommandLine, AccountName FROM shieldwall.DeviceProcessEvents"
        )
    return str(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--only", default="", help="hunts whose name contains this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shieldwall-bench-") as scratch:
        return measure(Path(scratch), given.rows, given.only)


def measure(folder: Path, rows: int, only: str) -> int:
    settings = replace(Settings(), data=folder / "data", telemetry_memory=6_000_000_000)
    store = TelemetryStore.open(settings)
    tenant = str(uuid4())
    began = time.monotonic()
    begin = fill(store, tenant, rows)
    print(f"stored in {time.monotonic() - began:.0f} s")
    hunting, limits = Hunting(store), Limits(rows=10_000_000, memory=700_000_000)

    def kql(text: str) -> int:
        with hunting.hunt(tenant, text, limits) as found:
            return sum(1 for _ in found.rows)

    def by_hand(text: str) -> int:
        with store.hunter() as client:
            engine = ClickHouseEngine(client, {**limits.settings(), **store.tenant_settings(tenant)})
            return sum(1 for _ in engine.rows(Statement((text,)), {}))

    missed = 0
    print(f"\n{'hunt':32} {'KQL':>10} {'by hand':>10} {'ratio':>7}")
    times: dict[str, float] = {}
    for name, (query, sql) in hunts(begin).items():
        if only not in name:
            continue
        if kql(query) != by_hand(sql):
            print(f"{name}: not the same rows")
            missed += 1
        times[name], hand = timed(lambda query=query: kql(query), lambda sql=sql: by_hand(sql))
        slow = times[name] > AIM * hand + GRACE
        missed += slow
        print(
            f"{name:32} {times[name] * 1000:8.1f}ms {hand * 1000:8.1f}ms {times[name] / hand:7.2f}"
            f"{'  MISSED' if slow else ''}"
        )
    if not only:
        missed += beside_duckdb(store, folder, times)
    store.close()
    return 1 if missed else 0


def beside_duckdb(store: TelemetryStore, folder: Path, times: dict[str, float]) -> int:
    """The same searches in DuckDB over Parquet, scanned."""
    path = parquet(store, folder)
    other = duckdb.connect()
    other.execute("SET threads = 2")
    term = f"regexp_matches(ProcessCommandLine, '(^|[^a-z0-9]){RARE}($|[^a-z0-9])', 'i')"
    missed = 0
    for name, condition, aim in (
        ("has a rare term", term, 100.0),
        ("contains", "ProcessCommandLine ILIKE '%dumpcre%'", 1.0),
    ):
        query = f"SELECT count(*) FROM '{path}' WHERE {condition}"
        (seconds,) = timed(lambda query=query: other.execute(query).fetchall())
        ratio = seconds / times[name]
        missed += ratio < aim
        print(
            f"{name}: DuckDB {seconds * 1000:.0f} ms, KQL {times[name] * 1000:.1f} ms: {ratio:.0f} times "
            f"(aim {aim:.0f}){'  MISSED' if ratio < aim else ''}"
        )
    return missed


if __name__ == "__main__":
    sys.exit(main())
