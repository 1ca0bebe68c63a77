"""The indicators' keys inside ClickHouse, against which every stored event is compared by hash."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shieldwall.detection.models import Indicator, IndicatorChange
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.store import TelemetryStore

TABLE = f"{DATABASE}.IndicatorKeys"
PAGE = 50_000

_STAGE = f"{DATABASE}.stage_indicator_keys"


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

    def _add(self, rows: Sequence[tuple[str, str, str]]) -> None:
        if not rows:
            return
        with self._store.writer() as client:
            client.command(
                f"CREATE TABLE IF NOT EXISTS {_STAGE} (TenantId String, Kind String, Value String) "
                "ENGINE = Memory"
            )
            client.insert(_STAGE, rows, column_names=["TenantId", "Kind", "Value"])
            client.command(f"INSERT INTO {TABLE} SELECT sipHash64(TenantId, Kind, Value) FROM {_STAGE}")
            client.command(f"DROP TABLE {_STAGE}")
        self.kinds.update(kind for _, kind, _ in rows)


def key_values(store: TelemetryStore, rows: Sequence[tuple[str, str, str]]) -> list[int]:
    """Keys of tenant, type and comparable value."""
    found = store.system_query(
        "SELECT arrayMap((t, k, v) -> sipHash64(t, k, v), {t:Array(String)}, {k:Array(String)}, "
        "{v:Array(String)}) AS keys",
        {"t": [row[0] for row in rows], "k": [row[1] for row in rows], "v": [row[2] for row in rows]},
    )
    return [int(key) for key in found[0]["keys"]]


def _columns() -> Select[int, str, str, str]:
    return select(Indicator.id, Indicator.tenant_id, Indicator.indicator_type, Indicator.match_value)
