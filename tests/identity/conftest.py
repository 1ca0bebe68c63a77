"""A real HTTPS server with the token endpoint and one route that needs a token."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from shieldwall.api import oauth, oauth_authorize, oauth_consent, oauth_device
from shieldwall.errors import ApiError
from shieldwall.identity import applications
from shieldwall.identity.models import Tenant
from shieldwall.identity.tls import ca_path, server_tls_paths
from shieldwall.identity.tokens import TokenService
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT

ROLES = ["Alert.Read.All", "Machine.Isolate", "Machine.Read.All"]


@pytest.fixture(autouse=True)
def no_bundle_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests library prefers these to the bundle that a client was given."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data")


@pytest.fixture
def tokens(settings: Settings, database: Database) -> TokenService:
    return TokenService(settings, database)


@dataclass(frozen=True)
class Server:
    """A running server with one application that may call it."""

    url: str
    ca: str
    tenant: str
    client_id: str
    secret: str
    database: Database
    tokens: TokenService

    def form(self, **changes: str) -> dict[str, str]:
        """A good v2 form; an empty value leaves the field out."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.secret,
            "scope": "https://api.securitycenter.microsoft.com/.default",
        } | changes
        return {name: value for name, value in form.items() if value}

    def http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.ca)
        return httpx.Client(base_url=self.url, verify=context, timeout=20)


def create_app(services: Any) -> FastAPI:
    app = FastAPI()
    app.state.services = services
    for module in (oauth, oauth_authorize, oauth_device, oauth_consent):
        app.include_router(module.router)

    @app.get("/whoami")
    def whoami(request: Request) -> JSONResponse:
        try:
            caller = services.tokens.verify(request.headers.get("authorization"))
        except ApiError as error:
            return JSONResponse(error.body(), error.status, error.headers)
        return JSONResponse(
            {
                "tenant": caller.tenant_id,
                "client": caller.application_id,
                "roles": sorted(caller.roles),
                **({"upn": caller.name, "rights": dict(caller.rights)} if caller.user_id else {}),
            }
        )

    return app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(data=tmp_path_factory.mktemp("server"), port=port)
    database = Database(settings.state_url)
    database.migrate()
    with database.system_session() as session:
        session.add(Tenant(id=TENANT, name="Contoso", created_time=now()))
        session.add(Tenant(id=OTHER_TENANT, name="Fabrikam", created_time=now()))
    tokens = TokenService(settings, database)
    application, secret = applications.create_application(database, TENANT, "playbook", ROLES)
    services = SimpleNamespace(settings=settings, database=database, tokens=tokens)
    certificate, key, _ca = server_tls_paths(settings)
    running = uvicorn.Server(
        uvicorn.Config(
            create_app(services),
            host="127.0.0.1",
            port=settings.port,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            log_config=None,
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(running.serve()))
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.started
    try:
        yield Server(settings.url, str(ca_path(settings)), TENANT, application.id, secret, database, tokens)
    finally:
        # Clients that are still connected are not waited for.
        running.should_exit = running.force_exit = True
        thread.join(20)
        database.close()
