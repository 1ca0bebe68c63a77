"""Alerts on the paths of Graph: list, get, change, comment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.alert_changes import update_alerts
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.graph import pages, shapes
from shieldwall.api.graph.sets import ALERTS, DETERMINATION
from shieldwall.api.lookup import find_alert
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.api.vocabulary import CLASSIFICATION_WORDS
from shieldwall.identity.principal import Principal

router = new_router("Graph")

Reader = Annotated[Principal, Depends(requires("SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All"))]
Writer = Annotated[Principal, Depends(requires("SecurityAlert.ReadWrite.All"))]

CHANGE = Shape(
    Parameter("status", choices=choices("New", "InProgress", "Resolved")),
    Parameter("assignedTo", limit=200),
    Parameter("classification", choices=CLASSIFICATION_WORDS),
    Parameter("determination", choices=DETERMINATION),
)
COMMENT = Shape(Parameter("comment", required=True))


@router.get("/v1.0/security/alerts_v2", summary="List alerts (Graph)")
def list_alerts(request: Request, principal: Reader) -> Response:
    """Newest first, with evidence and comments. OData options apply."""
    options = read_options(request.url.query, ALERTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, ALERTS, options)
        items = pages.alerts(session, page.rows)
    return answers.collection(request, "security/alerts_v2", items, page, options)


@router.get("/v1.0/security/alerts_v2/$count", summary="Count alerts (Graph)")
def count_alerts(request: Request, principal: Reader) -> Response:
    options = read_options(request.url.query, ALERTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, ALERTS, options))


@router.get("/v1.0/security/alerts_v2/{alert_id}", summary="Get an alert (Graph)")
def get_alert(alert_id: str, request: Request, principal: Reader) -> Response:
    return _one(alert_id, request, principal)


@router.patch("/v1.0/security/alerts_v2/{alert_id}", summary="Update an alert (Graph)")
def patch_alert(
    alert_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(CHANGE)]
) -> Response:
    """Change status, assignedTo, classification or determination; the rest stays."""
    if not body:
        raise invalid_body("The request body changes nothing.")
    with services_of(request).database.session(principal.tenant_id) as session:
        update_alerts(session, principal, [alert_id], body)
    return _one(alert_id, request, principal)


@router.post("/v1.0/security/alerts_v2/{alert_id}/comments", summary="Comment on an alert (Graph)")
def comment(
    alert_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(COMMENT)]
) -> Response:
    """The answer has all comments of the alert, the new one last."""
    services = services_of(request)
    with services.database.session(principal.tenant_id) as session:
        update_alerts(session, principal, [alert_id], body)
    with services.database.read(principal.tenant_id) as session:
        row, _ = find_alert(session, alert_id)
        items = [shapes.comment(item) for item in row.comments]
    return answers.collection(request, f"security/alerts_v2('{row.id}')/comments", items)


def _one(alert_id: str, request: Request, principal: Principal) -> Response:
    options = read_options(request.url.query, ALERTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        row, _ = find_alert(session, alert_id)
        body = answers.selected(pages.alerts(session, [row])[0], options)
    return answers.entity(request, "security/alerts_v2", body)
