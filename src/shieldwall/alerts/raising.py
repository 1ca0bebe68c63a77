"""Raising alerts: the same detection found twice is one alert."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall import metrics
from shieldwall.alerts.incidents import place_in_incident, regroup
from shieldwall.alerts.models import Alert, AlertLink, Evidence
from shieldwall.alerts.risk import update_risk
from shieldwall.devices.models import Device
from shieldwall.times import now

EVIDENCE_LIMIT = 200
"""Most entities of one alert; a noisy detection goes on being counted."""

REPEATS = 100
"""Most alerts of one key; after so many resolutions the last one goes on."""

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EvidenceDraft:
    """One entity; names follow the columns of ``Evidence``."""

    entity_type: str
    sha1: str | None = None
    sha256: str | None = None
    md5: str | None = None
    file_name: str | None = None
    file_path: str | None = None
    process_id: int | None = None
    process_command_line: str | None = None
    process_creation_time: datetime | None = None
    parent_process_id: int | None = None
    parent_process_creation_time: datetime | None = None
    parent_process_file_name: str | None = None
    parent_process_file_path: str | None = None
    ip_address: str | None = None
    url: str | None = None
    registry_key: str | None = None
    registry_hive: str | None = None
    registry_value_type: str | None = None
    registry_value: str | None = None
    account_name: str | None = None
    domain_name: str | None = None
    user_sid: str | None = None
    detection_status: str | None = None

    def digest(self) -> str:
        """The same for the same entity, whatever became of it."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        known.pop("detection_status", None)
        return hashlib.sha1(repr(sorted(known.items())).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class AlertDraft:
    """A detection on one device. ``key`` names it: drafts with the same key are one alert."""

    tenant_id: str
    device_id: str | None
    """None where nobody knows yet which device it is about."""
    key: str
    title: str
    description: str
    severity: str
    category: str
    detection_source: str
    first_event_time: datetime
    last_event_time: datetime
    evidence: tuple[EvidenceDraft, ...]
    links: frozenset[str] = field(default_factory=frozenset)
    """What correlation joins on, as ``alerts.links`` makes it."""
    detector_id: str | None = None
    threat_name: str | None = None
    recommended_action: str | None = None
    mitre_techniques: tuple[str, ...] = ()
    events: int = 1


def raise_alert(session: Session, draft: AlertDraft, incident_window: int) -> tuple[Alert, bool]:
    """The alert of a draft, and whether it is new; ``session`` may be a system session.

    A draft whose events the alert has seen already changes nothing, so a replay is harmless. A later one
    extends the alert by its time, its count and its new evidence. ``incident_window`` is in seconds.
    """
    identifier, alert = _current(session, draft)
    if alert is None:
        alert = _new_alert(session, draft, identifier)
        incident = place_in_incident(session, alert, draft.links, incident_window)
        alert.incident_id = incident.id
        session.add(alert)
        _add_evidence(session, alert, draft.evidence, 0)
        _add_links(session, alert, draft.links, draft.last_event_time)
        session.flush()
        if draft.device_id:
            update_risk(session, [draft.device_id])
        metrics.alerts.labels(draft.detection_source, draft.severity).inc()
        return alert, True
    if alert.last_event_time is None or draft.last_event_time > alert.last_event_time:
        alert.last_event_time = draft.last_event_time
        alert.event_count += draft.events
        alert.last_update_time = now()
        _add_evidence(session, alert, draft.evidence, _evidence_count(session, alert))
        _add_links(session, alert, draft.links, draft.last_event_time)
        session.flush()
    return alert, False


def join_or_raise(session: Session, draft: AlertDraft, incident_window: int) -> Alert:
    """The open alert of the same title on the device, which the draft's event joins; else a new one.

    The same event given twice changes nothing.
    """
    alike = (Alert.machine_id == draft.device_id, Alert.title == draft.title[:500])
    open_ones = select(Alert).where(Alert.tenant_id == draft.tenant_id, *alike, Alert.status != "Resolved")
    oldest = open_ones.order_by(Alert.alert_creation_time, Alert.id).limit(1).with_for_update()
    alert = session.scalar(oldest)
    if alert is None:
        # Two made at once get the same id, so that the later one fails instead of standing beside.
        resolved = session.scalar(select(func.count()).select_from(Alert).where(*alike)) or 0
        key = f"{draft.key} {resolved}"
        return raise_alert(session, replace(draft, key=key), incident_window)[0]
    added = _add_evidence(session, alert, draft.evidence, _evidence_count(session, alert))
    first, last = alert.first_event_time, alert.last_event_time
    alert.first_event_time = min(first or draft.first_event_time, draft.first_event_time)
    alert.last_event_time = max(last or draft.last_event_time, draft.last_event_time)
    if added or (first, last) != (alert.first_event_time, alert.last_event_time):
        alert.event_count += draft.events
        alert.last_update_time = now()
        _add_links(session, alert, draft.links, draft.last_event_time)
        session.flush()
    return alert


def extend_alert(session: Session, alert: Alert, draft: AlertDraft, incident_window: int) -> None:
    """Add what has become known of an alert: its device, user, entities, links and the span of its events.

    Links that came only now may lead to another incident; then the alert moves there.
    """
    device = session.get(Device, draft.device_id) if draft.device_id else None
    if device is not None and alert.machine_id is None:
        alert.machine_id, alert.computer_dns_name = device.id, device.computer_dns_name
        alert.rbac_group_name = device.group.name if device.group else None
        alert.logged_on_users = _logged_on(device)
    user = next((entity for entity in draft.evidence if entity.entity_type == "User"), None)
    alert.related_user = alert.related_user or _related_user(user)
    alert.first_event_time = min(alert.first_event_time or draft.first_event_time, draft.first_event_time)
    alert.last_event_time = max(alert.last_event_time or draft.last_event_time, draft.last_event_time)
    alert.last_update_time = now()
    _add_evidence(session, alert, draft.evidence, _evidence_count(session, alert))
    session.flush()
    alert.incident_id = regroup(session, alert, draft.links, incident_window).id
    _add_links(session, alert, draft.links, draft.last_event_time)
    session.flush()
    if alert.machine_id:
        update_risk(session, [alert.machine_id])


def alert_id(draft: AlertDraft, again: int = 0) -> str:
    """In the service's form, ``da<ticks>_<signed 32-bit number>``, and always the same for the same key.

    ``again`` counts the alerts of this key that were resolved before the draft's events happened.
    """
    text = f"{draft.tenant_id}\n{draft.device_id or ''}\n{draft.key}\n{again}"
    digest = hashlib.sha256(text.encode()).digest()
    # The ticks carry half of the digest, so that they do not depend on which event came first.
    base = int((datetime(2026, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000
    ticks = base + int.from_bytes(digest[:7], "big") % (1 << 50)
    return f"da{ticks}_{int.from_bytes(digest[8:12], 'big', signed=True)}"


def _current(session: Session, draft: AlertDraft) -> tuple[str, Alert | None]:
    """The alert that a draft belongs to: what happens after an alert was resolved is a new one."""
    for again in range(REPEATS):
        identifier = alert_id(draft, again)
        alert = session.get(Alert, identifier)
        if alert is None or alert.resolved_time is None or draft.last_event_time <= alert.resolved_time:
            return identifier, alert
    return identifier, alert


def _new_alert(session: Session, draft: AlertDraft, identifier: str) -> Alert:
    device = session.get(Device, draft.device_id) if draft.device_id else None
    user = next((entity for entity in draft.evidence if entity.entity_type == "User"), None)
    time = now()
    return Alert(
        id=identifier,
        tenant_id=draft.tenant_id,
        severity=draft.severity,
        status="New",
        detection_source=draft.detection_source,
        detector_id=draft.detector_id,
        category=draft.category,
        threat_name=draft.threat_name,
        title=draft.title[:500],
        description=draft.description,
        recommended_action=draft.recommended_action,
        alert_creation_time=time,
        first_event_time=draft.first_event_time,
        last_event_time=draft.last_event_time,
        last_update_time=time,
        machine_id=draft.device_id,
        computer_dns_name=device.computer_dns_name if device else None,
        rbac_group_name=device.group.name if device and device.group else None,
        mitre_techniques=list(draft.mitre_techniques),
        related_user=_related_user(user),
        logged_on_users=_logged_on(device),
        event_count=draft.events,
    )


def _related_user(user: EvidenceDraft | None) -> dict[str, Any] | None:
    return {"userName": user.account_name, "domainName": user.domain_name} if user else None


def _logged_on(device: Device | None) -> list[dict[str, Any]]:
    return [
        {"accountName": user.get("userName"), "domainName": user.get("domainName")}
        for user in (device.logged_on_users if device else [])
    ]


def _evidence_count(session: Session, alert: Alert) -> int:
    return len(session.scalars(select(Evidence.id).where(Evidence.alert_id == alert.id)).all())


def _add_evidence(session: Session, alert: Alert, drafts: Iterable[EvidenceDraft], present: int) -> int:
    """How many entities are new to the alert, which has ``present`` already."""
    before = present
    known = set(session.scalars(select(Evidence.digest).where(Evidence.alert_id == alert.id)))
    time = now()
    for draft in drafts:
        digest = draft.digest()
        if digest in known or present >= EVIDENCE_LIMIT:
            continue
        known.add(digest)
        present += 1
        values = {item.name: getattr(draft, item.name) for item in fields(draft)}
        session.add(
            Evidence(
                tenant_id=alert.tenant_id,
                alert_id=alert.id,
                digest=digest,
                evidence_creation_time=time,
                **values,
            )
        )
    return present - before


def _add_links(session: Session, alert: Alert, links: Iterable[str], time: datetime) -> None:
    present = {
        link.key: link for link in session.scalars(select(AlertLink).where(AlertLink.alert_id == alert.id))
    }
    for key in links:
        if key in present:
            present[key].time = max(present[key].time, time)
        else:
            session.add(AlertLink(tenant_id=alert.tenant_id, alert_id=alert.id, key=key, time=time))
