"""How much at risk a device is: as much as the gravest of its open alerts says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from shieldwall.alerts.models import Alert
from shieldwall.alerts.seen import chunks
from shieldwall.devices.models import Device

LEVELS = ("None", "Informational", "Low", "Medium", "High")


def update_risk(session: Session, device_ids: Iterable[str]) -> None:
    """Set the devices' risk from the alerts as they are now in this transaction.

    An alert counts until it is resolved or found to be a false positive.
    """
    session.flush()
    # The device is locked before its alerts are read, so that of two changes at once the later sees both.
    # In one order, so that two batches never wait for each other.
    for part in chunks(sorted(set(device_ids))):
        devices = _locked(session, part)
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
        _set(session, {each.id: gravest[each.id] for each in devices if gravest[each.id] != each.risk_score})


def raise_risk(session: Session, new: Iterable[tuple[str, str]]) -> None:
    """Set the devices' risk after new alerts, of each of which the device and severity are given.

    What a device's other alerts say is known already, and not read again.
    """
    gravest: dict[str, str] = {}
    for device_id, severity in new:
        gravest[device_id] = max(gravest.get(device_id, "None"), severity, key=_rank)
    for part in chunks(sorted(gravest)):
        higher = (each for each in _locked(session, part) if _rank(gravest[each.id]) > _rank(each.risk_score))
        _set(session, {each.id: gravest[each.id] for each in higher})


def _locked(session: Session, device_ids: Collection[str]) -> Sequence[Row[str, str, str]]:
    wanted = select(Device.id, Device.tenant_id, Device.risk_score).where(Device.id.in_(device_ids))
    return session.execute(wanted.order_by(Device.id).with_for_update(of=Device)).all()


def _set(session: Session, risks: Mapping[str, str]) -> None:
    for level in LEVELS:
        if changed := [identifier for identifier, risk in risks.items() if risk == level]:
            higher = update(Device).where(Device.id.in_(changed)).values(risk_score=level)
            session.execute(higher, execution_options={"synchronize_session": False})
    # What the session holds, it would look through once for each level.
    for identifier, risk in risks.items():
        device = session.identity_map.get(session.identity_key(Device, identifier))
        if device is not None:
            set_committed_value(device, "risk_score", risk)


def _rank(severity: str) -> int:
    return LEVELS.index(severity) if severity in LEVELS else 0
