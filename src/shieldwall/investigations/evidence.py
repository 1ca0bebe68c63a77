"""What an investigation looks at: files of its open alerts and of the process trees around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.alerts.process_tree import process_tree, walk
from shieldwall.detection.models import Indicator
from shieldwall.devices.models import Device
from shieldwall.investigations.judging import Facts
from shieldwall.telemetry import sightings
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

PAST = timedelta(days=30)
ALERTS = 200
TREES = 20
FILES = 200
"""Most files that are looked at on one device."""
SPREAD = 100
"""Most devices without an alert on which one file is remediated."""

_SEVERITIES = ("UnSpecified", "Informational", "Low", "Medium", "High")
_PRECEDENCE = ("FileSha256", "FileSha1", "FileMd5")
_DETECTIONS = (
    "SELECT count() AS found FROM DeviceEvents WHERE ActionType = 'AntivirusDetection' "
    "AND (SHA256 != '' AND lower(SHA256) = {sha256:String} OR SHA1 != '' AND lower(SHA1) = {sha1:String}) "
    "AND Timestamp >= now64(7) - toIntervalDay(30)"
)


@dataclass
class Candidate:
    """A file that might be remediated, known by at least one hash."""

    sha1: str
    sha256: str
    path: str
    severity: str | None = None
    false_positive: bool = False
    near: bool = False
    alerts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Known:
    """What is known of a file, whatever the device."""

    seen: sightings.SeenFile | None
    detections: int
    all_devices: int


def open_alerts(session: Session, device_id: str, *, lock: bool = False) -> list[Alert]:
    """Alerts of a device that an investigation may take up, the newest first."""
    return _open(session, (Alert.machine_id == device_id,), lock=lock)


def candidates(session: Session, store: TelemetryStore, number: int, device_id: str) -> list[Candidate]:
    """Files that an investigation's alerts on a device name as evidence, then those that ran around them."""
    mine = (Alert.investigation_id == number, Alert.machine_id == device_id)
    alerts = {alert.id: alert for alert in _open(session, mine)}
    rows = session.scalars(
        select(Evidence).where(Evidence.alert_id.in_(alerts), Evidence.entity_type.in_(("File", "Process")))
    ).all()
    found: dict[str, Candidate] = {}
    for row in rows:
        if row.sha1 or row.sha256:
            path = f"{row.file_path or ''}".rstrip("/")
            if row.file_name and not path.endswith(f"/{row.file_name}"):
                path = f"{path}/{row.file_name}"
            item = _noted(found, row.sha1 or "", row.sha256 or "", path)
            _from_alert(item, alerts[row.alert_id])
    for row in _starts(rows):
        assert row.process_id is not None
        assert row.process_creation_time is not None
        tenant = alerts[row.alert_id].tenant_id
        tree = process_tree(store, tenant, device_id, row.process_id, row.process_creation_time)
        for node in walk(tree) if tree else ():
            if node.sha256:
                item = _noted(found, "", node.sha256.lower(), node.folder_path)
                item.near = True
    return list(found.values())[:FILES]


def known(session: Session, store: TelemetryStore, tenant_id: str, item: Candidate) -> Known:
    """What telemetry tells of a file. Fills in the hashes that the evidence did not have."""
    seen = sightings.file(store, tenant_id, item.sha256 or item.sha1)
    if seen is not None:
        item.sha1 = item.sha1 or seen.sha1
        item.sha256 = item.sha256 or seen.sha256
    found = store.query(tenant_id, _DETECTIONS, {"sha256": item.sha256, "sha1": item.sha1})
    devices = session.scalar(select(func.count()).select_from(Device)) or 0
    return Known(seen, int(found[0]["found"]), devices)


def facts(session: Session, device: Device, item: Candidate, known: Known) -> Facts:
    """All that is known of a file on one device."""
    indicator = _indicator(session, device, item, known.seen.md5 if known.seen else "")
    return Facts(
        path=item.path,
        indicator=indicator.action if indicator else None,
        indicator_id=str(indicator.id) if indicator else None,
        detections=known.detections,
        severity=item.severity,
        false_positive=item.false_positive,
        near=item.near,
        devices=known.seen.sightings.devices if known.seen else 0,
        all_devices=known.all_devices,
    )


def devices_with(
    session: Session, store: TelemetryStore, tenant_id: str, item: Candidate, without: Collection[str]
) -> list[Device]:
    """Other devices on which a file was seen in the last 30 days, at most ``SPREAD``."""
    names = [
        name
        for name in sightings.file_devices(store, tenant_id, item.sha256 or item.sha1)
        if name not in without
    ][: 5 * SPREAD]
    wanted = select(Device).where(Device.id.in_(names), Device.revoked.is_(False), Device.public_key != "")
    return list(session.scalars(wanted.order_by(Device.id).limit(SPREAD)))


def _open(session: Session, which: Iterable[ColumnElement[bool]], *, lock: bool = False) -> list[Alert]:
    wanted = select(Alert).where(
        *which,
        Alert.status != "Resolved",
        Alert.detection_source != "AutomatedInvestigation",
        Alert.last_update_time >= now() - PAST,
    )
    wanted = wanted.order_by(Alert.alert_creation_time.desc(), Alert.id).limit(ALERTS)
    return list(session.scalars(wanted.with_for_update(of=Alert) if lock else wanted))


def _indicator(session: Session, device: Device, item: Candidate, md5: str) -> Indicator | None:
    """The indicator of the strongest hash that applies to the device's group."""
    hashes = {"FileSha256": item.sha256, "FileSha1": item.sha1, "FileMd5": md5}
    rows = session.scalars(
        select(Indicator).where(
            or_(
                *(
                    (Indicator.indicator_type == kind) & (Indicator.match_value == value)
                    for kind, value in hashes.items()
                    if value
                )
            )
        )
    ).all()
    group = device.group.name if device.group else ""
    applying = [
        row
        for row in rows
        if (row.expiration_time is None or row.expiration_time > now())
        and (not row.rbac_group_names or group in row.rbac_group_names)
    ]
    return min(applying, key=lambda row: _PRECEDENCE.index(row.indicator_type), default=None)


def _noted(found: dict[str, Candidate], sha1: str, sha256: str, path: str) -> Candidate:
    """The candidate with one of these hashes, which from now on knows both."""
    same = next(
        (
            item
            for item in found.values()
            if (sha256 and item.sha256 == sha256) or (sha1 and item.sha1 == sha1)
        ),
        None,
    )
    if same is None:
        same = found[sha256 or sha1] = Candidate(sha1, sha256, path)
    same.sha1 = same.sha1 or sha1
    same.sha256 = same.sha256 or sha256
    same.path = same.path or path
    return same


def _from_alert(item: Candidate, alert: Alert) -> None:
    if alert.id not in item.alerts:
        item.alerts.append(alert.id)
    item.false_positive = item.false_positive or alert.classification == "FalsePositive"
    ranks = [_SEVERITIES.index(name) for name in (item.severity, alert.severity) if name in _SEVERITIES]
    item.severity = _SEVERITIES[max(ranks)] if ranks else None


def _starts(rows: Iterable[Evidence]) -> list[Evidence]:
    """Processes of the evidence whose trees are looked at, each once."""
    starts = {
        (row.process_id, row.process_creation_time): row
        for row in rows
        if row.entity_type == "Process" and row.process_id and row.process_creation_time
    }
    return list(starts.values())[:TREES]
