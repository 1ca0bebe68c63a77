"""Finding the one entity that a path names, within the session's tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.devices.models import Device
from shieldwall.errors import not_found


def find_device(session: Session, identifier: str, *, lock: bool = False) -> Device:
    """A device of the session's tenant by its id, DNS name or aadDeviceId; ApiError 404.

    Of several devices with one name it is the one that was heard of last.
    """
    wanted = identifier.strip().lower()
    if not wanted or "\x00" in wanted:
        raise not_found("Machine", wanted.replace("\x00", ""))
    for same in (
        Device.id == wanted,
        func.lower(Device.computer_dns_name) == wanted,
        Device.aad_device_id == wanted,
    ):
        found = session.scalar(select(Device.id).where(same).order_by(Device.last_contact.desc()).limit(1))
        if found is not None:
            row = select(Device).where(Device.id == found)
            return session.scalars(row.with_for_update(of=Device) if lock else row).one()
    raise not_found("Machine", identifier.strip()[:100])


def find_alert(session: Session, alert_id: str) -> tuple[Alert, Sequence[Evidence]]:
    """An alert of the session's tenant with its evidence; ApiError 404."""
    row = session.scalar(select(Alert).where(Alert.id == alert_id))
    if row is None:
        raise not_found("Alert", alert_id[:100])
    evidence = select(Evidence).where(Evidence.alert_id == alert_id).order_by(Evidence.id)
    return row, session.scalars(evidence).all()
