"""Machine actions: ask a device to do something, follow it, cancel it, fetch what it collected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import check, requires, services_of
from shieldwall.api.bodies import Body, Parameter, Shape, choices
from shieldwall.api.lookup import find_device_id
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.errors import bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.response.actions import SCAN_TYPES, ActionService
from shieldwall.response.kinds import (
    COLLECT_LOGS,
    COLLECT_PACKAGE,
    ISOLATE,
    LIVE_RESPONSE,
    OFFBOARD,
    PACKAGES,
    RESTRICT,
    SCAN,
    STOP_AND_QUARANTINE,
    UNISOLATE,
    UNRESTRICT,
)
from shieldwall.response.models import MachineAction

router = new_router("Machine actions")

PERMISSIONS = {
    ISOLATE: ("Machine.Isolate",),
    UNISOLATE: ("Machine.Isolate",),
    # The documentation names the permissions to read devices here too; reading must not stop processes.
    STOP_AND_QUARANTINE: ("Machine.StopAndQuarantine",),
    COLLECT_PACKAGE: ("Machine.CollectForensics",),
    COLLECT_LOGS: ("Machine.CollectForensics",),
    RESTRICT: ("Machine.RestrictExecution",),
    UNRESTRICT: ("Machine.RestrictExecution",),
    SCAN: ("Machine.Scan",),
    OFFBOARD: ("Machine.Offboard",),
    LIVE_RESPONSE: ("Machine.LiveResponse",),
}
"""What an application must hold, one of them, to ask for an action of each type, and to cancel it."""

READ = ("Machine.Read.All", "Machine.ReadWrite.All")

Reader = Annotated[Principal, Depends(requires(*READ))]
# Reading devices is enough for an application; a person needs what the action itself needed.
PackageReader = Annotated[Principal, Depends(requires(*READ, delegated=PERMISSIONS[COLLECT_PACKAGE]))]
Act = Callable[[ActionService, Principal, str, str | None], MachineAction]
Isolator = Annotated[Principal, Depends(requires(*PERMISSIONS[ISOLATE]))]
Quarantiner = Annotated[Principal, Depends(requires(*PERMISSIONS[STOP_AND_QUARANTINE]))]
Scanner = Annotated[Principal, Depends(requires(*PERMISSIONS[SCAN]))]
Canceller = Annotated[
    Principal, Depends(requires(*dict.fromkeys(name for names in PERMISSIONS.values() for name in names)))
]

COMMENT = Parameter("Comment", required=True, nullable=True)
ISOLATION = Shape(COMMENT, Parameter("IsolationType", limit=40))
PLAIN = Shape(COMMENT)
FILE = Shape(COMMENT, Parameter("Sha1", required=True, limit=200))
SCANNING = Shape(COMMENT, Parameter("ScanType", required=True, choices=choices(*SCAN_TYPES)))
CANCELLATION = Shape(Parameter("Comment"))


@router.get("/api/machineactions", summary="List machine actions")
def list_actions(request: Request, principal: Reader) -> Response:
    """Newest first. OData options apply."""
    return _page(request, principal)


@router.get("/api/machineactions/$count", summary="Count machine actions")
def count_actions(request: Request, principal: Reader) -> Response:
    options = read_options(request.url.query, sets.MACHINE_ACTIONS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, sets.MACHINE_ACTIONS, options))


@router.get("/api/machines/{machine_id}/machineactions", summary="Actions of a device")
def machine_actions(machine_id: str, request: Request, principal: Reader) -> Response:
    device_id = device_id_of(request, principal, machine_id)
    return _page(request, principal, MachineAction.machine_id == device_id)


@router.get("/api/machineactions/{action_id}", summary="Get a machine action")
def get_action(action_id: str, request: Request, principal: Reader) -> Response:
    return answer(request, services_of(request).actions.get(principal.tenant_id, action_id))


@router.post("/api/machineactions/{action_id}/cancel", summary="Cancel a machine action")
def cancel(
    action_id: str, request: Request, principal: Canceller, body: Annotated[Body, Depends(CANCELLATION)]
) -> Response:
    """End an action that is still open. Needs the permission that its type needs."""
    actions = services_of(request).actions
    kind = actions.get(principal.tenant_id, action_id).type
    check(principal, PERMISSIONS[kind])
    return answer(request, actions.cancel(principal, action_id, body.get("Comment")))


@router.get("/api/machineactions/{action_id}/getPackageUri", summary="Get the link of a package")
def package_uri(action_id: str, request: Request, principal: PackageReader) -> Response:
    """A link that needs no token and ends after half an hour; 404 until the collection has succeeded.

    The link stands there plainly: the quotes inside it, which one sample of the documentation has, are
    stripped by some clients and break the others.
    """
    services = services_of(request)
    action = services.actions.get(principal.tenant_id, action_id)
    if action.type not in PACKAGES:
        raise bad_request("The id is not of a CollectInvestigationPackage action.", "InvalidInput")
    if action.status != "Succeeded" or not services.packages.has(action.id):
        raise not_found("Package of machine action", action.id)
    link = services.packages.link(principal.tenant_id, action.id)
    with services.database.session(principal.tenant_id) as session:
        audit.record(session, principal, "machineaction.package", action.id)
    return answers.value(request, "Edm.String", {"value": link})


@router.post("/api/machines/{machine_id}/isolate", summary="Isolate a device", status_code=201)
def isolate(
    machine_id: str, request: Request, principal: Isolator, body: Annotated[Body, Depends(ISOLATION)]
) -> Response:
    """Cut a device off from everything but this server."""
    device_id = device_id_of(request, principal, machine_id)
    kind = body.get("IsolationType")
    return answer(
        request, services_of(request).actions.isolate(principal, device_id, body.get("Comment"), kind), 201
    )


@router.post(
    "/api/machines/{machine_id}/StopAndQuarantineFile",
    summary="Stop and quarantine a file",
    status_code=201,
)
def stop_and_quarantine(
    machine_id: str, request: Request, principal: Quarantiner, body: Annotated[Body, Depends(FILE)]
) -> Response:
    """Stop the processes of a file on one device and lock the file away there."""
    device_id = device_id_of(request, principal, machine_id)
    actions = services_of(request).actions
    return answer(
        request, actions.stop_and_quarantine(principal, device_id, body.get("Comment"), body["Sha1"]), 201
    )


@router.post("/api/machines/{machine_id}/runAntiVirusScan", summary="Scan a device", status_code=201)
def scan(
    machine_id: str, request: Request, principal: Scanner, body: Annotated[Body, Depends(SCANNING)]
) -> Response:
    """Look for listed hashes and matching rules, in the usual places (Quick) or everywhere (Full).

    Rules are the YARA files of the library, whose names end in `.yar` or `.yara`.
    """
    device_id = device_id_of(request, principal, machine_id)
    services = services_of(request)
    rules = services.library.rules(principal.tenant_id)
    row = services.actions.scan(principal, device_id, body.get("Comment"), body["ScanType"], rules)
    return answer(request, row, 201)


def _by_comment(
    kind: str, name: str, summary: str, act: Act, about: str | None = None, status: int = 201
) -> None:
    """Add the operation ``name``, which asks a device for an action and needs to be told nothing but why."""

    def ask(
        machine_id: str,
        request: Request,
        principal: Principal = Depends(requires(*PERMISSIONS[kind])),
        body: Body = Depends(PLAIN),
    ) -> Response:
        device_id = device_id_of(request, principal, machine_id)
        made = act(services_of(request).actions, principal, device_id, body.get("Comment"))
        return answer(request, made, status)

    path = f"/api/machines/{{machine_id}}/{name}"
    router.post(path, summary=summary, description=about, status_code=status, name=name)(ask)


_by_comment(UNISOLATE, "unisolate", "Release a device", ActionService.unisolate)
_by_comment(
    COLLECT_PACKAGE,
    "collectInvestigationPackage",
    "Collect an investigation package",
    ActionService.collect_package,
)
_by_comment(
    COLLECT_LOGS,
    "logsCollection",
    "Collect the sensor's logs",
    ActionService.collect_logs,
    "They come as a package, whose link `getPackageUri` gives.",
)
_by_comment(
    RESTRICT,
    "restrictCodeExecution",
    "Restrict what runs on a device",
    ActionService.restrict,
    "Let only files of the system's own folders and installed packages run.",
)
_by_comment(
    UNRESTRICT,
    "unrestrictCodeExecution",
    "Let everything run again on a device",
    ActionService.unrestrict,
)
_by_comment(
    OFFBOARD,
    "offboard",
    "Offboard a device",
    ActionService.offboard,
    "Make a device's agent remove itself; its key is refused from then on. Answers 200, as documented.",
    200,
)


def _page(request: Request, principal: Principal, *where: Condition) -> Response:
    options = read_options(request.url.query, sets.MACHINE_ACTIONS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.MACHINE_ACTIONS, options, *where)
        items = [shapes.machine_action(row) for row in page.rows]
    return answers.collection(request, "MachineActions", items, page, options)


def answer(request: Request, row: MachineAction, status: int = 200) -> Response:
    return answers.entity(request, "MachineActions", shapes.machine_action(row), status)


def device_id_of(request: Request, principal: Principal, identifier: str) -> str:
    """The id of a device that a path names in any way; some clients name it by its aadDeviceId."""
    with services_of(request).database.read(principal.tenant_id) as session:
        return find_device_id(session, identifier)
