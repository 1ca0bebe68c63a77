"""Changing incidents as analysts and playbooks do; resolving one resolves its alerts."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.alerts.incidents import REDIRECTED
from shieldwall.alerts.models import Alert, Incident
from shieldwall.alerts.risk import update_risk
from shieldwall.api.bodies import Body
from shieldwall.errors import bad_request
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.missing import missing
from shieldwall.times import now, to_text

COMMENTS_LIMIT = 1000
TAGS_LIMIT = 100

_COLUMNS = {
    "status": "status",
    "assignedTo": "assigned_to",
    "classification": "classification",
    "determination": "determination",
    "severity": "severity",
    "tags": "tags",
    "name": "name",
    "description": "description",
    "summary": "summary",
    "resolvingComment": "resolving_comment",
}
_TEXTS = frozenset({"comment", "description", "summary", "resolvingComment"})
"""What may be long, and is not for the audit log."""


def update_incident(session: Session, principal: Principal, identifier: int, change: Body) -> Incident:
    """Apply the properties of ``change``, in the words that are kept; the rest stays as it is.

    ApiError 404 for an unknown incident, 400 for one that was merged into another.
    """
    # As it is once the lock is held: whoever waited for it must not write back what was read before.
    row = session.get(Incident, identifier, with_for_update=True, populate_existing=True)
    if row is None:
        raise missing(session, "Incident", Incident, identifier)
    if row.status == REDIRECTED:
        raise bad_request(f"Incident {identifier} was merged into incident {row.redirect_incident_id}.")
    if len(change.get("tags", ())) > TAGS_LIMIT:
        raise bad_request(f"An incident has at most {TAGS_LIMIT} tags.")
    moment = now()
    for name, column in _COLUMNS.items():
        if name in change:
            setattr(row, column, list(dict.fromkeys(change[name])) if name == "tags" else change[name])
    # What an analyst says of it stands, whatever alerts come.
    row.named_by_hand = row.named_by_hand or "name" in change
    row.graded_by_hand = row.graded_by_hand or "severity" in change
    if change.get("comment"):
        add_comment(row, principal, change["comment"])
    if change.get("status") == "Resolved":
        _resolve_alerts(session, identifier)
    row.last_update_time = moment
    row.last_modified_by = (principal.name or principal.application_id)[:200]
    detail = {name: value for name, value in change.items() if name not in _TEXTS}
    audit.record(session, principal, "incident.update", str(identifier), detail=detail)
    return row


def add_comment(row: Incident, principal: Principal, text: str) -> None:
    """Add a remark to a locked incident; ApiError 400 once it has as many as it can hold."""
    if len(row.comments) >= COMMENTS_LIMIT:
        raise bad_request(f"An incident has at most {COMMENTS_LIMIT} comments.")
    said = {
        "comment": text,
        "createdBy": principal.name or principal.application_id,
        "createdTime": to_text(now()),
    }
    # A new list, since a change within the old one would go unseen.
    row.comments = [*row.comments, said]


def _resolve_alerts(session: Session, incident_id: int) -> None:
    open_ones = (
        select(Alert)
        .where(Alert.incident_id == incident_id, Alert.status != "Resolved")
        .order_by(Alert.id)
        .with_for_update()
    )
    moment, machines = now(), set()
    for alert in session.scalars(open_ones).all():
        alert.status, alert.resolved_time, alert.last_update_time = "Resolved", moment, moment
        if alert.machine_id:
            machines.add(alert.machine_id)
    update_risk(session, machines)
