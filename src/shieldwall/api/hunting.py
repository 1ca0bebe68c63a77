"""Advanced hunting: KQL over the tenant's telemetry, on the paths of Defender and of Graph."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from shieldwall import metrics
from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.bodies import Body, Parameter, Shape
from shieldwall.api.routing import router as new_router
from shieldwall.errors import ApiError, bad_request, missing_parameter
from shieldwall.identity.principal import Principal
from shieldwall.kql.types import NET_TYPES
from shieldwall.telemetry.hunting import TOO_LARGE, Cancellation, Hunt, Window
from shieldwall.telemetry.store import HUNTERS
from shieldwall.times import now

router = new_router("Advanced hunting")

QUERY_LIMIT = 1 << 20
"""Characters of a query."""

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_QUERY = Shape(Parameter("Query", required=True, limit=QUERY_LIMIT))
_GRAPH_QUERY = Shape(Parameter("Query", required=True, limit=QUERY_LIMIT), Parameter("Timespan", limit=200))

Endpoint = Annotated[Principal, Depends(requires("AdvancedQuery.Read.All"))]
Xdr = Annotated[
    Principal,
    Depends(
        requires("AdvancedHunting.Read.All", "AdvancedQuery.Read.All", delegated=("AdvancedHunting.Read",))
    ),
]
Graph = Annotated[
    Principal,
    Depends(
        requires(
            "ThreatHunting.Read.All",
            "AdvancedHunting.Read.All",
            "AdvancedQuery.Read.All",
            delegated=("ThreatHunting.Read.All",),
        )
    ),
]

Shown = Callable[[Hunt, bytes, float], bytes]
"""Makes the body of an answer of a query, its rows as JSON objects with commas between, and its seconds."""


@router.post("/api/advancedqueries/run", summary="Run a hunting query")
async def run(request: Request, principal: Endpoint, body: Annotated[Body, Depends(_QUERY)]) -> Response:
    """KQL in ``Query``; the answer has ``Schema`` and ``Results``."""
    return await _answer(request, principal, body["Query"], _with_stats)


@router.get("/api/advancedqueries", summary="Run a hunting query given in the address")
async def run_by_address(
    request: Request, principal: Endpoint, key: Annotated[str | None, Query(max_length=QUERY_LIMIT)] = None
) -> Response:
    """KQL in ``key``, as Power BI asks."""
    if key is None:
        raise missing_parameter("key")
    return await _answer(request, principal, key, _with_stats)


@router.post("/api/advancedhunting/run", summary="Run a hunting query (Defender XDR)")
async def run_xdr(request: Request, principal: Xdr, body: Annotated[Body, Depends(_QUERY)]) -> Response:
    """KQL in ``Query``; the answer has ``Stats``, ``Schema`` and ``Results``."""
    return await _answer(request, principal, body["Query"], _with_stats)


@router.post("/v1.0/security/runHuntingQuery", summary="Run a hunting query (Graph)")
@router.post("/v1.0/security/microsoft.graph.security.runHuntingQuery", include_in_schema=False)
async def run_graph(
    request: Request, principal: Graph, body: Annotated[Body, Depends(_GRAPH_QUERY)]
) -> Response:
    """KQL in ``Query`` over the ``Timespan`` (ISO 8601); the answer has ``schema`` and ``results``."""
    window = read_timespan(body["Timespan"], now()) if "Timespan" in body else (None, None)
    return await _answer(request, principal, body["Query"], _for_graph(request), window)


async def _answer(
    request: Request, principal: Principal, text: str, shown: Shown, window: Window = (None, None)
) -> Response:
    """Run the query beside the event loop; stop it when the client goes away."""
    services = services_of(request)
    cancellation = Cancellation()

    def work() -> bytes:
        started = time.monotonic()
        with services.hunting.hunt(
            principal.tenant_id, text, services.hunting.limits, window, cancellation
        ) as hunt:
            rows = _rows(hunt, services.hunting.limits.result_bytes)
            return shown(hunt, rows, time.monotonic() - started)

    async def admitted() -> bytes:
        # Before waiting for a thread: whoever has nothing left must not stand in the line.
        with services.quota.admit(principal.tenant_id):
            return await to_thread.run_sync(work, limiter=_threads(request))

    task = asyncio.ensure_future(admitted())
    watcher = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await run_in_threadpool(services.hunting.cancel, cancellation)
        body = await task
    except ApiError as error:
        metrics.hunts.labels("refused" if error.status == 400 else "throttled").inc()
        raise
    finally:
        watcher.cancel()
    metrics.hunts.labels("answered").inc()
    return Response(body, 200, _JSON)


def _threads(request: Request) -> CapacityLimiter:
    """Threads for hunts only: those that wait for their turn must not take the threads of other requests."""
    state = request.app.state
    if not hasattr(state, "hunting_threads"):
        state.hunting_threads = CapacityLimiter(HUNTERS)
    found: CapacityLimiter = state.hunting_threads
    return found


async def _gone(request: Request) -> None:
    """Ends when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _rows(hunt: Hunt, most: int) -> bytes:
    """The rows as JSON objects with commas between. ApiError 400 when they are more than ``most`` bytes."""
    names = [name for name, _ in hunt.columns]
    dynamic = [place for place, (_, kind) in enumerate(hunt.columns) if kind == "dynamic"]
    body = bytearray()
    for row in hunt.rows:
        for place in dynamic:
            if row[place] is not None:
                row[place] = _json(row[place])
        if body:
            body += b","
        body += orjson.dumps(dict(zip(names, row, strict=True)))
        if len(body) > most:
            raise bad_request(TOO_LARGE)
    return bytes(body)


def _json(text: str) -> Any:
    """The JSON of a dynamic as it is, and as a text where it is none: devices send what they like."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.Fragment(text)


def _schema(hunt: Hunt, name: str, kind: str) -> bytes:
    return orjson.dumps([{name: column, kind: NET_TYPES[held]} for column, held in hunt.columns])


def _with_stats(hunt: Hunt, rows: bytes, seconds: float) -> bytes:
    stats = {
        "ExecutionTime": round(seconds, 7),
        "resource_usage": {
            "cache": {
                "memory": {"hits": 0, "misses": 0, "total": 0},
                "disk": {"hits": 0, "misses": 0, "total": 0},
            },
            "cpu": {"user": "00:00:00", "kernel": "00:00:00", "total cpu": "00:00:00"},
            "memory": {"peak_per_node": 0},
        },
        "dataset_statistics": [{"table_row_count": hunt.count, "table_size": len(rows)}],
    }
    return (
        b'{"Stats":'
        + orjson.dumps(stats)
        + b',"Schema":'
        + _schema(hunt, "Name", "Type")
        + b',"Results":['
        + rows
        + b"]}"
    )


def _for_graph(request: Request) -> Shown:
    context = f"{answers.base_url(request)}/v1.0/$metadata#microsoft.graph.security.huntingQueryResults"

    def shown(hunt: Hunt, rows: bytes, seconds: float) -> bytes:
        return (
            b'{"@odata.context":'
            + orjson.dumps(context)
            + b',"schema":'
            + _schema(hunt, "name", "type")
            + b',"results":['
            + rows
            + b"]}"
        )

    return shown


_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8}(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)


def read_timespan(text: str, moment: datetime) -> Window:
    """``start/end``, ``duration/end``, ``start/duration``, ``duration`` before ``moment``, or ``start``."""
    first, slash, second = text.strip().partition("/")
    try:
        length, other = _duration(first), _duration(second)
        if not slash:
            return (moment - length, moment) if length is not None else (_moment(first), None)
        if length is not None:
            end = _moment(second)
            return end - length, end
        start = _moment(first)
        return start, (start + other if other is not None else _moment(second))
    except (ValueError, OverflowError):
        raise bad_request(f"Timespan is not ISO 8601: {text[:100]!r}.") from None


def _duration(text: str) -> timedelta | None:
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    return timedelta(**{unit: float(value) for unit, value in found.groupdict().items() if value})


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
