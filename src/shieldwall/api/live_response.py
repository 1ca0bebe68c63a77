"""Live response: run commands of the library on a device, and fetch what each of them gave."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.bodies import Body, Parameter, Passed
from shieldwall.api.machine_actions import PERMISSIONS, READ, answer, device_id_of
from shieldwall.api.routing import router as new_router
from shieldwall.errors import ApiError, bad_request, missing_parameter, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.response import live_response
from shieldwall.response.kinds import LIVE_RESPONSE

router = new_router("Live response")

Responder = Annotated[Principal, Depends(requires(*PERMISSIONS[LIVE_RESPONSE]))]
# Reading devices is enough for an application; a person needs what the session itself needed.
ResultReader = Annotated[Principal, Depends(requires(*READ, delegated=PERMISSIONS[LIVE_RESPONSE]))]
COMMANDS = Passed(Parameter("Commands", required=True, many=True), Parameter("Comment"))


@router.post("/api/machines/{machine_id}/runLiveResponse", summary="Run live response", status_code=201)
def run(
    machine_id: str, request: Request, principal: Responder, body: Annotated[Body, Depends(COMMANDS)]
) -> Response:
    """PutFile and RunScript take files of the library, GetFile a path; the first failure ends the session."""
    services = services_of(request)
    if not services.settings.live_response:
        raise ApiError(403, "DisabledFeature", "Live response is switched off.")
    device_id = device_id_of(request, principal, machine_id)
    if body.get("Commands") is None:
        raise missing_parameter("Commands")
    comment = body.get("Comment")
    if comment is not None and not isinstance(comment, str):
        raise bad_request("Comment must be a string.", "InvalidRequestBody")
    plan = live_response.plan(body["Commands"], lambda name: services.library.find(principal.tenant_id, name))
    return answer(request, services.actions.run_live_response(principal, device_id, comment, plan), 201)


@router.get(
    "/api/machineactions/{action_id}/GetLiveResponseResultDownloadLink(index={index})",
    summary="Get the link of a command's result",
)
def result_link(action_id: str, index: str, request: Request, principal: ResultReader) -> Response:
    """A link that needs no token and ends after half an hour. PutFile has no result."""
    services = services_of(request)
    action = services.actions.get(principal.tenant_id, action_id)
    if action.type != LIVE_RESPONSE:
        raise bad_request("The id is not of a LiveResponse action.", "InvalidInput")
    if not (index.isascii() and index.isdigit() and len(index) < 4):
        raise bad_request("index must be the number of a command.", "InvalidInput")
    number = int(index)
    if number >= len(action.commands) or not services.packages.has(action.id, number):
        raise not_found("Result of command", index)
    with services.database.session(principal.tenant_id) as session:
        audit.record(session, principal, "machineaction.result", action.id, detail={"index": number})
    link = services.packages.link(principal.tenant_id, action.id, number)
    return answers.value(request, "Edm.String", {"value": link})
