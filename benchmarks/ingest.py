"""Ingestion, acknowledged when durable, with 100,000 indicators, beside a bare ClickHouse insert.

The bare insert is of the same rows as the same JSON lines into the same tables, unpacked and sorted by table
beforehand; as prepared Native blocks it tells the least that storing can cost. Batches come over HTTPS from
several devices with signed requests; hunters then search the same store while it ingests.

Example: python -m benchmarks.ingest --rows 200000
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
DEVICES = 32
"""Each waits for its batch to be stored before it sends the next: fewer would leave the server waiting."""
TIMES = 2
"""Over HTTPS the bodies are sent so often, as new ones, so that each device has about as many."""
HUNTERS = 3
ROUNDS = 3  # of which the best is told, of the baseline as of what is compared with it
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


_UNBOUND = {
    "max_memory_usage": 0,
    "input_format_skip_unknown_fields": 1,
    "date_time_input_format": "best_effort",
}


def bare(store: TelemetryStore, blocks: dict[str, bytes], form: str) -> float:
    """Seconds to insert what each table is to hold."""
    with store.writer() as client:
        for table in blocks:
            client.command(f"TRUNCATE TABLE shieldwall.{table}")
        began = time.monotonic()
        for table, block in blocks.items():
            client.raw_insert(f"shieldwall.{table}", insert_block=block, fmt=form, settings=_UNBOUND)
        return time.monotonic() - began


def json_blocks(bodies: list[bytes]) -> dict[str, bytes]:
    """The lines of all batches by table."""
    lines: dict[str, list[bytes]] = {table: [] for table in TABLES}
    for body in bodies:
        for line in gzip.decompress(body).splitlines():
            lines[json.loads(line)["Table"]].append(line)
    return {table: b"\n".join(found) for table, found in lines.items()}


def native_blocks(store: TelemetryStore) -> dict[str, bytes]:
    """What the store holds, as ClickHouse itself writes blocks."""
    with store.writer() as client:
        return {
            table: client.raw_query(f"SELECT * FROM shieldwall.{table}", fmt="Native") for table in TABLES
        }


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

        def send(number: int, round_: int) -> None:
            agent = agents[number]
            for sequence, body in enumerate(bodies[number::DEVICES], round_ * len(bodies)):
                headers = {"X-Shieldwall-Batch": f"{agent.stream}:{sequence}", "Content-Encoding": "gzip"}
                agent.request("POST", "/agent/v1/events", body, headers=headers).raise_for_status()

        settle(psutil.Process(shieldwall.process.pid))
        seconds = []
        with ThreadPoolExecutor(DEVICES) as pool:
            for round_ in range(ROUNDS):
                began = time.monotonic()
                list(pool.map(partial(send, round_=round_), range(DEVICES)))
                seconds.append(time.monotonic() - began)
        return min(seconds), psutil.Process(shieldwall.process.pid).memory_info().rss


def settle(process: psutil.Process) -> None:
    """Wait until the server has taken in the indicators, which it matches with the past at its start."""
    for _ in range(60):
        if process.cpu_percent(1.0) < 10:
            return


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    bodies = list(batches(rows))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        https, memory = over_https(bodies * TIMES, folder / "server")
        https /= TIMES
        with stores(folder / "own") as (store, database, tenant):
            add_indicators(database, tenant, INDICATORS)
            inside = ingest(store, database, tenant, bodies, 1)
            native = native_blocks(store)
            least = min(bare(store, native, "Native") for _ in range(ROUNDS))
            lines = json_blocks(bodies)
            plain = min(bare(store, lines, "JSONEachRow") for _ in range(ROUNDS))
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
    print(f"prepared blocks          {rows / least:>9,.0f} rows/s   {plain / least:5.2f} of the baseline")
    for name, seconds in (("through HTTPS", https), ("ingester", inside), ("with hunters", with_hunters)):
        print(f"{name:24} {rows / seconds:>9,.0f} rows/s   {plain / seconds:5.2f} of the baseline")
    p95 = sorted(times)[int(len(times) * 0.95)] * 1000 if times else 0
    print(f"hunter's p95             {p95:>9,.0f} ms over {len(times)} searches")
    print(f"on disk                  {size:>9,.0f} bytes a row")
    print(f"server's memory          {memory / 2**20:>9,.0f} MB resident")
    return 0


if __name__ == "__main__":
    sys.exit(main())
