"""Downloads by signed links, which are fetched without a token."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from shieldwall.api.access import services_of
from shieldwall.errors import ApiError
from shieldwall.response.models import MachineAction

router = APIRouter(tags=["Downloads"])

_NAME = "InvestigationPackage.zip"


@router.get(f"/downloads/{{action_id}}/{_NAME}", summary="Fetch an investigation package")
def package(action_id: str, request: Request, se: str = "", sig: str = "", tid: str = "") -> Response:
    """The zip behind a link of getPackageUri, whose query is the only credential."""
    path = services_of(request).packages.open_link(tid, action_id, se, sig)
    return FileResponse(
        path, media_type="application/zip", filename=_NAME, headers={"Cache-Control": "no-store"}
    )


@router.get("/downloads/{action_id}/LiveResponse/{index}", summary="Fetch the result of a command")
def result(
    action_id: str, index: str, request: Request, se: str = "", sig: str = "", tid: str = ""
) -> Response:
    """What is behind a link of GetLiveResponseResultDownloadLink: a gzip file, or a script's transcript."""
    if not (index.isascii() and index.isdigit() and len(index) < 4):
        raise ApiError(403, "Forbidden", "The link is not valid.")
    services = services_of(request)
    path = services.packages.open_link(tid, action_id, se, sig, int(index))
    name, media_type = _result_name(services.actions.get(tid, action_id), int(index))
    return FileResponse(path, media_type=media_type, filename=name, headers={"Cache-Control": "no-store"})


def _result_name(action: MachineAction, index: int) -> tuple[str, str]:
    """Clients take a file's name from here and cut off ``.gz``."""
    command = action.commands[index]["command"]
    values = {param["key"]: param["value"] for param in command["params"]}
    if command["type"] == "GetFile":
        plain = re.sub(r"[^\w.+@ -]", "_", re.split(r"[/\\]", values["Path"])[-1])[:200]
        return f"{plain or 'file'}.gz", "application/gzip"
    return f"{values.get('ScriptName', 'script')}.json", "application/json"
