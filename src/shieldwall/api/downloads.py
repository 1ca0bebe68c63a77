"""Downloads by signed links, which are fetched without a token."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from shieldwall.api.access import services_of

router = APIRouter(tags=["Downloads"])

_NAME = "InvestigationPackage.zip"


@router.get(f"/downloads/{{action_id}}/{_NAME}", summary="Fetch an investigation package")
def package(action_id: str, request: Request, se: str = "", sig: str = "", tid: str = "") -> Response:
    """The zip behind a link of getPackageUri, whose query is the only credential."""
    path = services_of(request).packages.open_link(tid, action_id, se, sig)
    return FileResponse(
        path, media_type="application/zip", filename=_NAME, headers={"Cache-Control": "no-store"}
    )
