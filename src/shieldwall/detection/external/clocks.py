"""How far a sensor's clock is from our devices' clocks, learned from connections that are surely the same."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.detection.external.models import ExternalSource
from shieldwall.detection.external.resolution import Resolution
from shieldwall.detection.external.schema import ExternalAlert
from shieldwall.times import now

KEPT = 32
ENOUGH = 3
"""Matches from which on their median is believed."""
BELIEVABLE = 900.0
"""Seconds; more than so is a connection that was open long before its alert."""


def estimate(offsets: Sequence[float]) -> float | None:
    """Seconds ahead; None while too little is known."""
    return float(median(offsets)) if len(offsets) >= ENOUGH else None


class Clocks:
    """The clocks of a tenant's sensors, as one transaction reads and changes them."""

    def __init__(self, session: Session, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._sources: dict[tuple[str, str, str], ExternalSource] = {}

    def skew(self, alert: ExternalAlert) -> float:
        """Seconds that the clock of the alert's sensor is ahead; 0 while too little is known."""
        source = self._source(alert)
        return (estimate(source.offsets) if source else None) or 0.0

    def note(self, alert: ExternalAlert, found: Resolution | None) -> None:
        """Count an alert of the sensor, and learn from what was found for it."""
        source = self._source(alert)
        if source is None:
            name = self._name(alert)
            source = ExternalSource(
                tenant_id=self._tenant_id,
                vendor=alert.vendor,
                product=alert.product,
                sensor=alert.sensor,
                offsets=[],
                alerts=0,
                first_seen=now(),
            )
            self._session.add(source)
            self._sources[name] = source
        source.alerts += 1
        source.last_seen = now()
        self.learn(alert, found)

    def learn(self, alert: ExternalAlert, found: Resolution | None) -> None:
        """Learn from what was found for an alert that was counted before."""
        match = found.match if found else None
        source = self._source(alert)
        if source and match is not None and match.exact and abs(match.offset) <= BELIEVABLE:
            source.offsets = [*source.offsets, round(match.offset, 3)][-KEPT:]

    def _source(self, alert: ExternalAlert) -> ExternalSource | None:
        name = self._name(alert)
        if name not in self._sources:
            vendor, product, sensor = name
            known = select(ExternalSource).where(
                ExternalSource.vendor == vendor,
                ExternalSource.product == product,
                ExternalSource.sensor == sensor,
            )
            if source := self._session.scalar(known):
                self._sources[name] = source
        return self._sources.get(name)

    @staticmethod
    def _name(alert: ExternalAlert) -> tuple[str, str, str]:
        return alert.vendor, alert.product, alert.sensor
