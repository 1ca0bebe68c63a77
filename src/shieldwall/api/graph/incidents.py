"""Incidents on the paths of Graph: list, get, change, comment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.alerts.models import Incident
from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.graph import pages, shapes
from shieldwall.api.graph.alerts import COMMENT
from shieldwall.api.graph.sets import DETERMINATION, INCIDENTS, SEVERITY
from shieldwall.api.incident_changes import update_incident
from shieldwall.api.incidents import find_incident, fitting
from shieldwall.api.odata.options import Options, read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.api.vocabulary import CLASSIFICATION_WORDS
from shieldwall.identity.principal import Principal

router = new_router("Graph")

Reader = Annotated[
    Principal, Depends(requires("SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"))
]
Writer = Annotated[Principal, Depends(requires("SecurityIncident.ReadWrite.All"))]

CHANGE = Shape(
    Parameter("status", choices=choices("Active", "InProgress", "Resolved")),
    Parameter("assignedTo", limit=200),
    Parameter("classification", choices=CLASSIFICATION_WORDS),
    Parameter("determination", choices=DETERMINATION),
    Parameter("severity", choices=SEVERITY),
    Parameter("displayName", limit=500),
    Parameter("customTags", many=True, limit=200),
    Parameter("description"),
    Parameter("summary"),
    Parameter("resolvingComment"),
)
_KEPT_AS = {"displayName": "name", "customTags": "tags"}


@router.get("/v1.0/security/incidents", summary="List incidents (Graph)")
def list_incidents(request: Request, principal: Reader) -> Response:
    """Newest first, at most 50 a page. OData options apply; `$expand=alerts` adds the alerts."""
    options = read_options(request.url.query, INCIDENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, INCIDENTS, options, fits=fitting if "alerts" in options.expand else None)
        items = _shaped(session, page.rows, options)
    return answers.collection(request, _context(options), items, page, options)


@router.get("/v1.0/security/incidents/$count", summary="Count incidents (Graph)")
def count_incidents(request: Request, principal: Reader) -> Response:
    options = read_options(request.url.query, INCIDENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, INCIDENTS, options))


@router.get("/v1.0/security/incidents/{incident_id}", summary="Get an incident (Graph)")
def get_incident(incident_id: str, request: Request, principal: Reader) -> Response:
    """One incident, with its alerts under `$expand=alerts`; a merged one names where it went."""
    options = read_options(request.url.query, INCIDENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        body = _shaped(session, [find_incident(session, incident_id)], options)[0]
    return answers.entity(request, _context(options), answers.selected(body, options))


@router.patch("/v1.0/security/incidents/{incident_id}", summary="Update an incident (Graph)")
def patch_incident(
    incident_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(CHANGE)]
) -> Response:
    """Change status, verdict, severity, assignedTo, name, tags or texts; the rest stays."""
    if not body:
        raise invalid_body("The request body changes nothing.")
    change = {_KEPT_AS.get(name, name): value for name, value in body.items()}
    with services_of(request).database.session(principal.tenant_id) as session:
        row = update_incident(session, principal, find_incident(session, incident_id).id, change)
        answer = shapes.incident(row)
    return answers.entity(request, "security/incidents", answer)


@router.post("/v1.0/security/incidents/{incident_id}/comments", summary="Comment on an incident (Graph)")
def comment(
    incident_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(COMMENT)]
) -> Response:
    """The answer has all comments of the incident, the new one last."""
    with services_of(request).database.session(principal.tenant_id) as session:
        row = update_incident(session, principal, find_incident(session, incident_id).id, body)
        items = [shapes.incident_comment(item) for item in row.comments]
    return answers.collection(request, f"security/incidents('{row.id}')/comments", items)


def _shaped(session: Session, rows: Sequence[Incident], options: Options) -> list[Entity]:
    items = [shapes.incident(row) for row in rows]
    if "alerts" in options.expand:
        found: dict[int, list[Any]] = pages.alerts_of(session, [row.id for row in rows])
        items = [{**item, "alerts": found.get(row.id, [])} for row, item in zip(rows, items, strict=True)]
    return items


def _context(options: Options) -> str:
    return "security/incidents(alerts())" if "alerts" in options.expand else "security/incidents"
