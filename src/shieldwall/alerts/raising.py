"""Raising alerts: the same detection found twice is one alert."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, cast

from sqlalchemy import Table, func, select, update
from sqlalchemy.orm import Session, lazyload, load_only

from shieldwall import metrics
from shieldwall.alerts.correlation import REASONS, Candidate, lock, place
from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft, alert_id
from shieldwall.alerts.entity_models import AlertLink
from shieldwall.alerts.evidence import EVIDENCE_LIMIT, add_evidence, by_digest, evidence_row
from shieldwall.alerts.incidents import refresh
from shieldwall.alerts.links import LINKS_LIMIT, Kind, Link, device_link, evidence_links, own_links
from shieldwall.alerts.models import Alert, Evidence
from shieldwall.alerts.naming import Facts
from shieldwall.alerts.risk import raise_risk, update_risk
from shieldwall.alerts.weights import Span
from shieldwall.devices.models import Device
from shieldwall.state.bulk import insert_rows
from shieldwall.state.engine import unscoped
from shieldwall.times import now

PART = 1000
"""Alerts that are placed and written together."""

REPEATS = 100
"""Most alerts of one key; after so many resolutions the last one goes on."""

_DEVICE = (
    Device.tenant_id,
    Device.computer_dns_name,
    Device.last_ip_address,
    Device.ip_addresses,
    Device.logged_on_users,
    Device.device_group_id,
)
"""What an alert says of its device."""

_ALERTS, _EVIDENCE, _LINKS = (cast(Table, each.__table__) for each in (Alert, Evidence, AlertLink))


def raise_alert(session: Session, draft: AlertDraft, incident_window: int) -> tuple[Alert, bool]:
    """The alert of a draft, and whether it is new; ``session`` may be a system session.

    A draft whose events the alert has seen already changes nothing, so a replay is harmless. A later one
    extends the alert by its time, its count and its new evidence. ``incident_window`` is in seconds.
    """
    ((identifier, new),) = raise_many(session, [draft], incident_window)
    with unscoped(session):
        return session.get_one(Alert, identifier), new


def raise_many(
    session: Session, drafts: Sequence[AlertDraft], incident_window: int
) -> list[tuple[str, bool]]:
    """The same for many drafts, which together take a fraction of the time: each alert's id, and whether it
    is new, in the order of the drafts."""
    session.flush()
    window = timedelta(seconds=incident_window)
    found: list[tuple[str, bool]] = [("", False)] * len(drafts)
    with unscoped(session):
        # In one order, so that two transactions never wait for each other.
        for tenant_id in sorted({draft.tenant_id for draft in drafts}):
            lock(session, tenant_id)
            numbers = [number for number, draft in enumerate(drafts) if draft.tenant_id == tenant_id]
            while numbers:
                part, numbers = _part(drafts, numbers)
                raised = _raise(session, tenant_id, [drafts[number] for number in part], window)
                for number, result in zip(part, raised, strict=True):
                    found[number] = result
    return found


def join_or_raise(session: Session, draft: AlertDraft, incident_window: int) -> Alert:
    """The open alert of the same title on the device, which the draft's event joins; else a new one.

    The same event given twice changes nothing.
    """
    alike = (Alert.machine_id == draft.device_id, Alert.title == draft.title[:500])
    open_ones = select(Alert).where(Alert.tenant_id == draft.tenant_id, *alike, Alert.status != "Resolved")
    oldest = open_ones.order_by(Alert.alert_creation_time, Alert.id).limit(1).with_for_update()
    lock(session, draft.tenant_id)
    alert = session.scalar(oldest)
    if alert is None:
        # Two made at once get the same id, so that the later one fails instead of standing beside.
        resolved = session.scalar(select(func.count()).select_from(Alert).where(*alike)) or 0
        key = f"{draft.key} {resolved}"
        return raise_alert(session, replace(draft, key=key), incident_window)[0]
    added = add_evidence(session, alert, draft.evidence)
    first, last = alert.first_event_time, alert.last_event_time
    alert.first_event_time = min(first or draft.first_event_time, draft.first_event_time)
    alert.last_event_time = max(last or draft.last_event_time, draft.last_event_time)
    if added or (first, last) != (alert.first_event_time, alert.last_event_time):
        alert.event_count += draft.events
        alert.last_update_time = now()
        _relink(session, alert, draft, incident_window)
    return alert


def extend_alert(session: Session, alert: Alert, draft: AlertDraft, incident_window: int) -> None:
    """Add what has become known of an alert: its device, user, entities, links and the span of its events.

    Links that came only now may lead to other incidents, which then become one with the alert's.
    """
    lock(session, alert.tenant_id)
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
    add_evidence(session, alert, draft.evidence)
    _relink(session, alert, draft, incident_window)
    if alert.machine_id:
        update_risk(session, [alert.machine_id])


def _part(drafts: Sequence[AlertDraft], numbers: list[int]) -> tuple[list[int], list[int]]:
    """The first drafts to be worked on together, each of another alert, and the rest."""
    seen: set[tuple[str | None, str]] = set()
    for place_, number in enumerate(numbers):
        name = (drafts[number].device_id, drafts[number].key)
        if name in seen or place_ == PART:
            return numbers[:place_], numbers[place_:]
        seen.add(name)
    return numbers, []


def _raise(
    session: Session, tenant_id: str, drafts: Sequence[AlertDraft], window: timedelta
) -> list[tuple[str, bool]]:
    """Raise drafts of different alerts of one tenant."""
    identifiers = [alert_id(draft) for draft in drafts]
    present = {row.id: row for row in session.scalars(select(Alert).where(Alert.id.in_(identifiers)))}
    wanted = {draft.device_id for draft in drafts if draft.device_id}
    loaded = select(Device).where(Device.id.in_(wanted)).options(load_only(*_DEVICE), lazyload(Device.tags))
    devices = {row.id: row for row in session.scalars(loaded)}
    candidates: list[Candidate] = []
    fresh: list[tuple[AlertDraft, dict[str, Any], list[Link]]] = []
    results: list[tuple[str, bool]] = []
    for draft, first in zip(drafts, identifiers, strict=True):
        identifier, alert = _current(session, draft, present.get(first), first)
        results.append((identifier, alert is None))
        if alert is None:
            device = devices.get(draft.device_id or "")
            row, links = _row(draft, identifier, device), all_links(draft, device)
            candidates.append(_candidate(row, links))
            fresh.append((draft, row, links))
        elif alert.last_event_time is None or draft.last_event_time > alert.last_event_time:
            alert.last_event_time = draft.last_event_time
            alert.event_count += draft.events
            alert.last_update_time = now()
            add_evidence(session, alert, draft.evidence)
            _relink(session, alert, draft, int(window.total_seconds()))
        elif add_evidence(session, alert, draft.evidence):
            # One sensor tells sooner than another: what happened earlier may be told later.
            alert.first_event_time = min(
                alert.first_event_time or draft.first_event_time, draft.first_event_time
            )
            alert.event_count += draft.events
            alert.last_update_time = now()
            _relink(session, alert, draft, int(window.total_seconds()))
    if fresh:
        placed = place(session, tenant_id, candidates, window)
        for _, row, _ in fresh:
            row["incident_id"] = placed[row["id"]].incident_id
            row["link_reasons"] = placed[row["id"]].reasons
        _store(session, fresh)
        refresh(session, {each.incident_id for each in placed.values() if each.found})
        raise_risk(session, ((draft.device_id, draft.severity) for draft, _, _ in fresh if draft.device_id))
        for draft, _, _ in fresh:
            metrics.alerts.labels(draft.detection_source, draft.severity).inc()
    return results


def _store(session: Session, fresh: Sequence[tuple[AlertDraft, dict[str, Any], list[Link]]]) -> None:
    """Write new alerts with what belongs to them, many rows at once."""
    connection = session.connection()
    insert_rows(connection, _ALERTS, [row for _, row, _ in fresh])
    time = now()
    evidence = [
        evidence_row(row["tenant_id"], row["id"], digest, entity, time)
        for draft, row, _ in fresh
        for digest, entity in islice(by_digest(draft.evidence).items(), EVIDENCE_LIMIT)
    ]
    insert_rows(connection, _EVIDENCE, evidence)
    named = [
        _link_row(row["tenant_id"], row["id"], link, draft.last_event_time)
        for draft, row, links in fresh
        for link in links
        # The device's names are kept once, and not with each of its alerts.
        if link.kind != "own"
    ]
    insert_rows(connection, _LINKS, named)


def all_links(draft: AlertDraft, device: Device | None) -> list[Link]:
    """All by which a draft's alert is joined, the device first; always in the same order."""
    links = _device_links(device)
    links += sorted(draft.links, key=lambda link: (link.kind, link.value))
    links += evidence_links(draft.device_id, draft.evidence)
    return list({(link.key, link.kind): link for link in links}.values())[:LINKS_LIMIT]


def _relink(session: Session, alert: Alert, draft: AlertDraft, incident_window: int) -> None:
    """Note what is new about an alert that was there before; new links may join incidents to its own."""
    session.flush()
    device = session.get(Device, alert.machine_id) if alert.machine_id else None
    mine = AlertLink.alert_id == alert.id
    session.execute(update(AlertLink).where(mine).values(last_time=alert.last_event_time))
    links = all_links(replace(draft, device_id=alert.machine_id), device)
    if not relink(session, alert, links, incident_window):
        refresh(session, [alert.incident_id])


def relink(session: Session, alert: Alert, links: Sequence[Link], incident_window: int) -> bool:
    """Add links to a stored alert, and merge incidents to which it leads now; whether any was new."""
    lock(session, alert.tenant_id)
    assert alert.last_event_time is not None
    mine = AlertLink.alert_id == alert.id
    rows = session.execute(select(AlertLink.key, AlertLink.kind).where(mine)).all()
    present: set[tuple[str, Kind]] = {(row.key, row.kind) for row in rows}
    room = max(0, LINKS_LIMIT - len(present))
    new = [link for link in links if link.kind != "own" and (link.key, link.kind) not in present][:room]
    if new:
        candidate = _stored(session, alert, present, new)
        made = [_link_row(alert.tenant_id, alert.id, link, alert.last_event_time) for link in new]
        insert_rows(session.connection(), _LINKS, made)
        window = timedelta(seconds=incident_window)
        placed = place(session, alert.tenant_id, [candidate], window)[alert.id]
        session.refresh(alert, ["incident_id"])
        alert.link_reasons = [*alert.link_reasons, *placed.reasons][-REASONS:]
        refresh(session, [alert.incident_id])
    return bool(new)


def _stored(
    session: Session, alert: Alert, present: Collection[tuple[str, Kind]], new: Sequence[Link]
) -> Candidate:
    """A stored alert with the links that it has, as far as they can be named, and those new to it."""
    device = session.get(Device, alert.machine_id) if alert.machine_id else None
    evidence = session.scalars(select(Evidence).where(Evidence.alert_id == alert.id)).all()
    named = [*_device_links(device), *evidence_links(alert.machine_id, evidence)]
    by_key = {(link.key, link.kind): link for link in named}
    kept = [link for link in named if link.kind == "own"]
    kept += [by_key.get(each) or Link(each[1], "", each[1], each[0]) for each in sorted(present)]
    facts = {column.name: getattr(alert, column.name) for column in _ALERTS.columns}
    counted = frozenset(key for key, _ in present)
    return _candidate(facts, [*kept, *new], held=alert.moved_by is not None, counted=counted)


def _device_links(device: Device | None) -> list[Link]:
    return (
        [device_link(device.id, device.computer_dns_name), *own_links(device)] if device is not None else []
    )


def _candidate(
    row: Mapping[str, Any], links: Sequence[Link], held: bool = False, counted: frozenset[str] = frozenset()
) -> Candidate:
    span = Span(row["first_event_time"], row["last_event_time"])
    facts = Facts(
        row["title"],
        row["severity"],
        row["category"],
        row["detection_source"],
        row["machine_id"],
        row["computer_dns_name"],
        span.first,
        span.last,
    )
    return Candidate(row["id"], links, span, facts, row.get("incident_id"), held, counted)


def _current(
    session: Session, draft: AlertDraft, alert: Alert | None, identifier: str
) -> tuple[str, Alert | None]:
    """The alert that a draft belongs to, of which this one is the first: what happens after an alert was
    resolved is a new one."""
    for again in range(1, REPEATS):
        if alert is None or alert.resolved_time is None or draft.last_event_time <= alert.resolved_time:
            break
        identifier = alert_id(draft, again)
        alert = session.get(Alert, identifier)
    return identifier, alert


def _row(draft: AlertDraft, identifier: str, device: Device | None) -> dict[str, Any]:
    """The columns of a new alert."""
    user = next((entity for entity in draft.evidence if entity.entity_type == "User"), None)
    time = now()
    return {
        "id": identifier,
        "tenant_id": draft.tenant_id,
        "severity": draft.severity,
        "status": "New",
        "detection_source": draft.detection_source,
        "detector_id": draft.detector_id,
        "category": draft.category,
        "threat_name": draft.threat_name,
        "title": draft.title[:500],
        "description": draft.description,
        "recommended_action": draft.recommended_action,
        "alert_creation_time": time,
        "first_event_time": draft.first_event_time,
        "last_event_time": draft.last_event_time,
        "last_update_time": time,
        "machine_id": draft.device_id,
        "computer_dns_name": device.computer_dns_name if device else None,
        "rbac_group_name": device.group.name if device and device.group else None,
        "mitre_techniques": list(draft.mitre_techniques),
        "related_user": _related_user(user),
        "logged_on_users": _logged_on(device),
        "event_count": draft.events,
    }


def _related_user(user: EvidenceDraft | None) -> dict[str, Any] | None:
    return {"userName": user.account_name, "domainName": user.domain_name} if user else None


def _logged_on(device: Device | None) -> list[dict[str, Any]]:
    return [
        {"accountName": user.get("userName"), "domainName": user.get("domainName")}
        for user in (device.logged_on_users if device else [])
    ]


def _link_row(tenant_id: str, identifier: str, link: Link, last_time: datetime) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "alert_id": identifier,
        "key": link.key,
        "kind": link.kind,
        "last_time": last_time,
    }
