"""Finding the one entity that a path names, within the session's tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.devices.models import Device
from shieldwall.state.engine import unscoped
from shieldwall.state.missing import missing, refusal


def find_device(session: Session, identifier: str, *, lock: bool = False) -> Device:
    """A device of the session's tenant by its id, aadDeviceId or DNS name; ApiError 404."""
    wanted = select(Device).where(Device.id == find_device_id(session, identifier))
    return session.scalars(wanted.with_for_update(of=Device) if lock else wanted).one()


def find_device_id(session: Session, identifier: str) -> str:
    """The id of the device that is meant; of several with one name it is the one heard of last.

    Names come last: a device tells its own, and must not be able to take the place of another's id.
    """
    wanted = identifier.strip().lower()
    found = _device_id(session, wanted)
    if found is None:
        with unscoped(session):
            raise refusal("Machine", identifier.strip(), _device_id(session, wanted) is not None)
    return found


def _device_id(session: Session, wanted: str) -> str | None:
    ways = (
        Device.id == wanted,
        Device.aad_device_id == wanted,
        func.lower(Device.computer_dns_name) == wanted,
    )
    for same in ways:
        found = session.scalar(select(Device.id).where(same).order_by(Device.last_contact.desc()).limit(1))
        if found is not None:
            return found
    return None


def find_alert(session: Session, alert_id: str) -> tuple[Alert, Sequence[Evidence]]:
    """An alert of the session's tenant with its evidence; ApiError 404."""
    row = session.scalar(select(Alert).where(Alert.id == alert_id))
    if row is None:
        raise missing(session, "Alert", Alert, alert_id)
    evidence = select(Evidence).where(Evidence.alert_id == alert_id).order_by(Evidence.id)
    return row, session.scalars(evidence).all()
