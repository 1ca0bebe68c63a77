"""Moving alerts between incidents by hand: where an analyst puts an alert, it stays."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.alerts.correlation import lock
from shieldwall.alerts.incidents import ENTITIES_LIMIT, REDIRECTED, keep_apart, refresh
from shieldwall.alerts.models import Alert, Incident
from shieldwall.errors import bad_request
from shieldwall.state.engine import unscoped
from shieldwall.state.missing import missing
from shieldwall.times import now

FRESH = 0
"""Stands for an incident that does not exist yet."""


def move_alerts(session: Session, alerts: list[Alert], number: int, by: str) -> Incident:
    """Put alerts of one tenant into incident ``number``, or into a new one together.

    The incidents that they leave are not merged with the target again. One that is left empty points to it.
    ApiError 404 for an unknown incident, 400 for one that was merged into another or is full.
    """
    lock(session, alerts[0].tenant_id)
    target = _target(session, number) if number != FRESH else None
    left = {alert.incident_id for alert in alerts} - {number}
    with unscoped(session):
        if target is None:
            target = _fresh(session, alerts[0])
        if _size(session, target.id) + len(alerts) > ENTITIES_LIMIT:
            raise bad_request(f"Incident {target.id} has as many alerts as an incident can hold.")
        for alert in alerts:
            if alert.incident_id != target.id:
                alert.link_reasons = []
            alert.incident_id, alert.moved_by = target.id, by[:200]
            alert.last_update_time = now()
        session.flush()
        sources = select(Incident).where(Incident.id.in_(left)).order_by(Incident.id).with_for_update()
        for source in session.scalars(sources).all():
            keep_apart(source, target)
            if not _size(session, source.id):
                source.status, source.redirect_incident_id = REDIRECTED, target.id
                source.tags = list(dict.fromkeys([*source.tags, REDIRECTED]))
                source.last_update_time = now()
        refresh(session, {target.id, *left})
    return target


def _target(session: Session, number: int) -> Incident:
    row = session.scalar(select(Incident).where(Incident.id == number).with_for_update())
    if row is None:
        raise missing(session, "Incident", Incident, number)
    if row.status == REDIRECTED:
        raise bad_request(f"Incident {number} was merged into incident {row.redirect_incident_id}.")
    return row


def _fresh(session: Session, alert: Alert) -> Incident:
    moment = now()
    row = Incident(
        tenant_id=alert.tenant_id,
        name=alert.title,
        severity=alert.severity,
        created_time=moment,
        last_update_time=moment,
        first_event_time=alert.first_event_time or moment,
        last_event_time=alert.last_event_time or moment,
        tags=[],
        comments=[],
        apart_from=[],
    )
    session.add(row)
    session.flush()
    return row


def _size(session: Session, number: int) -> int:
    return session.scalar(select(func.count()).select_from(Alert).where(Alert.incident_id == number)) or 0
