"""Changing alerts as analysts and playbooks do: one transaction, no change of another lost."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.alerts.correlation import lock
from shieldwall.alerts.incidents import refresh
from shieldwall.alerts.models import Alert, AlertComment, Incident
from shieldwall.alerts.moving import move_alerts
from shieldwall.alerts.risk import update_risk
from shieldwall.api.bodies import Body
from shieldwall.errors import bad_request
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.missing import missing
from shieldwall.times import now

COMMENTS_LIMIT = 1000
"""Of one alert."""

_COLUMNS = {
    "status": "status",
    "assignedTo": "assigned_to",
    "classification": "classification",
    "determination": "determination",
}


def update_alerts(session: Session, principal: Principal, identifiers: Sequence[str], change: Body) -> None:
    """Apply the properties of ``change`` to alerts; ApiError 404 for an unknown one, then none is changed."""
    if "incidentId" in change:
        lock(session, principal.tenant_id)
    # Locked in one order, incidents first, so that two changes never wait for each other.
    of_incidents = select(Alert.incident_id).where(Alert.id.in_(identifiers))
    touched = select(Incident).where(Incident.id.in_(of_incidents)).order_by(Incident.id).with_for_update()
    for incident in session.scalars(touched):
        # Clients that poll for changed incidents see changes of their alerts.
        incident.last_update_time = now()
    locked = select(Alert).where(Alert.id.in_(identifiers)).order_by(Alert.id).with_for_update()
    rows = {row.id: row for row in session.scalars(locked)}
    for identifier in identifiers:
        if identifier not in rows:
            raise missing(session, "Alert", Alert, identifier)
    for row in rows.values():
        _apply(row, principal, change)
        detail = {name: value for name, value in change.items() if name != "comment"}
        audit.record(session, principal, "alert.update", row.id, detail=detail)
    if "incidentId" in change:
        by = principal.name or principal.application_id
        move_alerts(session, list(rows.values()), change["incidentId"], by)
    if "status" in change or "classification" in change:
        refresh(session, {row.incident_id for row in rows.values()})
        update_risk(session, {row.machine_id for row in rows.values() if row.machine_id})


def _apply(row: Alert, principal: Principal, change: Body) -> None:
    moment = now()
    for name, column in _COLUMNS.items():
        if name in change:
            setattr(row, column, change[name])
    if row.status != "Resolved":
        row.resolved_time = None
    elif row.resolved_time is None:
        row.resolved_time = moment
    if change.get("comment"):
        if len(row.comments) >= COMMENTS_LIMIT:
            raise bad_request(f"An alert has at most {COMMENTS_LIMIT} comments.")
        row.comments.append(
            AlertComment(
                tenant_id=row.tenant_id,
                comment=change["comment"],
                created_by=principal.name or principal.application_id,
                created_time=moment,
            )
        )
    row.last_update_time = moment
