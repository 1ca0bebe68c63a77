"""Exceptions from security baselines: list, get, make, change, take back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Shape, invalid_body
from shieldwall.api.odata.fields import EntitySet, Field, Kind, by_name
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.errors import bad_request, not_found
from shieldwall.exposure import exemptions
from shieldwall.exposure.exemptions import CONFIGURATIONS_LIMIT, DEVICES_LIMIT
from shieldwall.exposure.labels import Label, read_labels
from shieldwall.exposure.models import BaselineException
from shieldwall.identity.principal import Principal
from shieldwall.times import now, parse, to_text

router = new_router("Posture")

Reader = Annotated[Principal, Depends(requires("SecurityBaselinesAssessment.Read.All"))]
Writer = Annotated[Principal, Depends(requires("Machine.ReadWrite.All"))]

_TEXTS = {
    "title": "title",
    "description": "description",
    "justification": "justification",
    "approvedBy": "approved_by",
    "softwareName": "software_name",
    "softwareVersion": "software_version",
    "complianceLevel": "compliance_level",
}
_LIMITS = {"description": 4000, "justification": 4000}
_CHANGES = tuple(Parameter(name, limit=_LIMITS.get(name, 300)) for name in _TEXTS)
EXCEPTION = Shape(
    Parameter("configurations", required=True, many=True, limit=300),
    Parameter("devices", many=True, limit=40),
    Parameter("dueDate", required=True, limit=40),
    *_CHANGES,
)
CHANGE = Shape(Parameter("dueDate", limit=40), *_CHANGES)
"""The service has these in its portal only; here they are operations like others."""

EXCEPTIONS = EntitySet(
    "BaselineExceptions",
    BaselineException,
    "id",
    by_name(
        [
            Field("id", Kind.LOWER, BaselineException.id),
            Field("title", Kind.TEXT, BaselineException.title),
            Field("justification", Kind.TEXT, BaselineException.justification),
            Field("benchmarkName", Kind.TEXT, BaselineException.benchmark_name),
            Field("dueDate", Kind.TIME, BaselineException.due_date),
            Field("createdOn", Kind.TIME, BaselineException.created_on),
            Field("lastModifiedOn", Kind.TIME, BaselineException.last_modified_on),
        ]
    ),
    order=(("createdOn", True),),
)


@router.get("/api/baselineExceptions", summary="List exceptions from baselines")
def list_exceptions(request: Request, principal: Reader) -> Response:
    """Newest first. OData options apply."""
    options = read_options(request.url.query, EXCEPTIONS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, EXCEPTIONS, options)
        items = [_shaped(session, row) for row in page.rows]
    return answers.collection(request, "BaselineExceptions", items, page, options)


@router.get("/api/baselineExceptions/{exception_id}", summary="Get an exception from baselines")
def get_exception(exception_id: str, request: Request, principal: Reader) -> Response:
    with services_of(request).database.read(principal.tenant_id) as session:
        body = _shaped(session, _find(session, exception_id))
    return answers.entity(request, "BaselineExceptions", body)


@router.post("/api/baselineExceptions", summary="Make an exception from baselines", status_code=201)
def create(request: Request, principal: Writer, body: Annotated[Body, Depends(EXCEPTION)]) -> Response:
    """Until `dueDate` devices are exempt from the configurations; all of them where none is named."""
    exemptions.check_reach()
    configurations = _bounded("configurations", body.pop("configurations"), CONFIGURATIONS_LIMIT)
    devices = _bounded("devices", body.pop("devices", []), DEVICES_LIMIT)
    if not configurations:
        raise invalid_body("configurations must name at least one.")
    services, values = services_of(request), _values(body)
    known = exemptions.known(services.telemetry, principal.tenant_id, configurations)
    with services.database.session(principal.tenant_id) as session:
        lowered = [device.lower() for device in devices]
        row = exemptions.create(session, principal, known, lowered, values)
        session.flush()
        answer = _shaped(session, row)
    return answers.entity(request, "BaselineExceptions", answer, 201)


@router.patch("/api/baselineExceptions/{exception_id}", summary="Change an exception from baselines")
def patch(
    exception_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(CHANGE)]
) -> Response:
    """Change the due date or texts; the rest stays."""
    exemptions.check_reach()
    if not body:
        raise invalid_body("The request body changes nothing.")
    with services_of(request).database.session(principal.tenant_id) as session:
        row = _find(session, exception_id)
        exemptions.change(session, principal, row, _values(body))
        answer = _shaped(session, row)
    return answers.entity(request, "BaselineExceptions", answer)


@router.delete("/api/baselineExceptions/{exception_id}", summary="Take an exception back", status_code=204)
def delete(exception_id: str, request: Request, principal: Writer) -> Response:
    exemptions.check_reach()
    with services_of(request).database.session(principal.tenant_id) as session:
        exemptions.remove(session, principal, _find(session, exception_id))
    return answers.nothing()


def _shaped(session: Session, row: BaselineException) -> Entity:
    labels = read_labels(session, row.devices)
    active = exemptions.is_active(row, now())
    return {
        "id": row.id,
        "title": row.title,
        "description": row.description,
        "justification": row.justification,
        "approvedBy": row.approved_by,
        "dueDate": to_text(row.due_date),
        "status": "Active" if active else "Expired",
        "isActive": active,
        "softwareName": row.software_name,
        "softwareVersion": row.software_version,
        "benchmarkName": row.benchmark_name,
        "benchmarkVersion": row.benchmark_version,
        "complianceLevel": row.compliance_level,
        "configurations": row.configurations,
        "devices": _devices(row.devices, labels),
        "createdOn": to_text(row.created_on),
        "requester": row.requester,
        "lastModifiedOn": to_text(row.last_modified_on),
        "lastModifiedBy": row.last_modified_by,
    }


def _devices(identifiers: list[str], labels: Any) -> list[Entity]:
    """Those that the caller may see."""
    found: list[tuple[str, Label | None]] = [(each, labels.get(each)) for each in identifiers]
    return [label.reference(identifier) for identifier, label in found if label is not None]


def _values(body: Body) -> dict[str, Any]:
    values: dict[str, Any] = {_TEXTS[name]: value for name, value in body.items() if name in _TEXTS}
    if "dueDate" in body:
        values["due_date"] = _due(body["dueDate"])
    return values


def _due(text: str) -> datetime:
    try:
        due = parse(text)
    except ValueError:
        raise invalid_body("dueDate must be a date.") from None
    if due <= now():
        raise bad_request("dueDate lies in the past.", "InvalidInput")
    return due


def _bounded(name: str, items: list[str], limit: int) -> list[str]:
    if len(items) > limit:
        raise invalid_body(f"{name} may name at most {limit}.")
    return items


def _find(session: Session, identifier: str) -> BaselineException:
    wanted = select(BaselineException).where(BaselineException.id == identifier.strip().lower())
    row = session.scalar(wanted)
    if row is None:
        raise not_found("Baseline exception", identifier[:100])
    return row
