"""The exposure score, of the organisation and by device group, and the configuration score."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.routing import router as new_router
from shieldwall.exposure import scores
from shieldwall.identity.principal import Principal
from shieldwall.times import now, to_text

router = new_router("Vulnerability management")

Reader = Annotated[Principal, Depends(requires("Score.Read.All"))]


@router.get("/api/exposureScore", summary="Get the exposure score")
def exposure(request: Request, principal: Reader) -> Response:
    """From 0 to 100; lower is better."""
    score = scores.exposure(services_of(request).telemetry, principal.tenant_id)
    return answers.entity(request, "ExposureScore", {"time": to_text(now()), "score": score})


@router.get("/api/exposureScore/ByMachineGroups", summary="List the exposure scores of device groups")
def exposure_by_groups(request: Request, principal: Reader) -> Response:
    """Groups none of whose devices was assessed are left out."""
    services = services_of(request)
    found = scores.exposure_by_group(services.telemetry, services.database, principal.tenant_id)
    time = to_text(now())
    items = [
        {"time": time, "score": each.score, "rbacGroupName": each.group_name, "rbacGroupId": each.group_id}
        for each in found
    ]
    return answers.collection(request, "ExposureScore", items)


@router.get("/api/configurationScore", summary="Get the configuration score")
def configuration(request: Request, principal: Reader) -> Response:
    """Points for configurations that devices keep to; higher is better."""
    score = scores.configuration(services_of(request).telemetry, principal.tenant_id)
    return answers.entity(request, "ConfigurationScore", {"time": to_text(now()), "score": score})
