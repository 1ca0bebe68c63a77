"""Scratch stores for benchmarks, filled with indicators."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from sqlalchemy import insert

from shieldwall.detection.models import Indicator, IndicatorChange
from shieldwall.identity.models import Tenant
from shieldwall.settings import Settings
from shieldwall.state.engine import Base, Database
from shieldwall.telemetry.ingest import Batch
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

CHUNK = 20_000


@contextmanager
def stores(folder: Path) -> Iterator[tuple[TelemetryStore, Database, str]]:
    """An embedded ClickHouse, an SQLite state, and a tenant in it."""
    settings = replace(Settings(), data=folder)
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(settings.state_url)
    Base.metadata.create_all(database.engine)
    tenant = str(uuid4())
    with database.system_session() as session:
        session.add(Tenant(id=tenant, name=tenant, created_time=now()))
    telemetry = TelemetryStore.open(settings)
    try:
        yield telemetry, database, tenant
    finally:
        telemetry.close()
        database.close()


def add_indicators(database: Database, tenant: str, count: int) -> None:
    """Put ``count`` random file hashes on the list."""
    time = now()
    fixed = {
        "tenant_id": tenant,
        "indicator_type": "FileSha256",
        "action": "Audit",
        "title": "benchmark",
        "description": "",
        "generate_alert": True,
        "created_by": "benchmark",
        "creation_time": time,
        "last_update_time": time,
        "rbac_group_names": [],
        "mitre_techniques": [],
    }
    for begin in range(0, count, CHUNK):
        values = [secrets.token_hex(32) for _ in range(min(CHUNK, count - begin))]
        with database.system_session() as session:
            session.execute(
                insert(Indicator),
                [fixed | {"indicator_value": value, "match_value": value} for value in values],
            )
    with database.system_session() as session:
        session.add(IndicatorChange(tenant_id=tenant, indicator_id=1))


def batch(tenant: str, device: int, sequence: int, body: bytes) -> Batch:
    """A batch of one of several devices."""
    return Batch(tenant, f"{device:040x}", f"host{device}", "", f"{device:032x}", sequence, body, "gzip")
