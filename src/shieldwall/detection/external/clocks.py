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


def skew(session: Session, tenant_id: str, alert: ExternalAlert) -> float:
    """Seconds that the clock of the alert's sensor is ahead; 0 while too little is known."""
    source = _source(session, tenant_id, alert)
    return (estimate(source.offsets) if source else None) or 0.0


def estimate(offsets: Sequence[float]) -> float | None:
    """Seconds ahead; None while too little is known."""
    return float(median(offsets)) if len(offsets) >= ENOUGH else None


def note(session: Session, tenant_id: str, alert: ExternalAlert, found: Resolution | None) -> None:
    """Count an alert of the sensor, and learn from what was found for it."""
    source = _source(session, tenant_id, alert)
    if source is None:
        source = ExternalSource(
            tenant_id=tenant_id,
            vendor=alert.vendor,
            product=alert.product,
            sensor=alert.sensor,
            offsets=[],
            alerts=0,
            first_seen=now(),
            last_seen=now(),
        )
        session.add(source)
    source.alerts += 1
    source.last_seen = now()
    learn(source, found)
    session.flush()


def learn_later(session: Session, tenant_id: str, alert: ExternalAlert, found: Resolution) -> None:
    """Learn from an alert that was counted before."""
    if source := _source(session, tenant_id, alert):
        learn(source, found)


def learn(source: ExternalSource, found: Resolution | None) -> None:
    match = found.match if found else None
    if match is not None and match.exact and abs(match.offset) <= BELIEVABLE:
        source.offsets = [*source.offsets, round(match.offset, 3)][-KEPT:]


def _source(session: Session, tenant_id: str, alert: ExternalAlert) -> ExternalSource | None:
    return session.scalar(
        select(ExternalSource).where(
            ExternalSource.tenant_id == tenant_id,
            ExternalSource.vendor == alert.vendor,
            ExternalSource.product == alert.product,
            ExternalSource.sensor == alert.sensor,
        )
    )
