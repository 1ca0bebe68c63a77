"""What stands before every route: one spelling of paths, a last catch of errors, headers, counts, the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shieldwall import log, metrics
from shieldwall.api import answers
from shieldwall.api.graph import errors as graph
from shieldwall.api.paths import Paths
from shieldwall.errors import ApiError

logger = log.get("api")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}
# Without includeSubDomains: other hosts of the domain are not this server's to decide on.
_HSTS = "max-age=31536000"
_UNKNOWN = "unknown"


class Front:
    """ASGI middleware around all routes of the API."""

    def __init__(self, app: ASGIApp, paths: Callable[[], Paths]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, template, methods = self._paths().locate(scope["method"], scope["path"])
        scope["path"], scope["raw_path"] = path, quote(path).encode()
        scope.setdefault("state", {})["template"] = template
        ids = graph.request_ids(Headers(scope=scope)) if graph.is_graph(path) else {}
        if ids:
            scope["state"]["graph_ids"] = ids
        started, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, content in (*_HEADERS.items(), *ids.items()):
                    headers.setdefault(name, content)
                if not _is_local(scope):
                    headers.setdefault("Strict-Transport-Security", _HSTS)
                if ids or path.startswith("/api"):
                    headers.setdefault("Cache-Control", "no-store")
                if status == 405 and methods:
                    headers["Allow"] = ", ".join(methods)
            await send(message)

        try:
            if "\x00" in path:
                refusal = ApiError(400, "BadRequest", "The path contains a NUL character.")
                await answers.error(refusal, Request(scope))(scope, receive, answer)
                return
            await self._app(scope, receive, answer)
        except Exception:
            logger.exception("request failed", route=template, method=scope["method"])
            if status:
                raise
            problem = ApiError(
                500, "InternalServerError", "The service could not process the request; try again."
            )
            await answers.error(problem, Request(scope))(scope, receive, answer)
        finally:
            self._note(scope, template or _UNKNOWN, status, time.perf_counter() - started)

    def _note(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Count the request and log it, without its query, which may hold what nobody should read."""
        metrics.requests.labels(route, status).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        principal = scope["state"].get("principal")
        client = scope.get("client")
        logger.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            client=client[0] if client else None,
            tenant=principal.tenant_id if principal else None,
            application=principal.application_id if principal else None,
            user=principal.user_id or None if principal else None,
            request_id=scope["state"].get("graph_ids", {}).get("request-id"),
            agent=Request(scope).headers.get("user-agent", "")[:100],
        )


def _is_local(scope: Scope) -> bool:
    """Whether the server was called by a name of this very machine, which other services here share.

    A browser that was told HSTS for ``localhost`` would refuse those on plain HTTP, on every port.
    """
    host = Request(scope).url.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
