"""What else there is to know and to say of one device: its users, what it can do, groups, exclusion."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import func, select
from starlette.responses import Response

from shieldwall.api import answers, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, invalid_body, read_object
from shieldwall.api.lookup import find_device
from shieldwall.api.machine_actions import Reader, device_id_of
from shieldwall.api.routing import router as new_router
from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.investigations.levels import tenant_level
from shieldwall.response.kinds import (
    COLLECT_PACKAGE,
    ISOLATE,
    KINDS,
    LIVE_RESPONSE,
    OFFBOARD,
    OPEN,
    RESTRICT,
    SCAN,
    STOP_AND_QUARANTINE,
)
from shieldwall.response.models import MachineAction
from shieldwall.state import scope
from shieldwall.telemetry.logons import Logons, logons
from shieldwall.times import to_text

router = new_router("Machines")

REASON_LIMIT = 300
UNGROUPED = "UnassignedGroup"

UserReader = Annotated[Principal, Depends(requires("User.Read.All"))]
Writer = Annotated[Principal, Depends(requires("Machine.ReadWrite.All"))]

# As clients know them, each with the kind of action that it is here.
AVAILABLE = {
    "FullIsolation": ISOLATE,
    "SelectiveIsolation": ISOLATE,
    "RunAntiVirusScan": SCAN,
    "CollectInvestigationPackage": COLLECT_PACKAGE,
    "StopAndQuarantineFile": STOP_AND_QUARANTINE,
    "RestrictCodeExecution": RESTRICT,
    "InitiateInvestigation": "",
    "OffBoard": OFFBOARD,
    "RunCustomPlaybook": LIVE_RESPONSE,
}


@router.get("/api/machines/{machine_id}/logonusers", summary="Users of a device")
def users(machine_id: str, request: Request, principal: UserReader) -> Response:
    """Accounts that logged on within 30 days, the latest first."""
    device_id = device_id_of(request, principal, machine_id)
    found = logons(services_of(request).telemetry, principal.tenant_id, device_id)
    return answers.collection(request, "Users", [_user(device_id, each) for each in found])


@router.get("/api/machines/{machine_id}/availableMachineActions", summary="What a device can be asked for")
def available(machine_id: str, request: Request, principal: Reader) -> Response:
    """Not documented by Microsoft, but asked for by clients before they act."""
    services = services_of(request)
    with services.database.read(principal.tenant_id) as session:
        device = find_device(session, machine_id)
        busy = set(
            session.scalars(
                select(MachineAction.type).where(
                    MachineAction.machine_id == device.id, MachineAction.status.in_(OPEN)
                )
            )
        )
    items = []
    for name, kind in AVAILABLE.items():
        reason = _obstacle(device, kind, busy, services.settings.live_response)
        items.append({"action": name, "isAvailable": reason is None, "notSupportedReason": reason})
    return answers.collection(request, "Collection(ActionAvailabilityStatus)", items)


@router.get("/api/machines/{machine_id}/latestMachineActions", summary="Last actions of a device")
def latest(machine_id: str, request: Request, principal: Reader) -> Response:
    """The last action of each type."""
    device_id = device_id_of(request, principal, machine_id)
    place = func.row_number().over(
        partition_by=MachineAction.type, order_by=(MachineAction.creation_time.desc(), MachineAction.id)
    )
    ranked = (
        select(MachineAction.id, place.label("place"))
        .where(MachineAction.machine_id == device_id, MachineAction.tenant_id == principal.tenant_id)
        .subquery()
    )
    wanted = (
        select(MachineAction)
        .where(MachineAction.id.in_(select(ranked.c.id).where(ranked.c.place == 1)))
        .order_by(MachineAction.creation_time.desc(), MachineAction.id)
    )
    with services_of(request).database.read(principal.tenant_id) as session:
        items = [shapes.machine_action(row) for row in session.scalars(wanted)]
    return answers.collection(request, "MachineActions", items)


@router.post("/api/machines/{machine_id}/setExclusion", summary="Exclude a device")
def set_exclusion(
    machine_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(read_object)]
) -> Response:
    """Leave a device out of vulnerability management, or take it back with `isExcluded` false."""
    return _exclude(machine_id, request, principal, body)


@router.post("/api/machines/{machine_id}/setExclusionState", summary="Exclude a device (other name)")
def set_exclusion_state(
    machine_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(read_object)]
) -> Response:
    """The same, with `exclusionState` `Excluded` or `Included`."""
    return _exclude(machine_id, request, principal, body)


@router.get("/api/deviceGroups", summary="List device groups")
def groups(request: Request, principal: Reader) -> Response:
    """Groups with their numbers of devices; devices of no group are a group of their own, the last."""
    services = services_of(request)
    reach = scope.current()
    with services.database.read(principal.tenant_id) as session:
        sizes = dict(
            session.execute(
                select(func.coalesce(Device.device_group_id, 0), func.count()).group_by(
                    func.coalesce(Device.device_group_id, 0)
                )
            ).all()
        )
        level = tenant_level(session, principal.tenant_id, services.settings.automation_level)
        rows = [
            (row.id, row.name, row.automation_level or level)
            for row in session.scalars(select(DeviceGroup).order_by(DeviceGroup.id))
        ]
    items = [
        _group(number, name, place, sizes.get(number, 0), own)
        for place, (number, name, own) in enumerate([*rows, (0, UNGROUPED, level)], 1)
        if reach is None or number in reach.groups
    ]
    return answers.collection(request, "DeviceGroups", items)


def _obstacle(device: Device, kind: str, busy: set[str], live_response: bool) -> str | None:
    """Why a device cannot be asked for something; None when it can."""
    if device.revoked:
        return "The device was offboarded."
    if not device.public_key:
        return "The device has no agent."
    if kind == LIVE_RESPONSE and not live_response:
        return "Live response is switched off."
    if kind == ISOLATE and device.isolated:
        return "The device is isolated."
    if kind and not KINDS[kind].by_file and busy.intersection(KINDS[kind].excludes):
        return "Action is already in progress"
    return None


def _exclude(machine_id: str, request: Request, principal: Principal, body: Body) -> Response:
    given = {key.lower(): value for key, value in body.items()}
    excluded = _is_excluded(given)
    reason = next(
        (given[key] for key in ("exclusionreason", "justification", "comment") if given.get(key)), None
    )
    if reason is not None and (not isinstance(reason, str) or len(reason) > REASON_LIMIT):
        raise invalid_body(f"The reason must be a string of at most {REASON_LIMIT} characters.")
    with services_of(request).database.session(principal.tenant_id) as session:
        device = find_device(session, machine_id, lock=True)
        device.is_excluded = excluded
        device.exclusion_reason = reason if excluded else None
        detail = {"excluded": excluded, "reason": reason}
        audit.record(session, principal, "machine.exclusion", device.id, detail=detail)
        return answers.entity(request, "Machines", shapes.machine(device))


def _is_excluded(given: Body) -> bool:
    words = {"true": True, "excluded": True, "false": False, "included": False, "notexcluded": False}
    for key in ("isexcluded", "exclude", "exclusionstate"):
        value = given.get(key)
        if value is not None:
            found = words.get(str(value).strip().lower())
            if found is None:
                raise invalid_body(f"{key} must be true or false.")
            return found
    return True


def _group(number: int, name: str, priority: int, devices: int, level: str) -> Entity:
    return {
        "id": number,
        "priority": priority,
        "deviceGroupName": name,
        "isUnassignedDeviceGroup": number == 0,
        "automationLevel": level,
        "description": None,
        "deviceCount": devices,
        "lastUpdateTime": None,
        "aadUsersGroups": [],
        "deviceGroupRules": None,
    }


def _user(device_id: str, found: Logons) -> Entity:
    return {
        "id": f"{found.domain}\\{found.name}" if found.domain else found.name,
        "accountName": found.name,
        "accountDomain": found.domain or None,
        "accountSid": found.sid or None,
        # Clients read these times without a fraction.
        "firstSeen": to_text(found.first.replace(microsecond=0)),
        "lastSeen": to_text(found.last.replace(microsecond=0)),
        "mostPrevalentMachineId": device_id,
        "leastPrevalentMachineId": device_id,
        "logonTypes": ", ".join(found.types),
        "logOnMachinesCount": None,
        "isDomainAdmin": False,
        "isOnlyNetworkUser": found.types == ["Network"],
    }
