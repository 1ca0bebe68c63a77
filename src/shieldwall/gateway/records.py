"""Records of other sensors over HTTP: ``POST /ingest/{source}``, answered when they are durable."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shieldwall.errors import ApiError, bad_request
from shieldwall.gateway import bodies
from shieldwall.services import Services
from shieldwall.sources.forms.every import FORMS
from shieldwall.telemetry.ingest import Batch, BatchResult

PERMISSION = "SourceEvents.Ingest"
REJECTIONS_SHOWN = 1000
KINDS_SHOWN = 1000

_SENSOR = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")


async def receive_records(request: Request) -> Response:
    """Store one body of records. ``host`` names the machine of records that name none.

    ApiError 401 and 403 without the permission, 404 for an unknown source, 413 and 429 at the bounds.
    """
    services: Services = request.app.state.services
    principal = await asyncio.to_thread(services.tokens.verify, request.headers.get("authorization"))
    if principal.user_id or not principal.may(PERMISSION):
        raise ApiError(403, "Forbidden", f"The application lacks the permission {PERMISSION}.")
    source = request.path_params["source"].lower()
    if source not in FORMS:
        raise ApiError(404, "NotFound", f"There is no source {source[:40]!r}; known are {', '.join(FORMS)}.")
    sensor = request.query_params.get("host", source)
    if not _SENSOR.fullmatch(sensor):
        raise bad_request("host is not the name of a machine.")
    body = await bodies.read(request, services.settings.ingest_max_compressed)
    result = await services.ingester.submit(
        Batch(
            tenant_id=principal.tenant_id,
            device_id="",
            device_name=sensor,
            device_group="",
            stream="",
            sequence=0,
            body=body,
            encoding=request.headers.get("content-encoding", "identity"),
            source=source,
        )
    )
    return Response(orjson.dumps(answer(result)), media_type="application/json")


def answer(result: BatchResult) -> dict[str, Any]:
    """What became of the records: all counts, by kind, and which lines were rejected for what."""
    rejected = sum(verdict.count for verdict in result.verdicts if verdict.reason)
    duplicates = sum(verdict.count for verdict in result.verdicts if verdict.duplicate)
    kinds = [
        {
            "source": verdict.source,
            "channel": verdict.channel,
            "kind": verdict.kind,
            "tables": verdict.tables,
            "count": verdict.count,
        }
        for verdict in sorted(result.verdicts, key=lambda verdict: -verdict.count)
        if verdict.tables
    ]
    reasons = [
        {"reason": verdict.reason, "count": verdict.count} for verdict in result.verdicts if verdict.reason
    ]
    return {
        "received": result.stored + duplicates + rejected,
        "stored": result.stored,
        "duplicates": duplicates,
        "rejected": rejected,
        "kinds": kinds[:KINDS_SHOWN],
        "reasons": reasons,
        "rejections": [
            {"line": rejection.line, "reason": rejection.reason}
            for rejection in result.rejected[:REJECTIONS_SHOWN]
        ],
    }


routes = [Route("/ingest/{source}", receive_records, methods=["POST"])]
