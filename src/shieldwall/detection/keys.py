"""The indicators' keys inside ClickHouse, against which every stored event is compared by hash."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shieldwall.detection.models import Indicator, IndicatorChange
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.store import TelemetryStore

TABLE = f"{DATABASE}.IndicatorKeys"
PAGE = 50_000

Listed = tuple[str, str, str]
"""Tenant, type and comparable value of an indicator."""


class IndicatorKeys:
    """A set of keys in the engine's memory. It grows with the list; what was deleted goes at the next start.

    A key that is there too long, or by accident of hashing, costs a look at the list and nothing else.
    """

    def __init__(self, store: TelemetryStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._revision = -1
        self.kinds: set[str] = set()
        """Indicator types of which there is, or was since the start, at least one."""

    def refresh(self, session: Session) -> None:
        """Take in what changed since the last time; all of the list at first."""
        newest = session.scalar(select(func.max(IndicatorChange.revision))) or 0
        with self._lock:
            if newest == self._revision:
                return
            if self._revision < 0:
                self._store.command(f"CREATE TABLE IF NOT EXISTS {TABLE} (Key UInt64) ENGINE = Set")
                self._store.command(f"TRUNCATE TABLE {TABLE}")
                self._load_all(session)
            else:
                self._load_changed(session, self._revision)
            self._revision = newest

    def _load_all(self, session: Session) -> None:
        last = 0
        while True:
            rows = session.execute(
                _columns().where(Indicator.id > last).order_by(Indicator.id).limit(PAGE)
            ).all()
            if not rows:
                return
            self._add([(row[1], row[2], row[3]) for row in rows])
            last = rows[-1].id

    def _load_changed(self, session: Session, revision: int) -> None:
        changed = select(IndicatorChange.indicator_id).where(IndicatorChange.revision > revision)
        rows = session.execute(_columns().where(Indicator.id.in_(changed))).all()
        self._add([(row[1], row[2], row[3]) for row in rows])

    def _add(self, rows: Sequence[Listed]) -> None:
        if rows:
            _insert(self._store, TABLE, rows)
            self.kinds.update(kind for _, kind, _ in rows)


@contextmanager
def scratch_keys(store: TelemetryStore, rows: Sequence[Listed]) -> Iterator[str]:
    """The name of a set of the keys of these indicators alone, there until the context ends."""
    name = f"{DATABASE}.stage_keys_{uuid4().hex}"
    store.command(f"CREATE TABLE {name} (Key UInt64) ENGINE = Set SETTINGS persistent = 0")
    try:
        _insert(store, name, rows)
        yield name
    finally:
        store.command(f"DROP TABLE IF EXISTS {name}")


def _insert(store: TelemetryStore, table: str, rows: Sequence[Listed]) -> None:
    """Put the keys of indicators into a set; they are made of their values in the engine."""
    stage = f"{DATABASE}.stage_indicators_{uuid4().hex}"
    with store.writer() as client:
        client.command(f"CREATE TABLE {stage} (TenantId String, Kind String, Value String) ENGINE = Memory")
        try:
            client.insert(stage, rows, column_names=["TenantId", "Kind", "Value"])
            client.command(f"INSERT INTO {table} SELECT sipHash64(TenantId, Kind, Value) FROM {stage}")
        finally:
            client.command(f"DROP TABLE IF EXISTS {stage}")


def _columns() -> Select[int, str, str, str]:
    return select(Indicator.id, Indicator.tenant_id, Indicator.indicator_type, Indicator.match_value)
