"""The HTTP application of the API: its routes behind one front, and every refusal in the documented shape."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shieldwall.api import (
    alert_references,
    alerts,
    answers,
    baseline_exceptions,
    counts,
    csdl,
    data_exports,
    detection_rules,
    docs,
    downloads,
    entities,
    exports,
    external_alerts,
    hunting,
    incidents,
    indicator_offers,
    indicators,
    investigations,
    library,
    live_response,
    machine_actions,
    machine_details,
    machine_finds,
    machines,
    oauth,
    oauth_authorize,
    oauth_consent,
    oauth_device,
    posture,
    rejects,
    remediation,
    scans,
    scores,
    stories,
    weaknesses,
)
from shieldwall.api.access import requires
from shieldwall.api.bodies import invalid_body
from shieldwall.api.front import Front
from shieldwall.api.graph import alerts as graph_alerts
from shieldwall.api.graph import detection_rules as graph_detection_rules
from shieldwall.api.graph import incidents as graph_incidents
from shieldwall.api.paths import Paths
from shieldwall.api.rate_limits import RateLimits, documented_limits
from shieldwall.errors import ApiError

if TYPE_CHECKING:
    from shieldwall.services import Services

MODULES = (
    alerts,
    alert_references,
    external_alerts,
    stories,
    weaknesses,
    scores,
    posture,
    baseline_exceptions,
    remediation,
    scans,
    exports,
    data_exports,
    machine_finds,
    machines,
    machine_details,
    machine_actions,
    live_response,
    library,
    investigations,
    indicators,
    indicator_offers,
    incidents,
    entities,
    graph_incidents,
    graph_alerts,
    graph_detection_rules,
    detection_rules,
    hunting,
    rejects,
    downloads,
    docs,
    oauth,
    oauth_authorize,
    oauth_device,
    oauth_consent,
)

_STATUS_CODES = {404: "NotFound", 413: "RequestEntityTooLarge"}
_SETS = ("Alerts", "Machines", "MachineActions", "LibraryFiles", "Investigations", "Indicators", "Incidents")


def create_api(services: Services) -> FastAPI:
    """All routes for clients over ``services``."""
    app = FastAPI(
        title="Shieldwall",
        version=version("shieldwall"),
        description="Endpoint detection and response that speaks the Microsoft Defender for Endpoint API.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.limits = RateLimits(documented_limits())
    app.get("/api", summary="List the collections", tags=["Service"])(service_document)
    app.get("/api/$metadata", summary="Describe the types (CSDL)", tags=["Service"])(metadata)
    app.get("/v1.0/$metadata", summary="Describe the types of Graph (CSDL)", tags=["Service"])(graph_metadata)
    routes = [route for module in MODULES for route in module.router.routes]
    counted = counts.router_of(routes)
    app.include_router(counted)
    for module in MODULES:
        app.include_router(module.router)
    paths = Paths([*app.routes, *counted.routes, *routes])
    app.add_middleware(Front, paths=lambda: paths)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    return app


def service_document(request: Request, _: object = Depends(requires())) -> Response:
    """The collections of this service, which clients also read to see whether it answers."""
    sets = [{"name": name, "kind": "EntitySet", "url": name} for name in _SETS]
    return answers.json({"@odata.context": answers.context_url(request, "")[:-1], "value": sets})


def metadata(_: object = Depends(requires())) -> Response:
    return answers.csdl(csdl.defender())


def graph_metadata(_: object = Depends(requires())) -> Response:
    return answers.csdl(csdl.graph())


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answers.error(error, request)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses. A wrong method answers nothing but the ``Allow`` header."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return Response(status_code=405, headers=error.headers)
    code = _STATUS_CODES.get(error.status_code, "BadRequest")
    message = "There is nothing at this path." if error.status_code == 404 else str(error.detail)
    return answers.error(ApiError(error.status_code, code, message), request)


async def _validation_error(request: Request, _error: Exception) -> Response:
    return answers.error(invalid_body(), request)
