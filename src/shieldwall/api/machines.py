"""Devices, which the API calls machines: list, get, find, tags, value, and their alerts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.alerts.models import Alert
from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.alert_pages import alert_count, alert_page
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.lookup import find_device, find_device_id
from shieldwall.api.odata.options import read_options, read_query
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.devices.models import Device, DeviceTag
from shieldwall.errors import ApiError, missing_parameter
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal

router = new_router("Machines")

TAG_LIMIT = 200
TAGS_LIMIT = 100
"""Most tags of one device."""
BATCH_LIMIT = 500

Reader = Annotated[Principal, Depends(requires("Machine.Read.All", "Machine.ReadWrite.All"))]
Writer = Annotated[Principal, Depends(requires("Machine.ReadWrite.All"))]
AlertReader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]

_TAG = (
    Parameter("Value", required=True, limit=TAG_LIMIT),
    Parameter("Action", required=True, choices=choices("Add", "Remove")),
)
TAG = Shape(*_TAG)
TAG_BATCH = Shape(*_TAG, Parameter("MachineIds", required=True, many=True, limit=255))
VALUE = Shape(Parameter("DeviceValue", required=True, choices=choices(*sets.DEVICE_VALUES)))
CHANGE = Shape(
    Parameter("machineTags", many=True, limit=TAG_LIMIT),
    Parameter("deviceValue", choices=choices(*sets.DEVICE_VALUES)),
)


@router.get("/api/machines", summary="List devices")
def list_machines(request: Request, principal: Reader) -> Response:
    """OData options apply."""
    options = read_options(request.url.query, sets.MACHINES)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.MACHINES, options)
        items = [shapes.machine(row) for row in page.rows]
    return answers.collection(request, "Machines", items, page, options)


@router.get("/api/machines/$count", summary="Count devices")
def count_machines(request: Request, principal: Reader) -> Response:
    options = read_options(request.url.query, sets.MACHINES)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, sets.MACHINES, options))


@router.get("/api/machines/findbytag", summary="Find devices by tag")
def find_by_tag(request: Request, principal: Reader) -> Response:
    """`tag` is the tag, or the start of it with `useStartsWithFilter=true`."""
    options = {name.lower(): text for name, text in read_query(request.url.query)}
    tag = options.get("tag", "")
    if not tag or "\x00" in tag:
        raise missing_parameter("tag")
    same = (
        DeviceTag.tag.istartswith(tag, autoescape=True)
        if options.get("usestartswithfilter", "").lower() == "true"
        else func.lower(DeviceTag.tag) == func.lower(tag)
    )
    wanted = select(Device).where(Device.tags.any(same)).order_by(Device.id)
    with services_of(request).database.read(principal.tenant_id) as session:
        items = [shapes.machine(row) for row in session.scalars(wanted.limit(sets.MACHINES.page_limit))]
    return answers.collection(request, "Machines", items)


@router.post("/api/machines/AddOrRemoveTagForMultipleMachines", summary="Tag many devices")
def tag_many(request: Request, principal: Writer, body: Annotated[Body, Depends(TAG_BATCH)]) -> Response:
    """Add or remove one tag on up to 500 devices, all of them or none."""
    identifiers = body["MachineIds"]
    if len(identifiers) > BATCH_LIMIT:
        raise ApiError(
            400,
            "MaximumBatchSizeExceeded",
            f"The batch has {len(identifiers)} machines; at most {BATCH_LIMIT} are allowed.",
        )
    with services_of(request).database.session(principal.tenant_id) as session:
        wanted = [find_device_id(session, each) for each in identifiers]
        # Locked in one order, so that two batches never wait for each other.
        found = {each: find_device(session, each, lock=True) for each in sorted(set(wanted))}
        for device in found.values():
            _change_tag(session, principal, device, body)
        items = [shapes.machine(found[each]) for each in dict.fromkeys(wanted)]
    return answers.collection(request, "Machines", items)


@router.get("/api/machines/{machine_id}", summary="Get a device")
def get_machine(machine_id: str, request: Request, principal: Reader) -> Response:
    """By id, DNS name or aadDeviceId."""
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.entity(request, "Machines", shapes.machine(find_device(session, machine_id)))


@router.patch("/api/machines/{machine_id}", summary="Update a device")
def patch_machine(
    machine_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(CHANGE)]
) -> Response:
    """Set the device's value, or all of its tags: `machineTags` is the whole new list."""
    if not body:
        raise invalid_body("The request body changes nothing.")
    with services_of(request).database.session(principal.tenant_id) as session:
        device = find_device(session, machine_id, lock=True)
        if "deviceValue" in body:
            device.device_value = body["deviceValue"]
        if "machineTags" in body:
            _set_tags(device, list(dict.fromkeys(_tag(tag) for tag in body["machineTags"])))
        audit.record(session, principal, "machine.update", device.id, detail=body)
        session.flush()
        return answers.entity(request, "Machines", shapes.machine(device))


@router.post("/api/machines/{machine_id}/tags", summary="Add or remove a tag")
def change_tag(
    machine_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(TAG)]
) -> Response:
    with services_of(request).database.session(principal.tenant_id) as session:
        device = find_device(session, machine_id, lock=True)
        _change_tag(session, principal, device, body)
        return answers.entity(request, "Machines", shapes.machine(device))


@router.post("/api/machines/{machine_id}/setDeviceValue", summary="Set a device's value")
def set_value(
    machine_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(VALUE)]
) -> Response:
    with services_of(request).database.session(principal.tenant_id) as session:
        device = find_device(session, machine_id, lock=True)
        device.device_value = body["DeviceValue"]
        audit.record(session, principal, "machine.value", device.id, detail=body)
        return answers.entity(request, "Machines", shapes.machine(device))


@router.get("/api/machines/{machine_id}/alerts", summary="Alerts of a device")
def machine_alerts(machine_id: str, request: Request, principal: AlertReader) -> Response:
    """OData options apply, as to all alerts."""
    return alert_page(request, principal, Alert.machine_id == _id_of(request, principal, machine_id))


@router.get("/api/machines/{machine_id}/alerts/$count", summary="Count the alerts of a device")
def machine_alert_count(machine_id: str, request: Request, principal: AlertReader) -> Response:
    return alert_count(request, principal, Alert.machine_id == _id_of(request, principal, machine_id))


def _id_of(request: Request, principal: Principal, identifier: str) -> str:
    with services_of(request).database.read(principal.tenant_id) as session:
        return find_device_id(session, identifier)


def _change_tag(session: Session, principal: Principal, device: Device, body: Body) -> None:
    tag = _tag(body["Value"])
    tags = [known.tag for known in device.tags]
    if body["Action"] == "Add" and tag not in tags:
        _set_tags(device, [*tags, tag])
    elif body["Action"] == "Remove" and tag in tags:
        _set_tags(device, [known for known in tags if known != tag])
    audit.record(session, principal, f"machine.tag.{body['Action'].lower()}", device.id, detail={"tag": tag})
    session.flush()


def _tag(text: str) -> str:
    tag = text.strip()
    if not tag:
        raise missing_parameter("Value")
    return tag


def _set_tags(device: Device, tags: list[str]) -> None:
    if len(tags) > TAGS_LIMIT:
        raise ApiError(400, "InvalidInput", f"A device has at most {TAGS_LIMIT} tags.")
    known = {row.tag: row for row in device.tags}
    device.tags = [
        known.get(tag) or DeviceTag(tenant_id=device.tenant_id, device_id=device.id, tag=tag) for tag in tags
    ]
    for position, row in enumerate(device.tags):
        row.position = position
