"""What a long indicator list costs: the same groups stored with none, 100,000 and a million indicators.

Example: python -m benchmarks.matching --rows 100000
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.generator import batches
from benchmarks.stores import add_indicators, batch, stores
from shieldwall.detection.matching import IndicatorMatcher
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import Ingester
from shieldwall.telemetry.store import TelemetryStore

SIZES = (0, 100_000, 1_000_000)
ROUNDS = 3


def store_all(
    store: TelemetryStore, database: Database, tenant: str, bodies: list[bytes], begin: int
) -> float:
    """Seconds to store the bodies as groups of four batches, matched with the list."""
    matcher = IndicatorMatcher(store, database, Settings())
    matcher.start()

    async def work() -> float:
        ingester = Ingester(store, database, [matcher])
        await ingester.start()
        began = time.monotonic()
        for number in range(0, len(bodies), 4):
            group = [
                batch(tenant, device, begin + number, body)
                for device, body in enumerate(bodies[number : number + 4])
            ]
            await asyncio.gather(*map(ingester.submit, group))
        seconds = time.monotonic() - began
        await ingester.stop()
        return seconds

    return asyncio.run(work())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    bodies = list(batches(rows))
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as (store, database, tenant):
        base, present, sequence = 0.0, 0, 1
        for size in SIZES:
            add_indicators(database, tenant, size - present)
            present = size
            best = float("inf")
            for _ in range(ROUNDS):
                best = min(best, store_all(store, database, tenant, bodies, sequence))
                sequence += len(bodies)
            base = base or best
            print(
                f"{size:>9,} indicators  {best:6.2f} s  {rows / best:>9,.0f} rows/s  {best / base - 1:+7.1%}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
