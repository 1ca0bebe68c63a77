"""Ingestion, acknowledged when durable, with 100,000 indicators, beside a bare ClickHouse insert.

The bare insert is of the same rows as prepared Native blocks into the same tables. Batches come over HTTPS
from several devices with signed requests; hunters then search the same store while it ingests.

Example: python -m benchmarks.ingest --rows 200000
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from tests.e2e.conftest import free_port, running
from tests.gateway.conftest import Agent

from benchmarks.generator import batches
from benchmarks.stores import add_indicators, batch, stores
from shieldwall.detection.matching import IndicatorMatcher
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import Ingester
from shieldwall.telemetry.store import TelemetryStore

INDICATORS = 100_000
DEVICES = 8
HUNTERS = 3
TABLES = ("DeviceProcessEvents", "DeviceNetworkEvents", "DeviceFileEvents")
HUNT = (
    "SELECT count() FROM shieldwall.DeviceProcessEvents "
    "WHERE hasAllTokens(lower(ProcessCommandLine), {term:String})"
)


def ingest(store: TelemetryStore, database: Database, tenant: str, bodies: list[bytes], first: int) -> float:
    """Seconds to store the bodies through the ingester with the list matched."""
    matcher = IndicatorMatcher(store, database, Settings())
    matcher.start()

    async def work() -> float:
        ingester = Ingester(store, database, [matcher])
        await ingester.start()
        began = time.monotonic()

        async def device(number: int) -> None:
            for sequence, body in enumerate(bodies[number::DEVICES]):
                await ingester.submit(batch(tenant, number, first + sequence, body))

        await asyncio.gather(*map(device, range(DEVICES)))
        seconds = time.monotonic() - began
        await ingester.stop()
        return seconds

    return asyncio.run(work())


def bare(store: TelemetryStore) -> float:
    """Seconds to insert what the store holds again, as prepared blocks."""
    with store.writer() as client:
        blocks = [
            (table, client.raw_query(f"SELECT * FROM shieldwall.{table}", fmt="Native")) for table in TABLES
        ]
        for table in TABLES:
            client.command(f"TRUNCATE TABLE shieldwall.{table}")
        began = time.monotonic()
        for table, block in blocks:
            client.raw_insert(
                f"shieldwall.{table}", insert_block=block, fmt="Native", settings={"max_memory_usage": 0}
            )
        return time.monotonic() - began


def hunt(store: TelemetryStore, stop: threading.Event, times: list[float]) -> None:
    while not stop.is_set():
        began = time.monotonic()
        store.system_query(HUNT, {"term": f"{len(times)}"})
        times.append(time.monotonic() - began)
        stop.wait(0.05)


def over_https(bodies: list[bytes], folder: Path) -> tuple[float, int]:
    """Seconds to send the bodies from several devices to a real server, and its resident memory."""
    port = free_port()
    with running(folder, port, "--no-agent") as shieldwall:
        tenant = shieldwall.quickstart["tenant_id"]
    database = Database(f"sqlite:///{folder / 'state.db'}")
    add_indicators(database, tenant, INDICATORS)
    database.close()
    with running(folder, port, "--no-agent") as shieldwall:
        token = shieldwall.command("device", "token", "create", "--uses", "0").stdout.strip()
        agents = [Agent(shieldwall, folder, f"host{number}") for number in range(DEVICES)]
        for agent in agents:
            agent.enrol(token).raise_for_status()

        def send(number: int) -> None:
            agent = agents[number]
            for sequence, body in enumerate(bodies[number::DEVICES]):
                headers = {"X-Shieldwall-Batch": f"{agent.stream}:{sequence}", "Content-Encoding": "gzip"}
                agent.request("POST", "/agent/v1/events", body, headers=headers).raise_for_status()

        began = time.monotonic()
        with ThreadPoolExecutor(DEVICES) as pool:
            list(pool.map(send, range(DEVICES)))
        seconds = time.monotonic() - began
        return seconds, psutil.Process(shieldwall.process.pid).memory_info().rss


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    bodies = list(batches(rows))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        https, memory = over_https(bodies, folder / "server")
        with stores(folder / "own") as (store, database, tenant):
            add_indicators(database, tenant, INDICATORS)
            inside = ingest(store, database, tenant, bodies, 1)
            plain = min(bare(store) for _ in range(3))
            size = store.system_query(
                "SELECT sum(bytes_on_disk) / sum(rows) AS n FROM system.parts "
                "WHERE active AND database = 'shieldwall' AND table LIKE 'Device%Events'"
            )[0]["n"]
            stop, times = threading.Event(), [0.0][:0]
            hunters = [threading.Thread(target=hunt, args=(store, stop, times)) for _ in range(HUNTERS)]
            for hunter in hunters:
                hunter.start()
            with_hunters = ingest(store, database, tenant, bodies, 100_000)
            stop.set()
            for hunter in hunters:
                hunter.join()
    print(f"bare insert (baseline)   {rows / plain:>9,.0f} rows/s")
    for name, seconds in (("through HTTPS", https), ("ingester", inside), ("with hunters", with_hunters)):
        print(f"{name:24} {rows / seconds:>9,.0f} rows/s   {plain / seconds:5.2f} of the baseline")
    p95 = sorted(times)[int(len(times) * 0.95)] * 1000 if times else 0
    print(f"hunter's p95             {p95:>9,.0f} ms over {len(times)} searches")
    print(f"on disk                  {size:>9,.0f} bytes a row")
    print(f"server's memory          {memory / 2**20:>9,.0f} MB resident")
    return 0


if __name__ == "__main__":
    sys.exit(main())
