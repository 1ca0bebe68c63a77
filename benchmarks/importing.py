"""Importing Sysmon events, from an EVTX file to the durable tables, beside nothing but parsing the file.

Both run on one core. Without ``--evtx`` the file is made here: process, network, file, registry and image
events as Sysmon writes them. The second import of the same file stores nothing; its speed is told too.

Example: python -m benchmarks.importing --events 100000
Example: python -m benchmarks.importing --evtx Sysmon.evtx
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import evtx
import zstandard

from benchmarks.stores import stores
from benchmarks.sysmon_events import write_sysmon
from shieldwall.sources.reading.account import Account
from shieldwall.sources.reading.recordings import read
from shieldwall.sources.stage import Sources
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import Batch, Ingester
from shieldwall.telemetry.store import TelemetryStore

GOAL = 25_000


def bare(path: Path) -> tuple[int, float]:
    """Events of the file, and seconds to parse it and do nothing with them."""
    began = time.monotonic()
    count = sum(1 for _ in evtx.PyEvtxParser(str(path), number_of_threads=1).records_json())
    return count, time.monotonic() - began


def imported(store: TelemetryStore, database: Database, tenant: str, path: Path) -> tuple[int, int, float]:
    """Records stored, records not lost, and seconds to import the file."""

    async def work() -> tuple[int, int, float]:
        ingester = Ingester(store, database, sources=Sources(store, database))
        await ingester.start()
        began = time.monotonic()
        stored = accounted = 0
        for block in read([path], Account()):
            body = zstandard.compress(block.payload, 1)
            batch = Batch(tenant, "", "sensor", "", "", 0, body, "zstd", block.source)
            result = await ingester.submit(batch)
            stored += result.stored
            accounted += sum(verdict.count for verdict in result.verdicts)
        seconds = time.monotonic() - began
        await ingester.stop()
        return stored, accounted, seconds

    return asyncio.run(work())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--evtx", type=Path, help="a file of your own instead")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.evtx or Path(scratch) / "sysmon.evtx"
        if not arguments.evtx:
            write_sysmon(path, arguments.events)
        events, parsing = bare(path)
        with stores(Path(scratch) / "store") as (store, database, tenant):
            processor = time.process_time()
            stored, accounted, seconds = imported(store, database, tenant, path)
            processor = time.process_time() - processor
            again, seen, second = imported(store, database, tenant, path)
    lost = events - accounted
    print(f"parsing alone (baseline) {events / parsing:>10,.0f} events/s")
    print(f"file to durable tables   {events / seconds:>10,.0f} events/s   {parsing / seconds:5.2f} of it")
    print(f"  by processor time      {events / processor:>10,.0f} events/s")
    print(f"the same file again      {events / second:>10,.0f} events/s")
    print(f"stored {stored:,} of {events:,}, lost {lost:,}; the second time {again:,} of {seen:,}")
    print(f"memory at most           {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:>10,.0f} MB")
    print(f"goal: {GOAL:,} events/s on one core, none lost")
    return 1 if lost or again else 0


if __name__ == "__main__":
    sys.exit(main())
