"""Batches as agents send them, and an ingester that runs while a test does."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from shieldwall.identity.models import Tenant
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import Batch, BatchResult, Ingester, Observer
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, to_text

DEVICE = "d" * 40


def event(table: str = "DeviceProcessEvents", **columns: Any) -> dict[str, Any]:
    return {"Table": table, "Timestamp": to_text(now()), "ActionType": "ProcessCreated", **columns}


def packed(*lines: Any) -> bytes:
    """Lines as the gzip body of a batch; a line that is text goes as it is."""
    return gzip.compress(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    )


class Feed:
    """One device of a tenant of its own."""

    def __init__(self, store: TelemetryStore, database: Database, observers: Sequence[Observer] = ()) -> None:
        self.store, self.database, self.observers = store, database, observers
        self.tenant = str(uuid4())
        with database.system_session() as session:
            session.add(Tenant(id=self.tenant, name=self.tenant, created_time=now()))
        self.stream = uuid4().hex

    def batch(self, sequence: int, *lines: Any, **changes: Any) -> Batch:
        values: dict[str, Any] = {
            "tenant_id": self.tenant,
            "device_id": DEVICE,
            "device_name": "host1",
            "device_group": "Servers",
            "stream": self.stream,
            "sequence": sequence,
            "body": packed(*lines),
            "encoding": "gzip",
        }
        return Batch(**(values | changes))

    def send(self, *batches: Batch) -> list[BatchResult | BaseException]:
        """Submit batches at the same time to an ingester made for them."""

        async def work() -> list[BatchResult | BaseException]:
            ingester = Ingester(self.store, self.database, self.observers)
            await ingester.start()
            try:
                return await asyncio.gather(*map(ingester.submit, batches), return_exceptions=True)
            finally:
                await ingester.stop()

        return asyncio.run(work())

    def rows(self, columns: str, table: str = "DeviceProcessEvents") -> list[tuple[Any, ...]]:
        ordered = f"(SELECT * FROM shieldwall.{table} ORDER BY Timestamp)"
        found = self.store.query(self.tenant, f"SELECT {columns} FROM {ordered}")
        return [tuple(row.values()) for row in found]


@pytest.fixture
def feed(telemetry: TelemetryStore, database: Database) -> Feed:
    return Feed(telemetry, database)
