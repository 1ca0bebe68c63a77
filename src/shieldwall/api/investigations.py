"""Automated investigations: list, get, start; and what the service keeps in its portal, their remediation."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import or_, select
from starlette.responses import Response

from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body
from shieldwall.api.machine_actions import PERMISSIONS, PLAIN, device_id_of
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.devices.models import Device
from shieldwall.errors import not_found
from shieldwall.identity.principal import Principal
from shieldwall.investigations.models import Investigation
from shieldwall.response.kinds import STOP_AND_QUARANTINE

router = new_router("Investigations")

Reader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]
Starter = Annotated[Principal, Depends(requires("Alert.ReadWrite.All"))]
# Whoever approves does to the device what the action does.
Approver = Annotated[Principal, Depends(requires(*PERMISSIONS[STOP_AND_QUARANTINE]))]


@router.get("/api/investigations", summary="List investigations")
def list_investigations(request: Request, principal: Reader) -> Response:
    """Newest first. OData options apply."""
    options = read_options(request.url.query, sets.INVESTIGATIONS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.INVESTIGATIONS, options)
        items = [shapes.investigation(row) for row in page.rows]
    return answers.collection(request, "Investigations", items, page, options)


@router.get("/api/investigations/{identifier}", summary="Get an investigation")
def get_investigation(identifier: str, request: Request, principal: Reader) -> Response:
    """By its id, or that of the alert that it started from."""
    return answers.entity(
        request, "Investigations", shapes.investigation(_find(request, principal, identifier))
    )


@router.post(
    "/api/machines/{machine_id}/startInvestigation", summary="Start an investigation", status_code=201
)
def start(
    machine_id: str, request: Request, principal: Starter, body: Annotated[Body, Depends(PLAIN)]
) -> Response:
    """On a device that is being investigated already, answers that investigation."""
    device_id = device_id_of(request, principal, machine_id)
    row = services_of(request).investigations.start(principal, device_id, body.get("Comment"))
    return answers.entity(request, "Investigations", shapes.investigation(row), 201)


@router.post(
    "/api/machines/{machine_id}/initiateInvestigation",
    summary="Start an investigation (older name)",
    status_code=201,
)
def initiate(
    machine_id: str, request: Request, principal: Starter, body: Annotated[Body, Depends(PLAIN)]
) -> Response:
    return start(machine_id, request, principal, body)


@router.get("/api/investigations/{identifier}/evidence", summary="What an investigation judged")
def findings(identifier: str, request: Request, principal: Reader) -> Response:
    """Each file with its verdict and the reasons. Not of Microsoft's contract."""
    items = _visible(request, principal, _find(request, principal, identifier).findings)
    return answers.collection(request, "InvestigationEvidence", items)


@router.get("/api/investigations/{identifier}/actions", summary="Remediation of an investigation")
def actions(identifier: str, request: Request, principal: Reader) -> Response:
    """What is done, was done or waits for approval. Not of Microsoft's contract."""
    items = _visible(request, principal, _find(request, principal, identifier).actions)
    return answers.collection(request, "InvestigationActions", items)


@router.post("/api/investigations/{identifier}/actions/{number}/approve", summary="Approve remediation")
def approve(identifier: str, number: str, request: Request, principal: Approver) -> Response:
    """Not of Microsoft's contract, where only the portal does this."""
    return _decide(request, principal, identifier, number, True)


@router.post("/api/investigations/{identifier}/actions/{number}/reject", summary="Reject remediation")
def reject(identifier: str, number: str, request: Request, principal: Approver) -> Response:
    return _decide(request, principal, identifier, number, False)


def _decide(request: Request, principal: Principal, identifier: str, number: str, yes: bool) -> Response:
    row = _find(request, principal, identifier)
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise not_found("Remediation action", number[:20])
    decided = services_of(request).investigations.decide(principal, row.id, int(number), yes)
    return answers.entity(request, "Investigations", shapes.investigation(decided))


def _visible(request: Request, principal: Principal, items: list[Entity]) -> list[Entity]:
    """Those of devices that the caller reaches: an investigation may be of more."""
    names = {item["machineId"] for item in items}
    with services_of(request).database.read(principal.tenant_id) as session:
        reached = set(session.scalars(select(Device.id).where(Device.id.in_(names))))
    return [item for item in items if item["machineId"] in reached]


def _find(request: Request, principal: Principal, identifier: str) -> Investigation:
    same = [Investigation.triggering_alert_id == identifier]
    if identifier.isascii() and identifier.isdigit() and len(identifier) < 18:
        same.append(Investigation.id == int(identifier))
    wanted = select(Investigation).where(or_(*same)).limit(1)
    with services_of(request).database.read(principal.tenant_id) as session:
        row = session.scalar(wanted)
    if row is None:
        raise not_found("Investigation", identifier[:100])
    return row
