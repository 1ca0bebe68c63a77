"""Incidents with their alerts: list, get, change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.api import answers, incident_shapes, sets
from shieldwall.api.access import requires, services_of
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.chunks import chunks, devices_of, fitting_incidents
from shieldwall.api.incident_changes import update_incident
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.api.vocabulary import VERDICT
from shieldwall.detection.external.models import received_alerts
from shieldwall.errors import not_found
from shieldwall.identity.principal import Principal
from shieldwall.state.missing import missing

router = new_router("Incidents")

Reader = Annotated[Principal, Depends(requires("Incident.Read.All", "Incident.ReadWrite.All"))]
Writer = Annotated[Principal, Depends(requires("Incident.ReadWrite.All"))]

CHANGE = Shape(
    # What is redirected is so by a merge alone.
    Parameter("status", choices=choices("Active", "InProgress", "Resolved")),
    *VERDICT,
    Parameter("tags", many=True, limit=200),
    Parameter("comment"),
)


@router.get("/api/incidents", summary="List incidents")
def list_incidents(request: Request, principal: Reader) -> Response:
    """Newest first, at most 100 a page, fewer where they have very many alerts. OData options apply."""
    options = read_options(request.url.query, sets.INCIDENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.INCIDENTS, options, fits=fitting)
        items = _with_alerts(session, page.rows)
    return answers.collection(request, "Incidents", items, page, options)


@router.get("/api/incidents/$count", summary="Count incidents")
def count_incidents(request: Request, principal: Reader) -> Response:
    options = read_options(request.url.query, sets.INCIDENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, sets.INCIDENTS, options))


@router.get("/api/incidents/{incident_id}", summary="Get an incident")
def get_incident(incident_id: str, request: Request, principal: Reader) -> Response:
    """One incident with its alerts; one that was merged names the incident it went into."""
    with services_of(request).database.read(principal.tenant_id) as session:
        row = find_incident(session, incident_id)
        return answers.entity(request, "Incidents", _with_alerts(session, [row])[0])


@router.patch("/api/incidents/{incident_id}", summary="Update an incident")
def patch_incident(
    incident_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(CHANGE)]
) -> Response:
    """Change status, assignedTo, classification, determination or tags, or add a comment; the rest stays."""
    if not body:
        raise invalid_body("The request body changes nothing.")
    with services_of(request).database.session(principal.tenant_id) as session:
        row = update_incident(session, principal, find_incident(session, incident_id).id, body)
        session.flush()
        answer = _with_alerts(session, [row])[0]
    return answers.entity(request, "Incidents", answer)


def fitting(session: Session, rows: Sequence[Incident]) -> int:
    return fitting_incidents(session, [row.id for row in rows])


def find_incident(session: Session, identifier: str) -> Incident:
    """An incident of the session's tenant by its number; ApiError 404."""
    if not (identifier.isascii() and identifier.isdigit() and len(identifier) < 19):
        raise not_found("Incident", identifier[:40])
    row = session.scalar(select(Incident).where(Incident.id == int(identifier)))
    if row is None:
        raise missing(session, "Incident", Incident, int(identifier))
    return row


def _with_alerts(session: Session, rows: Sequence[Incident]) -> list[answers.Entity]:
    """Incidents as answered; their alerts, evidence and devices come with one query each."""
    within = [row.id for row in rows]
    wanted = select(Alert).where(Alert.incident_id.in_(within)).order_by(Alert.alert_creation_time, Alert.id)
    alerts = session.scalars(wanted).all()
    evidence: dict[str, list[Evidence]] = defaultdict(list)
    belonging = select(Evidence).join(Alert, Alert.id == Evidence.alert_id)
    for item in session.scalars(belonging.where(Alert.incident_id.in_(within)).order_by(Evidence.id)):
        evidence[item.alert_id].append(item)
    devices = devices_of(session, alerts)
    received = {key: row for part in chunks(alerts) for key, row in received_alerts(session, part).items()}
    members: dict[int, list[answers.Entity]] = defaultdict(list)
    for alert in alerts:
        facts = (evidence[alert.id], devices.get(alert.machine_id or ""), received.get(alert.id))
        members[alert.incident_id].append(incident_shapes.alert(alert, *facts))
    return [incident_shapes.incident(row, members[row.id]) for row in rows]
