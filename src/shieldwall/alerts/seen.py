"""How widely entities were seen in a tenant's alerts, kept as alerts come in.

Devices, titles and days are sets of which only the size is asked. Each is a bitmap of hashes: an element sets
one bit, and the share of bits that are still clear tells how many elements there were (linear counting).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar, cast
from zlib import crc32

from sqlalchemy import Table, bindparam, delete, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.entity_models import AlertLink, OwnedName, SeenEntity
from shieldwall.alerts.weights import commonness
from shieldwall.state.bulk import insert_rows
from shieldwall.state.engine import Database
from shieldwall.times import now

CHUNK = 500
DEVICE_BITS = 256
SMALL_BITS = 62
"""As many as a signed integer of every database holds."""
KEPT = timedelta(days=60)
"""How long an entity is remembered that no alert names any more."""

TENANT = ""
"""The key under which the tenant's alerts together are counted."""

_T = TypeVar("_T")
_SEEN = cast(Table, SeenEntity.__table__)
_READ = tuple(
    _SEEN.c[name] for name in ("key", "devices", "titles", "days", "alerts", "first_time", "last_time")
)


class Mark(NamedTuple):
    """What one alert adds to what is known of each entity that it names: a bit of each set, and its time."""

    device: int
    title: int
    day: int
    time: datetime

    @classmethod
    def of(cls, device: str | None, title: str, time: datetime) -> Mark:
        return cls(
            1 << crc32(device.encode()) % DEVICE_BITS if device else 0,
            1 << crc32(title.encode()) % SMALL_BITS,
            1 << time.toordinal() % SMALL_BITS,
            time,
        )


@dataclass(slots=True)
class Seen:
    """How widely one entity was seen."""

    devices: int = 0
    titles: int = 0
    days: int = 0
    alerts: int = 0
    first: datetime | None = None
    last: datetime | None = None
    stored: bool = False
    changed: bool = False
    measured: float | None = None

    @property
    def common(self) -> float:
        """How widely it is seen, see ``weights.commonness``."""
        if self.measured is None:
            self.measured = commonness(
                _DEVICES[self.devices.bit_count()],
                _SMALL[self.titles.bit_count()],
                _SMALL[self.days.bit_count()],
            )
        return self.measured

    def age(self, time: datetime) -> timedelta:
        """For how long it has been known at a time."""
        return max(time - self.first, timedelta(0)) if self.first else timedelta(0)

    def note(self, mark: Mark) -> None:
        """Count one alert that names the entity."""
        self.alerts += 1
        self.devices |= mark.device
        self.titles |= mark.title
        self.days |= mark.day
        if self.first is None or mark.time < self.first:
            self.first = mark.time
        if self.last is None or mark.time > self.last:
            self.last = mark.time
        self.changed, self.measured = True, None


class SeenEntities:
    """What is known of the entities of one piece of work; ``save`` writes what was counted."""

    def __init__(self, session: Session, tenant_id: str, keys: Collection[str]) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._found: dict[str, Seen] = {}
        for chunk in chunks(sorted({*keys, TENANT})):
            wanted = select(*_READ).where(_SEEN.c.tenant_id == tenant_id, _SEEN.c.key.in_(chunk))
            for key, devices, titles, days, alerts, first, last in session.execute(wanted):
                counted = int.from_bytes(devices, "big")
                self._found[key] = Seen(counted, titles, days, alerts, first, last, True)

    @property
    def tenant(self) -> Seen:
        """The tenant itself, which every alert names."""
        return self.of(TENANT)

    def of(self, key: str) -> Seen:
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Seen()
        return found

    def save(self) -> None:
        changed = sorted(
            ((key, seen) for key, seen in self._found.items() if seen.changed), key=lambda each: each[0]
        )
        rows = [(seen.stored, self._row(key, seen)) for key, seen in changed]
        insert_rows(self._session.connection(), _SEEN, [row for stored, row in rows if not stored])
        if old := [{f"_{name}": value for name, value in row.items()} for stored, row in rows if stored]:
            which = (_SEEN.c.tenant_id == bindparam("_tenant_id"), _SEEN.c.key == bindparam("_key"))
            columns = ("alerts", "devices", "titles", "days", "first_time", "last_time")
            values: dict[str, Any] = {name: bindparam(f"_{name}") for name in columns}
            self._session.connection().execute(update(_SEEN).where(*which).values(values), old)

    def _row(self, key: str, seen: Seen) -> dict[str, object]:
        return {
            "tenant_id": self._tenant_id,
            "key": key,
            "alerts": seen.alerts,
            "devices": seen.devices.to_bytes(DEVICE_BITS // 8, "big"),
            "titles": seen.titles,
            "days": seen.days,
            "first_time": seen.first,
            "last_time": seen.last,
        }


def forget(database: Database) -> int:
    """Drop what is too old to join anything; how many rows."""
    before = now() - KEPT
    with database.system_session() as session:
        gone = [
            session.execute(delete(table).where(table.last_time < before))
            for table in (AlertLink, SeenEntity, OwnedName)
        ]
        return sum(each.rowcount for each in gone)  # type: ignore[attr-defined]


def chunks(values: Iterable[_T]) -> Iterable[list[_T]]:
    listed = list(values)
    return (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))


def _estimates(size: int) -> list[float]:
    """How many elements set so many bits of a bitmap of ``size``."""
    return [-size * math.log(max(size - bits, 0.5) / size) for bits in range(size + 1)]


_DEVICES, _SMALL = _estimates(DEVICE_BITS), _estimates(SMALL_BITS)
