"""Incidents: alerts of one device that share a process tree or an entity within a window of time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert, AlertLink, Incident
from shieldwall.times import now

REDIRECTED = "Redirected"
SEVERITIES = ("UnSpecified", "Informational", "Low", "Medium", "High")
ENTITIES_LIMIT = 5_000
"""An incident with more alerts takes in no other incident."""


def place_in_incident(session: Session, alert: Alert, links: Collection[str], window: int) -> Incident:
    """The incident that a new alert joins, made when nothing related is open; several related ones merge."""
    related = _related(session, alert, links, timedelta(seconds=window))
    if not related:
        return _new_incident(session, alert)
    target, *others = related
    for other in others:
        if _may_merge(session, target, other):
            _merge(session, other, target)
    _take_in(session, target, alert)
    return target


def regroup(session: Session, alert: Alert, links: Collection[str], window: int) -> Incident:
    """The incident where an alert belongs of which more is known now: a related one, else its own."""
    own = session.get_one(Incident, alert.incident_id, with_for_update=True)
    if own.status not in ("Active", "InProgress"):
        return own
    target = own
    for other in _related(session, alert, links, timedelta(seconds=window)):
        # The older one stays, so that what is known of an incident by its number goes on.
        first, second = sorted((target, other), key=lambda incident: incident.id)
        if first is not second and _may_merge(session, first, second):
            _merge(session, second, first)
            target = first
    session.refresh(alert, ["incident_id"])
    if _rank(alert.severity) > _rank(target.severity):
        target.severity = alert.severity
    if alert.first_event_time and alert.last_event_time:
        target.first_event_time = min(target.first_event_time, alert.first_event_time)
        target.last_event_time = max(target.last_event_time, alert.last_event_time)
    target.name = _name(
        _gravest_title(session, target) or alert.title, _size(session, target), alert.computer_dns_name
    )
    target.last_update_time = now()
    return target


def _size(session: Session, incident: Incident) -> int:
    return (
        session.scalar(select(func.count()).select_from(Alert).where(Alert.incident_id == incident.id)) or 0
    )


def _related(session: Session, alert: Alert, links: Collection[str], window: timedelta) -> Sequence[Incident]:
    """Open incidents that share a link with the alert within the window, the oldest first."""
    if not links or alert.first_event_time is None or alert.last_event_time is None:
        return []
    linked = (
        select(Alert.incident_id)
        .join(AlertLink, AlertLink.alert_id == Alert.id)
        .where(
            AlertLink.tenant_id == alert.tenant_id,
            AlertLink.key.in_(links),
            AlertLink.time >= alert.first_event_time - window,
            AlertLink.time <= alert.last_event_time + window,
        )
    )
    # A resolved incident is never reopened: what comes later is a new one.
    return session.scalars(
        select(Incident)
        .where(
            Incident.tenant_id == alert.tenant_id,
            Incident.id.in_(linked),
            Incident.status.in_(("Active", "InProgress")),
        )
        .order_by(Incident.id)
        .with_for_update()
    ).all()


def _new_incident(session: Session, alert: Alert) -> Incident:
    time = now()
    incident = Incident(
        tenant_id=alert.tenant_id,
        name=_name(alert.title, 1, alert.computer_dns_name),
        created_time=time,
        last_update_time=time,
        first_event_time=alert.first_event_time or time,
        last_event_time=alert.last_event_time or time,
        severity=alert.severity,
        tags=[],
        comments=[],
    )
    session.add(incident)
    session.flush()
    return incident


def _take_in(session: Session, incident: Incident, alert: Alert) -> None:
    present = _size(session, incident)
    incident.last_update_time = now()
    if alert.first_event_time and alert.last_event_time:
        incident.first_event_time = min(incident.first_event_time, alert.first_event_time)
        incident.last_event_time = max(incident.last_event_time, alert.last_event_time)
    worse = _rank(alert.severity) > _rank(incident.severity)
    if worse:
        incident.severity = alert.severity
    title = alert.title if worse else _gravest_title(session, incident) or alert.title
    incident.name = _name(title, present + 1, alert.computer_dns_name)


def _gravest_title(session: Session, incident: Incident) -> str | None:
    """An incident is named for its gravest alert, of equals the first."""
    grave = case({name: rank for rank, name in enumerate(SEVERITIES)}, value=Alert.severity)
    return session.scalar(
        select(Alert.title)
        .where(Alert.incident_id == incident.id)
        .order_by(grave.desc(), Alert.alert_creation_time, Alert.id)
        .limit(1)
    )


def _may_merge(session: Session, target: Incident, source: Incident) -> bool:
    """Two incidents that analysts have judged or given to different people stay apart."""
    if source.assigned_to and source.assigned_to != target.assigned_to:
        return False
    if (source.classification, source.determination) != (target.classification, target.determination):
        return False
    count = session.scalar(
        select(func.count()).select_from(Alert).where(Alert.incident_id.in_((target.id, source.id)))
    )
    return (count or 0) <= ENTITIES_LIMIT


def _merge(session: Session, source: Incident, target: Incident) -> None:
    """Empty ``source`` into ``target`` and leave a pointer behind."""
    session.execute(update(Alert).where(Alert.incident_id == source.id).values(incident_id=target.id))
    # Whoever pointed to the source is led on, so that a redirect is one step.
    session.execute(
        update(Incident)
        .where(Incident.redirect_incident_id == source.id, Incident.tenant_id == target.tenant_id)
        .values(redirect_incident_id=target.id)
    )
    target.first_event_time = min(target.first_event_time, source.first_event_time)
    target.last_event_time = max(target.last_event_time, source.last_event_time)
    target.tags = list(dict.fromkeys([*target.tags, *source.tags]))
    if _rank(source.severity) > _rank(target.severity):
        target.severity = source.severity
    source.status = REDIRECTED
    source.redirect_incident_id = target.id
    source.tags = [*source.tags, REDIRECTED]
    source.last_update_time = target.last_update_time = now()
    session.flush()


def _name(title: str, alerts: int, device: str | None) -> str:
    more = f" and {alerts - 1} more" if alerts > 1 else ""
    where = f" on {device}" if device else ""
    return f"{title[:400]}{more}{where}"


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0
