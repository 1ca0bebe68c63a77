"""Remediation tasks: what somebody asked to be done about a recommendation, and how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.odata import fields
from shieldwall.api.odata.fields import EntitySet, by_name
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.api.shapes import time_text
from shieldwall.exposure.labels import read_labels
from shieldwall.exposure.models import RemediationDevice, RemediationTask
from shieldwall.exposure.remediation import create_task, review
from shieldwall.identity.principal import Principal
from shieldwall.state.missing import missing
from shieldwall.times import parse, to_text

router = new_router("Vulnerability management")

Reader = Annotated[Principal, Depends(requires("RemediationTasks.Read.All"))]
Writer = Annotated[Principal, Depends(requires("Machine.ReadWrite.All"))]

TASK = Shape(
    Parameter("recommendationReference", required=True, limit=700),
    Parameter("priority", choices=choices("High", "Medium", "Low")),
    Parameter("dueOn", limit=40),
    Parameter("requesterNotes"),
)
"""The service has this in its portal only; here it is an operation like others."""

TASKS = EntitySet(
    "RemediationTasks",
    RemediationTask,
    "id",
    by_name(
        [
            fields.lower("id", RemediationTask.id),
            fields.text("title", RemediationTask.title),
            fields.time("createdOn", RemediationTask.created_on),
            fields.choice("status", RemediationTask.status, "Active", "Completed"),
            fields.time("statusLastModifiedOn", RemediationTask.status_last_modified_on),
            fields.time("dueOn", RemediationTask.due_on),
            fields.choice("priority", RemediationTask.priority, "High", "Medium", "Low"),
            fields.text("category", RemediationTask.category),
            fields.text("type", RemediationTask.type),
            fields.text("requesterId", RemediationTask.requester_id),
            fields.text("requesterEmail", RemediationTask.requester_email),
            fields.number("targetDevices", RemediationTask.target_devices),
            fields.number("fixedDevices", RemediationTask.fixed_devices),
            fields.text("scid", RemediationTask.scid),
            fields.text("vendorId", RemediationTask.vendor_id),
            fields.text("nameId", RemediationTask.name_id),
            fields.text("recommendationReference", RemediationTask.recommendation_reference),
        ]
    ),
    order=(("createdOn", True),),
)
DEVICES = EntitySet(
    "MachineReferences",
    RemediationDevice,
    "id",
    by_name([fields.lower("id", RemediationDevice.device_id)]),
)


@router.get("/api/remediationTasks", summary="List remediation tasks")
def list_tasks(request: Request, principal: Reader) -> Response:
    """Newest first. OData options apply."""
    options = read_options(request.url.query, TASKS)
    services = services_of(request)
    review(services.database, services.telemetry, principal.tenant_id)
    with services.database.read(principal.tenant_id) as session:
        page = fetch(session, TASKS, options)
        items = [task(row) for row in page.rows]
    return answers.collection(request, "RemediationTasks", items, page, options)


@router.post("/api/remediationTasks", summary="Request a remediation", status_code=201)
def create(request: Request, principal: Writer, body: Annotated[Body, Depends(TASK)]) -> Response:
    """For the devices that a recommendation is for now. The task is completed when all of them are fixed."""
    services = services_of(request)
    row = create_task(
        services.database,
        services.telemetry,
        principal.tenant_id,
        principal,
        body["recommendationReference"],
        priority=body.get("priority", "Medium"),
        due_on=_due(body.get("dueOn")),
        notes=body.get("requesterNotes"),
    )
    return answers.entity(request, "RemediationTasks", task(row), 201)


@router.get("/api/remediationTasks/{task_id}", summary="Get a remediation task")
def get_task(task_id: str, request: Request, principal: Reader) -> Response:
    services = services_of(request)
    review(services.database, services.telemetry, principal.tenant_id)
    with services.database.read(principal.tenant_id) as session:
        return answers.entity(request, "RemediationTasks", task(_find(session, task_id)))


@router.get("/api/remediationTasks/{task_id}/machineReferences", summary="Devices of a remediation task")
def task_devices(task_id: str, request: Request, principal: Reader) -> Response:
    options = read_options(request.url.query, DEVICES)
    with services_of(request).database.read(principal.tenant_id) as session:
        row = _find(session, task_id)
        page = fetch(session, DEVICES, options, RemediationDevice.task_id == row.id)
        labels = read_labels(session, [each.device_id for each in page.rows])
    items = [label.reference(each.device_id) for each in page.rows if (label := labels.get(each.device_id))]
    return answers.collection(request, "MachineReferences", items, page, options)


def task(row: RemediationTask) -> Entity:
    return {
        "id": row.id,
        "title": row.title,
        "createdOn": to_text(row.created_on),
        "requesterId": row.requester_id,
        "requesterEmail": row.requester_email,
        "status": row.status,
        "statusLastModifiedOn": to_text(row.status_last_modified_on),
        "description": row.description,
        "relatedComponent": row.related_component,
        "targetDevices": row.target_devices,
        "rbacGroupNames": row.rbac_group_names,
        "fixedDevices": row.fixed_devices,
        "requesterNotes": row.requester_notes,
        "dueOn": time_text(row.due_on),
        "category": row.category,
        "productivityImpactRemediationType": row.productivity_impact,
        "priority": row.priority,
        "completionMethod": row.completion_method,
        "completerId": row.completer_id,
        "completerEmail": row.completer_email,
        "scid": row.scid,
        "type": row.type,
        "productId": f"{row.vendor_id}-_-{row.name_id}" if row.name_id else "",
        "vendorId": row.vendor_id,
        "nameId": row.name_id,
        "recommendedVersion": row.recommended_version,
        "recommendedVendor": row.recommended_vendor,
        "recommendedProgram": row.recommended_program,
        "recommendationReference": row.recommendation_reference,
    }


def _due(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse(text)
    except ValueError:
        raise invalid_body("dueOn must be a date.") from None


def _find(session: Session, identifier: str) -> RemediationTask:
    row = session.scalar(select(RemediationTask).where(RemediationTask.id == identifier.lower()))
    if row is None:
        raise missing(session, "Remediation task", RemediationTask, identifier.lower())
    return row
