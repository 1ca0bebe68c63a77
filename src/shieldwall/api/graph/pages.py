"""Alerts with what belongs to them: evidence and devices of many come with one query each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.api.answers import Entity
from shieldwall.api.chunks import chunks, devices_of
from shieldwall.api.graph import shapes
from shieldwall.detection.external.models import received_alerts
from shieldwall.devices.models import Device


def alerts(session: Session, rows: Sequence[Alert]) -> list[Entity]:
    devices = devices_of(session, rows)
    return [item for part in chunks(rows) for item in _part(session, part, devices)]


def _part(session: Session, rows: Sequence[Alert], devices: Mapping[str, Device]) -> list[Entity]:
    evidence: dict[str, list[Evidence]] = defaultdict(list)
    belonging = select(Evidence).where(Evidence.alert_id.in_([row.id for row in rows]))
    for item in session.scalars(belonging.order_by(Evidence.id)):
        evidence[item.alert_id].append(item)
    received = received_alerts(session, rows)
    return [
        shapes.alert(row, evidence[row.id], devices.get(row.machine_id or ""), received.get(row.id))
        for row in rows
    ]


def alerts_of(session: Session, incidents: Sequence[int]) -> dict[int, list[Entity]]:
    """The alerts of incidents, the oldest first."""
    wanted = select(Alert).where(Alert.incident_id.in_(incidents))
    rows = session.scalars(wanted.order_by(Alert.alert_creation_time, Alert.id)).all()
    found: dict[int, list[Entity]] = defaultdict(list)
    for row, shape in zip(rows, alerts(session, rows), strict=True):
        found[row.incident_id].append(shape)
    return found
