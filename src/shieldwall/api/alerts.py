"""Alerts: list, get, change, and what belongs to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.alerts.models import Evidence
from shieldwall.api import answers, shapes, users
from shieldwall.api.access import requires, services_of
from shieldwall.api.alert_changes import update_alerts
from shieldwall.api.alert_pages import alert_count, alert_page
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.lookup import find_alert, find_device
from shieldwall.api.routing import router as new_router
from shieldwall.api.vocabulary import VERDICT
from shieldwall.errors import ApiError, missing_parameter, not_found
from shieldwall.identity.principal import Principal

router = new_router("Alerts")

BATCH_LIMIT = 500

Reader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]
Writer = Annotated[Principal, Depends(requires("Alert.ReadWrite.All"))]


class IncidentNumber(Parameter):
    """The number of an incident, also as text; 0 or ``new`` stands for a new one."""

    def read(self, value: object) -> int:
        text = "0" if value in ("new", "New") else str(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise invalid_body(f"{self.name} must be the number of an incident, or 0 for a new one.")
        return int(text)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0}


_CHANGES = (
    Parameter("status", choices=choices("New", "InProgress", "Resolved")),
    *VERDICT,
    Parameter("comment"),
    IncidentNumber("incidentId"),
)
CHANGE = Shape(*_CHANGES)
BATCH_CHANGE = Shape(Parameter("alertIds", required=True, many=True, limit=80), *_CHANGES)


@router.get("/api/alerts", summary="List alerts")
def list_alerts(request: Request, principal: Reader) -> Response:
    """Newest first. OData options apply; `$expand=evidence` adds the evidence."""
    return alert_page(request, principal)


@router.get("/api/alerts/$count", summary="Count alerts")
def count_alerts(request: Request, principal: Reader) -> Response:
    return alert_count(request, principal)


@router.get("/api/alerts/{alert_id}", summary="Get an alert")
def get_alert(alert_id: str, request: Request, principal: Reader) -> Response:
    """One alert with its evidence."""
    with services_of(request).database.read(principal.tenant_id) as session:
        row, evidence = find_alert(session, alert_id)
        return answers.entity(request, "Alerts", shapes.alert(row, evidence))


@router.patch("/api/alerts/{alert_id}", summary="Update an alert")
def patch_alert(
    alert_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(CHANGE)]
) -> Response:
    """Change status, assignedTo, classification or determination, or add a comment; the rest stays.

    `incidentId` moves the alert to another incident, or to a new one with 0; there it stays.
    """
    if not body:
        raise invalid_body("The request body changes nothing.")
    services = services_of(request)
    with services.database.session(principal.tenant_id) as session:
        update_alerts(session, principal, [alert_id], body)
    return get_alert(alert_id, request, principal)


@router.post("/api/alerts/batchUpdate", summary="Update many alerts")
def update_batch(
    request: Request, principal: Writer, body: Annotated[Body, Depends(BATCH_CHANGE)]
) -> Response:
    """Change up to 500 alerts alike, all of them or none. The answer is empty."""
    identifiers = list(dict.fromkeys(body.pop("alertIds")))
    if not identifiers:
        raise missing_parameter("alertIds")
    if len(identifiers) > BATCH_LIMIT:
        raise ApiError(
            400,
            "MaximumBatchSizeExceeded",
            f"The batch has {len(identifiers)} alerts; at most {BATCH_LIMIT} are allowed.",
        )
    if not body:
        raise invalid_body("The request body changes nothing.")
    with services_of(request).database.session(principal.tenant_id) as session:
        update_alerts(session, principal, identifiers, body)
    return answers.nothing(200)


@router.get("/api/alerts/{alert_id}/domains", summary="Domains of an alert")
def domains(
    alert_id: str, request: Request, principal: Annotated[Principal, Depends(requires("URL.Read.All"))]
) -> Response:
    urls = (item.url for item in _evidence(request, principal, alert_id))
    hosts = [{"host": host} for host in shapes.hosts(urls)]
    return answers.collection(request, "Domains", hosts)


@router.get("/api/alerts/{alert_id}/files", summary="Files of an alert")
def files(
    alert_id: str, request: Request, principal: Annotated[Principal, Depends(requires("File.Read.All"))]
) -> Response:
    """Each file of the evidence once; what only the file itself could tell is null."""
    found: dict[str, Evidence] = {}
    for row in _evidence(request, principal, alert_id):
        if row.entity_type in ("File", "Process") and row.sha1:
            known = found.get(row.sha1)
            if known is None or (known.sha256 is None and row.sha256):
                found[row.sha1] = row
    return answers.collection(request, "Files", [shapes.file(row) for row in found.values()])


@router.get("/api/alerts/{alert_id}/ips", summary="Addresses of an alert")
def addresses(
    alert_id: str, request: Request, principal: Annotated[Principal, Depends(requires("Ip.Read.All"))]
) -> Response:
    rows = _evidence(request, principal, alert_id)
    found = dict.fromkeys(row.ip_address for row in rows if row.ip_address)
    return answers.collection(request, "Ips", [{"id": address} for address in found])


@router.get("/api/alerts/{alert_id}/machine", summary="Device of an alert")
def machine(
    alert_id: str,
    request: Request,
    principal: Annotated[Principal, Depends(requires("Machine.Read.All", "Machine.ReadWrite.All"))],
) -> Response:
    with services_of(request).database.read(principal.tenant_id) as session:
        row, _ = find_alert(session, alert_id)
        device = find_device(session, row.machine_id or "")
        return answers.entity(request, "Machines", shapes.machine(device))


@router.get("/api/alerts/{alert_id}/user", summary="User of an alert")
def user(
    alert_id: str, request: Request, principal: Annotated[Principal, Depends(requires("User.Read.All"))]
) -> Response:
    services = services_of(request)
    with services.database.read(principal.tenant_id) as session:
        row, evidence = find_alert(session, alert_id)
    who = users.account(row, evidence)
    if who is None:
        raise not_found("User of alert", alert_id)
    return answers.entity(request, "Users", users.user(services.telemetry, row, who))


def _evidence(request: Request, principal: Principal, alert_id: str) -> Sequence[Evidence]:
    with services_of(request).database.read(principal.tenant_id) as session:
        return find_alert(session, alert_id)[1]
