"""Authenticated scans: their definitions, the devices that run them, and what came of each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, Request
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Passed, invalid_body
from shieldwall.api.odata import fields
from shieldwall.api.odata.fields import EntitySet, by_name
from shieldwall.api.odata.options import read_options, read_query
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.api.scan_bodies import change_definition
from shieldwall.api.shapes import time_text
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError, bad_request, missing_parameter, not_found
from shieldwall.exposure.models import ScanDefinition, ScanSession
from shieldwall.exposure.scans import shown
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import unscoped
from shieldwall.times import now, to_text

router = new_router("Authenticated scans")

BATCH_LIMIT = 500
DEFINITIONS_LIMIT = 1000
"""Most scan definitions of a tenant."""
SESSIONS_LIMIT = 4096
UNSET = "0001-01-01T00:00:00Z"
_NAMES = (
    "scanType",
    "scanName",
    "isActive",
    "target",
    "intervalInHours",
    "targetType",
    "scannerAgent",
    "scanAuthenticationParams",
)
DEFINITION = Passed(*(Parameter(name) for name in _NAMES))
BATCH = Passed(Parameter("ScanDefinitionIds", many=True))
SESSIONS = Passed(Parameter("SessionIds", many=True))

# People need the permission that is named alike, as the documentation of scans has it.
Reader = Annotated[Principal, Depends(requires("Machine.Read.All", delegated=("Machine.Read.All",)))]
Writer = Annotated[Principal, Depends(requires("Machine.ReadWrite.All"))]

DEFINITIONS = EntitySet(
    "DeviceAuthenticatedScanDefinitions",
    ScanDefinition,
    "id",
    by_name(
        [
            fields.lower("id", ScanDefinition.id),
            fields.choice("scanType", ScanDefinition.scan_type, "Windows", "Network"),
            fields.text("scanName", ScanDefinition.scan_name),
            fields.flag("isActive", ScanDefinition.is_active),
            fields.text("target", ScanDefinition.target),
            fields.choice("targetType", ScanDefinition.target_type, "Ip", "Hostname"),
            fields.number("intervalInHours", ScanDefinition.interval_in_hours),
            fields.text("createdBy", ScanDefinition.created_by),
            fields.lower("orgId", ScanDefinition.tenant_id),
        ]
    ),
    order=(("id", False),),
)
AGENTS = EntitySet(
    "DeviceAuthenticatedScanAgents",
    Device,
    "machineId",
    by_name(
        [
            fields.lower("machineId", Device.id),
            fields.text("computerDnsName", Device.computer_dns_name),
            fields.time("lastSeen", Device.last_seen),
        ]
    ),
)


@router.get("/api/DeviceAuthenticatedScanDefinitions", summary="List scan definitions")
def list_definitions(request: Request, principal: Reader) -> Response:
    """OData options apply. Secrets are masked."""
    options = read_options(request.url.query, DEFINITIONS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, DEFINITIONS, options)
        items = [_definition(session, row, shown(row.authentication)) for row in page.rows]
    return answers.collection(request, DEFINITIONS.name, items, page, options)


@router.post("/api/DeviceAuthenticatedScanDefinitions", summary="Define a scan")
def create(request: Request, principal: Writer, body: Annotated[Body, Depends(DEFINITION)]) -> Response:
    """The answer does not repeat the credentials."""
    for name in _NAMES:
        if body.get(name) is None:
            raise missing_parameter(name)
    with services_of(request).database.session(principal.tenant_id) as session:
        with unscoped(session):
            present = session.scalar(select(func.count()).select_from(ScanDefinition)) or 0
        if present >= DEFINITIONS_LIMIT:
            raise bad_request(f"There are at most {DEFINITIONS_LIMIT} scan definitions.", "InvalidInput")
        row = ScanDefinition(id=str(uuid4()), created_by=principal.actor, created_time=now())
        change_definition(services_of(request).scan_secrets, session, row, body)
        session.add(row)
        session.flush()
        audit.record(session, principal, "scan.create", row.id, detail={"name": row.scan_name})
        return answers.entity(request, DEFINITIONS.name, _definition(session, row, None))


@router.patch("/api/DeviceAuthenticatedScanDefinitions/{definition_id}", summary="Update a scan definition")
def patch(
    definition_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(DEFINITION)]
) -> Response:
    """What is not named stays."""
    if not body:
        raise invalid_body("The request body changes nothing.")
    with services_of(request).database.session(principal.tenant_id) as session:
        wanted = select(ScanDefinition).where(ScanDefinition.id == definition_id.lower())
        row = session.scalar(wanted.with_for_update())
        if row is None:
            raise not_found("Scan definition", definition_id[:100])
        change_definition(services_of(request).scan_secrets, session, row, body)
        audit.record(session, principal, "scan.update", row.id, detail={"changed": sorted(body)})
        session.flush()
        return answers.entity(request, DEFINITIONS.name, _definition(session, row, None))


@router.post("/api/DeviceAuthenticatedScanDefinitions/BatchDelete", summary="Delete scan definitions")
def delete_many(request: Request, principal: Writer, body: Annotated[Body, Depends(BATCH)]) -> Response:
    """Up to 500; those that there are not are passed over. The answer is empty."""
    identifiers = [_guid(text) for text in _identifiers(body, "ScanDefinitionIds")]
    with services_of(request).database.session(principal.tenant_id) as session:
        known = select(ScanDefinition.id).where(ScanDefinition.id.in_(identifiers))
        for identifier in session.scalars(known).all():
            session.execute(delete(ScanDefinition).where(ScanDefinition.id == identifier))
            audit.record(session, principal, "scan.delete", identifier)
    return answers.nothing(200)


@router.get("/api/DeviceAuthenticatedScanAgents", summary="List devices that scan")
def list_agents(request: Request, principal: Reader) -> Response:
    """Devices that a scan definition names. OData options apply."""
    options = read_options(request.url.query, AGENTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, AGENTS, options, Device.id.in_(select(ScanDefinition.machine_id)))
        items = [_agent(session, row) for row in page.rows]
    return answers.collection(request, AGENTS.name, items, page, options)


@router.get("/api/DeviceAuthenticatedScanAgents/{agent_id}", summary="Get a device that scans")
def get_agent(agent_id: str, request: Request, principal: Reader) -> Response:
    """By the agent's id or by the device's alone."""
    machine_id = agent_id.lower().removeprefix(f"{principal.tenant_id}_")
    with services_of(request).database.read(principal.tenant_id) as session:
        scans = Device.id.in_(select(ScanDefinition.machine_id))
        row = session.scalar(select(Device).where(Device.id == machine_id, scans))
        if row is None:
            raise not_found("Scan agent", agent_id[:100])
        return answers.entity(request, AGENTS.name, _agent(session, row))


@router.post(
    "/api/DeviceAuthenticatedScanDefinitions/GetScanHistoryByScanDefinitionId",
    summary="List the runs of scan definitions",
)
def history(request: Request, principal: Reader, body: Annotated[Body, Depends(BATCH)]) -> Response:
    """Newest first; `$top` is at most 4096 runs."""
    identifiers = [_guid(text) for text in _identifiers(body, "ScanDefinitionIds")]
    top, skip = _bounds(request)
    with services_of(request).database.read(principal.tenant_id) as session:
        wanted = select(ScanSession).join(ScanDefinition, ScanDefinition.id == ScanSession.definition_id)
        wanted = wanted.where(ScanSession.definition_id.in_(identifiers)).limit(top).offset(skip)
        rows = session.scalars(wanted.order_by(ScanSession.time.desc(), ScanSession.id)).all()
    items = [
        {
            "ScanDefinitionIds": row.definition_id,
            "LastScanned": to_text(row.time),
            "ScanStatus": row.status,
            "ScannerId": row.machine_id,
        }
        for row in rows
    ]
    return _at_own_address(request, items)


@router.post(
    "/api/DeviceAuthenticatedScanDefinitions/GetScanHistoryBySessionId", summary="Get runs with their targets"
)
def sessions(request: Request, principal: Reader, body: Annotated[Body, Depends(SESSIONS)]) -> Response:
    identifiers = [text.replace("-", "").lower() for text in _identifiers(body, "SessionIds")]
    with services_of(request).database.read(principal.tenant_id) as session:
        wanted = select(ScanSession).join(ScanDefinition, ScanDefinition.id == ScanSession.definition_id)
        wanted = wanted.where(ScanSession.id.in_(identifiers)).order_by(
            ScanSession.time.desc(), ScanSession.id
        )
        rows = session.scalars(wanted).all()
    items = [
        {
            "orgId": row.tenant_id,
            "ScanDefinitionIds": row.definition_id,
            "SessionIds": row.id,
            "NumberOfSuccessfullyScannedTargets": row.succeeded,
            "NumberOfTargets": len(row.targets),
            "ScanStatus": row.status,
            "LastScanned": to_text(row.time),
            "ListScannedTargets": row.targets,
        }
        for row in rows
    ]
    return _at_own_address(request, items)


def _definition(session: Session, row: ScanDefinition, credentials: Entity | None) -> Entity:
    latest = session.scalar(
        select(ScanSession)
        .where(ScanSession.definition_id == row.id)
        .order_by(ScanSession.time.desc())
        .limit(1)
    )
    device = session.scalar(select(Device).where(Device.id == row.machine_id))
    return {
        "id": row.id,
        "scanType": row.scan_type,
        "scanName": row.scan_name,
        "isActive": row.is_active,
        "target": row.target,
        "orgId": row.tenant_id,
        "intervalInHours": row.interval_in_hours,
        "createdBy": row.created_by,
        "targetType": row.target_type,
        "scanAuthenticationParams": credentials,
        "scannerAgent": None if device is None else _scanner(session, device),
        "latestScan": {
            "status": latest.status if latest else None,
            "failureReason": latest.failure_reason if latest else None,
            "executionDateTime": time_text(latest.time) if latest else None,
        },
        "isTroubleshootMode": False,
        "advancedActiveConfiguration": None,
    }


def _scanner(session: Session, row: Device) -> Entity:
    return {
        "id": f"{row.tenant_id}_{row.id}",
        "machineId": row.id,
        "machineName": row.computer_dns_name,
        "lastSeen": to_text(row.last_seen),
        "assignedApplicationId": None,
        "scannerSoftwareVersion": row.agent_version,
        "lastCommandExecutionTimestamp": _last_run(session, row) or UNSET,
        "mdeClientVersion": row.agent_version,
    }


def _agent(session: Session, row: Device) -> Entity:
    known = _scanner(session, row)
    name = known.pop("machineName")
    return {**known, "computerDnsName": name}


def _last_run(session: Session, row: Device) -> str | None:
    newest = select(func.max(ScanSession.time)).where(ScanSession.machine_id == row.id)
    return time_text(session.scalar(newest))


def _identifiers(body: Body, name: str) -> Sequence[str]:
    """A list of ids, or one alone: the documentation shows both."""
    given = body.get(name)
    if given is None:
        raise missing_parameter(name)
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list) or not all(isinstance(item, str) and len(item) <= 64 for item in items):
        raise invalid_body(f"{name} must be a list of strings.")
    if len(items) > BATCH_LIMIT:
        message = f"The batch has {len(items)} ids; at most {BATCH_LIMIT} are allowed."
        raise ApiError(400, "MaximumBatchSizeExceeded", message)
    return items


def _guid(text: str) -> str:
    try:
        return str(UUID(text.strip()))
    except ValueError:
        raise invalid_body(f"{text[:64]!r} is not a GUID.") from None


def _bounds(request: Request) -> tuple[int, int]:
    named = {name.lower().lstrip("$"): value.strip() for name, value in read_query(request.url.query)}
    found = []
    for name, usual, most in (("top", SESSIONS_LIMIT, SESSIONS_LIMIT), ("skip", 0, 10_000_000)):
        text = named.get(name) or str(usual)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
            raise bad_request(f"${name} must be a number of at most {most}.", "ODataError")
        found.append(int(text))
    return found[0], found[1]


def _at_own_address(request: Request, items: list[Entity]) -> Response:
    """A list whose context is the request's own address, as the service answers here."""
    context = f"{answers.base_url(request)}{request.url.path}"
    return answers.json({"@odata.context": context, "value": items})
