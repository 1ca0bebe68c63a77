"""Lines of agents that could not be stored, for those who look after agents; Defender has nothing like it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.routing import router as new_router
from shieldwall.identity.principal import Principal
from shieldwall.telemetry.deadletters import list_rejects
from shieldwall.times import to_text

router = new_router("Service")

Reader = Annotated[Principal, Depends(requires("AdvancedQuery.Read.All"))]


@router.get("/api/rejects", summary="List rejected lines")
def rejects(
    request: Request,
    principal: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    device: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """What agents sent and could not be stored, newest first, with the reason; of one device or of all."""
    store = services_of(request).telemetry
    letters = list_rejects(store, principal.tenant_id, limit, device.lower())
    items = [
        {
            "time": to_text(letter.time),
            "machineId": letter.device_id,
            "stream": letter.stream,
            "sequence": letter.sequence,
            "line": letter.line,
            "reason": letter.reason,
            "text": letter.text,
        }
        for letter in letters
    ]
    return answers.collection(request, "Rejects", items)
