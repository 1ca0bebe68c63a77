"""The whole API on a real HTTPS server over seeded stores, as programs of other people call it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import uvicorn

from shieldwall.client import Client, Credentials
from shieldwall.identity.applications import create_application
from shieldwall.identity.tls import ca_path, server_tls_paths
from shieldwall.identity.tokens import TokenService
from shieldwall.telemetry.store import TelemetryStore
from tests.api.conftest import ALL, Api, Template, opened
from tests.api.conftest import template as template
from tests.conftest import TENANT


@dataclass(frozen=True)
class Live:
    """A running server with an application that may do everything."""

    url: str
    ca: str
    tenant: str
    client_id: str
    secret: str
    api: Api

    @property
    def services(self) -> Any:
        return self.api.services

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.tenant, self.client_id, self.secret)

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def client(self, **options: Any) -> Client:
        return Client(self.url, self.credentials, verify=self.trust, **options)


@pytest.fixture(autouse=True)
def no_bundle_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some HTTP libraries prefer these to what they are given."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, template: Template, telemetry: TelemetryStore
) -> Iterator[Live]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with opened(tmp_path_factory.mktemp("live"), template, telemetry) as api:
        services = api.services
        services.settings = settings = replace(services.settings, port=port)
        services.tokens = TokenService(settings, services.database)
        application, secret = create_application(services.database, TENANT, "partner", ALL)
        certificate, key, _ = server_tls_paths(settings)
        server = uvicorn.Server(
            uvicorn.Config(
                template.app,
                host="127.0.0.1",
                port=port,
                ssl_certfile=str(certificate),
                ssl_keyfile=str(key),
                lifespan="off",
                log_config=None,
            )
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started
        try:
            yield Live(settings.url, str(ca_path(settings)), TENANT, application.id, secret, api)
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)
