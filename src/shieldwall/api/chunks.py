"""Reading what belongs to many entities, as many at once as one statement may name on every database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert
from shieldwall.devices.models import Device

T = TypeVar("T")

CHUNK = 1000
ALERTS_PER_PAGE = 5000
"""With so many alerts a page has no further incident: all of them come with it."""


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    found = list(items)
    for start in range(0, len(found), size):
        yield found[start : start + size]


def devices_of(session: Session, alerts: Iterable[Alert]) -> dict[str, Device]:
    """The devices of alerts by their ids, as far as the caller reaches them."""
    named = {alert.machine_id for alert in alerts if alert.machine_id}
    return {
        row.id: row
        for part in chunks(sorted(named))
        for row in session.scalars(select(Device).where(Device.id.in_(part)))
    }


def fitting_incidents(session: Session, numbers: Sequence[int]) -> int:
    """How many of these incidents, one at least, come on one page with their alerts."""
    counted = select(Alert.incident_id, func.count()).where(Alert.incident_id.in_(numbers))
    alerts = dict(session.execute(counted.group_by(Alert.incident_id)).all())
    together = 0
    for place, number in enumerate(numbers):
        together += alerts.get(number, 0)
        if together > ALERTS_PER_PAGE:
            return max(1, place)
    return len(numbers)
