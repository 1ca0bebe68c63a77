"""Incidents with their alerts."""

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
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.devices.models import Device
from shieldwall.errors import not_found
from shieldwall.identity.principal import Principal

router = new_router("Incidents")

Reader = Annotated[Principal, Depends(requires("Incident.Read.All", "Incident.ReadWrite.All"))]


@router.get("/api/incidents", summary="List incidents")
def list_incidents(request: Request, principal: Reader) -> Response:
    """Newest first, at most 100 a page, each with its alerts. OData options apply."""
    options = read_options(request.url.query, sets.INCIDENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.INCIDENTS, options)
        items = _with_alerts(session, page.rows)
    return answers.collection(request, "Incidents", items, page, options)


@router.get("/api/incidents/{incident_id}", summary="Get an incident")
def get_incident(incident_id: str, request: Request, principal: Reader) -> Response:
    """One incident with its alerts; one that was merged names the incident it went into."""
    if not (incident_id.isascii() and incident_id.isdigit() and len(incident_id) < 19):
        raise not_found("Incident", incident_id[:40])
    with services_of(request).database.read(principal.tenant_id) as session:
        row = session.scalar(select(Incident).where(Incident.id == int(incident_id)))
        if row is None:
            raise not_found("Incident", incident_id)
        return answers.entity(request, "Incidents", _with_alerts(session, [row])[0])


def _with_alerts(session: Session, rows: Sequence[Incident]) -> list[answers.Entity]:
    """Incidents as answered; their alerts, evidence and devices come with one query each."""
    within = [row.id for row in rows]
    wanted = select(Alert).where(Alert.incident_id.in_(within)).order_by(Alert.alert_creation_time, Alert.id)
    alerts = session.scalars(wanted).all()
    evidence: dict[str, list[Evidence]] = defaultdict(list)
    belonging = select(Evidence).join(Alert, Alert.id == Evidence.alert_id)
    for item in session.scalars(belonging.where(Alert.incident_id.in_(within)).order_by(Evidence.id)):
        evidence[item.alert_id].append(item)
    machines = {alert.machine_id for alert in alerts if alert.machine_id}
    devices = {row.id: row for row in session.scalars(select(Device).where(Device.id.in_(machines)))}
    members: dict[int, list[answers.Entity]] = defaultdict(list)
    for alert in alerts:
        device = devices.get(alert.machine_id or "")
        members[alert.incident_id].append(incident_shapes.alert(alert, evidence[alert.id], device))
    return [incident_shapes.incident(row, members[row.id]) for row in rows]
