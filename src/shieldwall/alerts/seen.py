"""How widely entities were seen in a tenant's alerts, kept as alerts come in.

Devices, titles and days are sets of which only the size is asked. Each is a bitmap of hashes: an element sets
one bit, and the share of bits that are still clear tells how many elements there were (linear counting).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from zlib import crc32

from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.entity_models import AlertLink, OwnedName, SeenEntity
from shieldwall.alerts.weights import commonness
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

_SEEN = cast(Table, SeenEntity.__table__)


@dataclass
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

    def note(self, device: str, title: str, time: datetime) -> None:
        """Count one alert that names the entity; ``device`` is empty for an alert of no device."""
        self.alerts += 1
        if device:
            self.devices |= 1 << crc32(device.encode()) % DEVICE_BITS
        self.titles |= 1 << crc32(title.encode()) % SMALL_BITS
        self.days |= 1 << time.toordinal() % SMALL_BITS
        self.first = min(self.first or time, time)
        self.last = max(self.last or time, time)
        self.changed, self.measured = True, None


class SeenEntities:
    """What is known of the entities of one piece of work; ``save`` writes what was counted."""

    def __init__(self, session: Session, tenant_id: str, keys: Collection[str]) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._found: dict[str, Seen] = {}
        for chunk in chunks(sorted({*keys, TENANT})):
            for row in session.execute(
                select(_SEEN).where(_SEEN.c.tenant_id == tenant_id, _SEEN.c.key.in_(chunk))
            ):
                devices = int.from_bytes(row.devices, "big")
                self._found[row.key] = Seen(
                    devices, row.titles, row.days, row.alerts, row.first_time, row.last_time, True
                )

    @property
    def tenant(self) -> Seen:
        """The tenant itself, which every alert names."""
        return self.of(TENANT)

    def of(self, key: str) -> Seen:
        return self._found.setdefault(key, Seen())

    def save(self) -> None:
        changed = sorted(
            ((key, seen) for key, seen in self._found.items() if seen.changed), key=lambda each: each[0]
        )
        rows = [(seen.stored, self._row(key, seen)) for key, seen in changed]
        if new := [row for stored, row in rows if not stored]:
            self._session.connection().execute(insert(_SEEN), new)
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


def chunks(values: Iterable[str]) -> Iterable[list[str]]:
    listed = list(values)
    return (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))


def _estimates(size: int) -> list[float]:
    """How many elements set so many bits of a bitmap of ``size``."""
    return [-size * math.log(max(size - bits, 0.5) / size) for bits in range(size + 1)]


_DEVICES, _SMALL = _estimates(DEVICE_BITS), _estimates(SMALL_BITS)
