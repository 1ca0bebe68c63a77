"""How much at risk a device is: as much as the gravest of its open alerts says."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert
from shieldwall.devices.models import Device

CHUNK = 500
LEVELS = ("None", "Informational", "Low", "Medium", "High")


def update_risk(session: Session, device_ids: Iterable[str]) -> None:
    """Set the devices' risk from the alerts as they are now in this transaction.

    An alert counts until it is resolved or found to be a false positive.
    """
    session.flush()
    # The device is locked before its alerts are read, so that of two changes at once the later sees both.
    # In one order, so that two batches never wait for each other.
    listed = sorted(set(device_ids))
    for start in range(0, len(listed), CHUNK):
        part = listed[start : start + CHUNK]
        locked = select(Device.id, Device.tenant_id, Device.risk_score).where(Device.id.in_(part))
        devices = session.execute(locked.order_by(Device.id).with_for_update(of=Device)).all()
        gravest = dict.fromkeys((device.id for device in devices), "None")
        rows = session.execute(
            select(Alert.machine_id, Alert.severity)
            .distinct()
            .where(
                Alert.tenant_id.in_({device.tenant_id for device in devices}),
                Alert.machine_id.in_(part),
                Alert.status != "Resolved",
                Alert.classification.is_distinct_from("FalsePositive"),
            )
        )
        for machine_id, severity in rows:
            if machine_id in gravest:
                gravest[machine_id] = max(gravest[machine_id], severity, key=_rank)
        for level in LEVELS:
            changed = [each.id for each in devices if gravest[each.id] == level != each.risk_score]
            if changed:
                session.execute(update(Device).where(Device.id.in_(changed)).values(risk_score=level))


def _rank(severity: str) -> int:
    return LEVELS.index(severity) if severity in LEVELS else 0
