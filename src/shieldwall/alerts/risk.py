"""How much at risk a device is: as much as the gravest of its open alerts says."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert
from shieldwall.devices.models import Device

LEVELS = ("None", "Informational", "Low", "Medium", "High")


def update_risk(session: Session, device_ids: Iterable[str]) -> None:
    """Set the devices' risk from the alerts as they are now in this transaction.

    An alert counts until it is resolved or found to be a false positive.
    """
    session.flush()
    # The device is locked before its alerts are read, so that of two changes at once the later sees both.
    # In one order, so that two batches never wait for each other.
    locked = (
        select(Device)
        .where(Device.id.in_(set(device_ids)))
        .order_by(Device.id)
        .with_for_update(of=Device)
        .execution_options(populate_existing=True)
    )
    for device in session.scalars(locked).all():
        severities = session.scalars(
            select(Alert.severity)
            .distinct()
            .where(
                Alert.tenant_id == device.tenant_id,
                Alert.machine_id == device.id,
                Alert.status != "Resolved",
                Alert.classification.is_distinct_from("FalsePositive"),
            )
        )
        device.risk_score = max(severities, key=_rank, default="None")


def _rank(severity: str) -> int:
    return LEVELS.index(severity) if severity in LEVELS else 0
