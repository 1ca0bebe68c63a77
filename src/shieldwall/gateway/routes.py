"""The agent protocol over HTTP, as docs/agent-protocol.md says. Bodies of events are handed on as bytes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from shieldwall import log, metrics
from shieldwall.devices.enrolment import enrol
from shieldwall.devices.models import Device
from shieldwall.devices.reports import REPORT_BYTES, apply_report, store_reports
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.exposure.inventory import read_packages, store_packages
from shieldwall.gateway import bodies
from shieldwall.gateway.authentication import Caller, authenticate, digest
from shieldwall.gateway.messages import Poll, Told, is_correction, waiting
from shieldwall.identity.tls import ca_path
from shieldwall.response.kinds import LIVE_RESPONSE, OPEN, PACKAGES
from shieldwall.services import Services
from shieldwall.telemetry.ingest import Batch
from shieldwall.times import now, to_text

logger = log.get("gateway")

ENROL_BYTES = 64 << 10
RESULT_BYTES = 256 << 10
LONGEST_WAIT = 55.0
SAFETY_LOOK = 10.0
"""A poll looks again this often without being woken, for changes made by another server process."""

_BATCH = re.compile(r"([0-9a-f]{32}):(\d{1,18})")
_DIGEST = re.compile(r"[0-9a-f]{64}")


async def enrol_agent(request: Request) -> Response:
    services: Services = request.app.state.services
    body = bodies.json_object(await bodies.read(request, ENROL_BYTES))
    enrolled = await asyncio.to_thread(enrol, services.database, services.settings, body, _peer(request))
    ca = await asyncio.to_thread(ca_path(services.settings).read_text)
    return JSONResponse(
        {
            "device_id": enrolled.device_id,
            "certificate": enrolled.certificate,
            "ca": ca,
            "command_key": services.signer.public_key,
            "server_time": to_text(now()),
        }
    )


async def receive_events(request: Request) -> Response:
    """Store one batch and answer when it is durable."""
    services: Services = request.app.state.services
    body = await bodies.read(request, services.settings.ingest_max_compressed)
    caller = await authenticate(request, digest(body))
    place = _BATCH.fullmatch(request.headers.get("x-shieldwall-batch", ""))
    if place is None:
        raise bad_request("X-Shieldwall-Batch must be <32 hex digits>:<sequence>.")
    result = await services.ingester.submit(
        Batch(
            tenant_id=caller.tenant_id,
            device_id=caller.device_id,
            device_name=caller.device_name,
            device_group=caller.device_group,
            stream=place[1],
            sequence=int(place[2]),
            body=body,
            encoding=request.headers.get("content-encoding", "identity"),
        )
    )
    answer = {
        "stored": result.stored,
        "duplicate": result.duplicate,
        "rejected": [{"line": rejected.line, "reason": rejected.reason} for rejected in result.rejected],
    }
    return Response(orjson.dumps(answer), media_type="application/json")


async def receive_report(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await bodies.read(request, REPORT_BYTES)
    caller = await authenticate(request, digest(body))
    report = bodies.json_object(body)
    packages = read_packages(report)
    address = _peer(request)

    def store() -> None:
        with services.database.session(caller.tenant_id) as session:
            device = session.get(Device, caller.device_id)
            if device is None:
                raise not_found("Machine", caller.device_id)
            apply_report(device, report, address)
        store_reports(services.telemetry, [device])
        if packages is not None:
            store_packages(services.telemetry, device, packages)

    await asyncio.to_thread(store)
    return Response(status_code=204)


async def poll_messages(request: Request) -> Response:
    """Answer as soon as there is something to say, or 204 when the wait is over."""
    services: Services = request.app.state.services
    told: Told = request.app.state.told
    caller = await authenticate(request, digest(b""))
    poll, seconds = _poll(request)
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    with metrics.agents_polling.track_inprogress():
        while True:
            # The ticket is taken before the look, so that what comes in between ends the wait at once.
            ticket = services.wakeups.ticket(caller.tenant_id, caller.device_id)
            messages = await asyncio.to_thread(waiting, services, told, caller, poll)
            if messages:
                return JSONResponse({"messages": messages})
            left = deadline - clock()
            if left <= 0 or await request.is_disconnected():
                return Response(status_code=204)
            await services.wakeups.wait(caller.tenant_id, caller.device_id, ticket, min(left, SAFETY_LOOK))


async def receive_result(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await bodies.read(request, RESULT_BYTES)
    caller = await authenticate(request, digest(body))
    told = bodies.json_object(body)
    result = told.get("result")
    action_id = str(request.path_params["action_id"])
    if is_correction(action_id):
        # Nobody asked for it, so nothing is followed; whether it worked, the next poll says.
        status, error = str(told.get("status", ""))[:40], str(told.get("error") or "")[:1000]
        note = logger.warning if status == "Failed" else logger.info
        note("isolation corrected", device=caller.device_id, status=status, error=error)
        return Response(status_code=204)
    await asyncio.to_thread(
        services.actions.record_status,
        caller.tenant_id,
        caller.device_id,
        action_id,
        str(told.get("status", "")),
        str(told.get("error") or ""),
        result if isinstance(result, dict) else {},
    )
    return Response(status_code=204)


async def receive_upload(request: Request) -> Response:
    """Store an upload: the request is signed with its declared digest, which is checked as the body comes."""
    services: Services = request.app.state.services
    declared = request.headers.get("x-shieldwall-sha256", "").lower()
    if not _DIGEST.fullmatch(declared):
        raise bad_request("X-Shieldwall-SHA256 must be the body's SHA-256 in hex.")
    caller = await authenticate(request, declared)
    action_id = str(request.path_params["action_id"])
    index: int | None = request.path_params.get("index")
    await asyncio.to_thread(_check_upload, services, caller, action_id, index)
    await services.packages.receive(action_id, bodies.stream(request), declared, index)
    return Response(status_code=204)


def _check_upload(services: Services, caller: Caller, action_id: str, index: int | None) -> None:
    """An upload belongs to an open action of this very device: a package, or the result of a command."""
    action = services.actions.get(caller.tenant_id, action_id)
    kinds = PACKAGES if index is None else {LIVE_RESPONSE}
    if action.machine_id != caller.device_id or action.type not in kinds:
        raise not_found("Machine action", action_id)
    if index is not None and index >= len(action.commands):
        raise not_found("Command", str(index))
    if action.status not in OPEN:
        raise ApiError(409, "DisallowedOperation", f"The action has ended: {action.status}.")


async def send_library_file(request: Request) -> Response:
    """A file that an open live response or scan of this device names, by its hash."""
    services: Services = request.app.state.services
    caller = await authenticate(request, digest(b""))
    action_id = str(request.path_params["action_id"])
    wanted = str(request.path_params["sha256"])

    def find() -> Path:
        action = services.actions.get(caller.tenant_id, action_id)
        steps = [step.get("file", {}) for step in action.parameters.get("commands", ())]
        named = {file.get("sha256") for file in (*steps, *action.parameters.get("rules", ()))}
        path = services.library.content(caller.tenant_id, wanted) if wanted in named else None
        if action.machine_id != caller.device_id or action.status not in OPEN or path is None:
            raise not_found("Library file", wanted)
        return path

    return FileResponse(await asyncio.to_thread(find), media_type="application/octet-stream")


def _poll(request: Request) -> tuple[Poll, float]:
    asked = request.query_params
    try:
        revision = int(asked.get("revision", "0"))
        seconds = float(asked.get("wait", "25"))
    except ValueError:
        raise bad_request("revision and wait must be numbers.") from None
    isolated = {"0": False, "1": True}.get(asked.get("isolated", ""))
    return Poll(max(0, min(revision, 2**62)), isolated), max(0.0, min(seconds, LONGEST_WAIT))


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


routes = [
    Route("/agent/v1/enrol", enrol_agent, methods=["POST"]),
    Route("/agent/v1/events", receive_events, methods=["POST"]),
    Route("/agent/v1/report", receive_report, methods=["POST"]),
    Route("/agent/v1/messages", poll_messages, methods=["GET"]),
    Route("/agent/v1/actions/{action_id:uuid}", receive_result, methods=["POST"]),
    Route("/agent/v1/actions/{action_id:uuid}/package", receive_upload, methods=["PUT"]),
    Route("/agent/v1/actions/{action_id:uuid}/results/{index:int}", receive_upload, methods=["PUT"]),
    Route("/agent/v1/actions/{action_id:uuid}/files/{sha256}", send_library_file, methods=["GET"]),
]
