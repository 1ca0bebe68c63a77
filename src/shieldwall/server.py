"""One server put together: routes, background work, and the process that serves them over TLS."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from shieldwall import log
from shieldwall.alerts.seen import forget
from shieldwall.api.app import create_api
from shieldwall.detection.rules.runs import prune as prune_runs
from shieldwall.detection.rules.schedule import follow_builtin
from shieldwall.devices.health import update_health
from shieldwall.gateway.authentication import Nonces
from shieldwall.gateway.errors import exception_handlers
from shieldwall.gateway.messages import Told
from shieldwall.gateway.records import routes as record_routes
from shieldwall.gateway.routes import routes as agent_routes
from shieldwall.gateway.tls_protocol import PeerCertificateProtocol
from shieldwall.identity.tls import server_tls_paths
from shieldwall.services import Services

logger = log.get("server")


@dataclass(frozen=True)
class Chore:
    """A piece of housekeeping and the seconds between two runs of it."""

    name: str
    seconds: float
    work: Callable[[], object]


SWITCH_SECONDS = 0.0005
"""How long one thread may keep the others waiting: a request crosses threads several times."""


def chores(services: Services) -> list[Chore]:
    return [
        Chore("indicator expiry", 1, services.indicators.expire),
        Chore("indicator look-back", 1, services.lookback.run_pending),
        Chore("remote logons of alerts", 10, services.remote_logons.run),
        Chore("external alerts", 1, services.external_alerts.retry),
        Chore("accepted indicators", 5, services.indicator_offers.apply_accepted),
        Chore("action deadlines", 5, services.actions.expire),
        Chore("device health", 60, lambda: update_health(services.database)),
        Chore("package retention", 3600, services.packages.prune),
        Chore("investigation triggers", 1, services.investigation_triggers.take_up),
        Chore("investigation starts", 1, services.investigation_work.begin_queued),
        Chore("continuous rules", 1, services.continuous.refresh),
        Chore("groups that rules missed", 30, services.continuous.look_again),
        Chore("scheduled rules", 1, services.rule_work.run_due),
        Chore("built-in scheduled rules", 60, lambda: follow_builtin(services.database)),
        Chore("rule responses", 1, services.rule_responses.carry_out),
        Chore("entities of old alerts", 3600, lambda: forget(services.database)),
        Chore("rule runs", 3600, lambda: prune_runs(services.database)),
        Chore("rule workflows", 600, services.rule_work.prune),
        Chore("investigation states", 2, services.investigations.follow),
        Chore("exposure summaries", 10, services.summaries.refresh),
        Chore("library contents", 3600, services.library.prune),
    ]


async def _repeat(chore: Chore) -> None:
    """Run a chore for ever; one failure is logged and the next turn tries again."""
    while True:
        try:
            await asyncio.to_thread(chore.work)
        except Exception:
            logger.exception("chore failed", chore=chore.name)
        await asyncio.sleep(chore.seconds)


def create_app(services: Services) -> Starlette:
    """The whole ASGI application over ``services``, which it starts, stops and closes."""
    api = create_api(services)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_SECONDS)
        await asyncio.to_thread(services.matcher.start)
        await asyncio.to_thread(services.continuous.start)
        await services.ingester.start()
        await asyncio.to_thread(services.rule_work.start)
        await asyncio.to_thread(services.investigation_work.start)
        tasks = [asyncio.create_task(_repeat(chore)) for chore in chores(services)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(services.rule_work.stop)
            await asyncio.to_thread(services.investigation_work.stop)
            await services.ingester.stop()
            services.close()

    app = Starlette(
        routes=[
            Route("/healthz", health),
            Route("/metrics", metrics),
            *agent_routes,
            *record_routes,
            Mount("/", api),
        ],
        exception_handlers=exception_handlers,
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.nonces = Nonces()
    app.state.told = Told()
    return app


async def health(request: Request) -> Response:
    """200 when both stores answer, 503 otherwise. Says nothing else: anybody may ask."""
    services: Services = request.app.state.services

    def probe() -> None:
        with services.database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        services.telemetry.system_query("SELECT 1 AS one", {})

    try:
        await asyncio.wait_for(asyncio.to_thread(probe), 10)
    except Exception:
        logger.exception("health check failed")
        return JSONResponse({"status": "unavailable"}, 503)
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """Prometheus metrics, to collectors on this machine only."""
    if request.client is None or not ip_address(request.client.host).is_loopback:
        return PlainTextResponse("", 404)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def uvicorn_server(services: Services) -> uvicorn.Server:
    """A server for the application, over TLS with an optional client certificate."""
    certificate, key, ca = server_tls_paths(services.settings)
    config = uvicorn.Config(
        create_app(services),
        host=services.settings.host,
        port=services.settings.port,
        http=PeerCertificateProtocol,
        ws="none",
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        ssl_ca_certs=str(ca),
        ssl_cert_reqs=1,  # ssl.CERT_OPTIONAL: agents present one, other clients need none
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        backlog=4096,
    )
    return uvicorn.Server(config)
