"""A seeded state for the API's tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from shieldwall import log
from shieldwall.alerts.models import Alert, AlertComment, Evidence, Incident
from shieldwall.api.app import create_api
from shieldwall.detection.external.intake import ExternalAlerts
from shieldwall.detection.external.offers import IndicatorOffers
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.rules.running import RuleRunner
from shieldwall.detection.rules.service import RuleService
from shieldwall.devices.models import Device, DeviceGroup, DeviceTag
from shieldwall.exposure.links import ExportLinks
from shieldwall.exposure.scans import ScanSecrets
from shieldwall.exposure.summaries import Summaries
from shieldwall.identity.applications import create_application
from shieldwall.identity.models import Tenant
from shieldwall.identity.permissions import APPLICATION_PERMISSIONS
from shieldwall.identity.tokens import TokenService
from shieldwall.investigations.service import Investigations
from shieldwall.response.actions import ActionService
from shieldwall.response.library import Library
from shieldwall.response.packages import PackageStore
from shieldwall.settings import Settings
from shieldwall.state.engine import Base, Database
from shieldwall.telemetry.hunting import Hunting
from shieldwall.telemetry.quota import HuntingQuota
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from shieldwall.wakeups import Wakeups
from tests.conftest import OTHER_TENANT, TENANT

URL = "https://127.0.0.1:8443"
AUDIENCE = "https://api.securitycenter.microsoft.com"
ALL = tuple(sorted(APPLICATION_PERMISSIONS))
START = datetime(2026, 1, 2, 3, 4, 5, 120000, tzinfo=UTC)
DEVICE = "a" * 40
SECOND = "b" * 40
FOREIGN = "f" * 40


def device(identifier: str, name: str, **more: object) -> Device:
    values: dict[str, object] = {
        "id": identifier,
        "computer_dns_name": name,
        "first_seen": START,
        "last_seen": START,
        "last_contact": START,
        "public_key": "key",
    }
    return Device(**(values | more))


def alert(number: int, incident_id: int, **more: object) -> Alert:
    values: dict[str, object] = {
        "id": f"da{number:018d}_1",
        "incident_id": incident_id,
        "severity": "High",
        "detection_source": "CustomerTI",
        "category": "Malware",
        "title": f"Alert {number}",
        "alert_creation_time": START + timedelta(minutes=number),
        "first_event_time": START,
        "last_event_time": START,
        "last_update_time": START + timedelta(minutes=number),
        "machine_id": DEVICE,
        "computer_dns_name": "Web01.contoso.com",
        "related_user": {"userName": "root", "domainName": "web01"},
    }
    return Alert(**(values | more))


def incident(**more: object) -> Incident:
    times = dict.fromkeys(["created_time", "last_update_time", "first_event_time", "last_event_time"], START)
    return Incident(name="Malware on web01", **(times | more))


def entity(kind: str, **more: object) -> Evidence:
    digest = f"{abs(hash((kind, *sorted(map(str, more.items()))))):040x}"[-40:]
    return Evidence(entity_type=kind, evidence_creation_time=START, digest=digest, **more)


def seed(database: Database) -> None:
    """Two devices, four alerts with evidence and comments in one tenant; one of each in the other."""
    with database.session(TENANT) as session:
        group = DeviceGroup(name="Servers")
        session.add(group)
        session.flush()
        session.add_all(
            [
                device(
                    DEVICE,
                    "Web01.contoso.com",
                    device_group_id=group.id,
                    aad_device_id="0f0e0d0c-0000-4000-8000-000000000001",
                    last_ip_address="10.0.0.5",
                    health_status="Active",
                    tags=[DeviceTag(tag="prod", tenant_id=TENANT)],
                ),
                device(SECOND, "db01", last_seen=START + timedelta(days=1), health_status="Inactive"),
            ]
        )
        case = incident()
        session.add(case)
        session.flush()
        session.add_all(
            [
                alert(
                    1,
                    case.id,
                    mitre_techniques=["T1059", "T1204"],
                    evidence=[
                        entity(
                            "File",
                            sha1="1" * 40,
                            sha256="2" * 64,
                            md5="3" * 32,
                            file_name="evil",
                            file_path="/tmp",
                            detection_status="Detected",
                        ),
                        entity("Process", sha1="1" * 40, process_id=7, process_command_line="/tmp/evil -x"),
                        entity("Ip", ip_address="203.0.113.9"),
                        entity("Url", url="http://Bad.Example.com/x"),
                        entity("User", account_name="root", domain_name="web01", user_sid="S-1-22-1-0"),
                    ],
                    comments=[AlertComment(comment="seen", created_by="me", created_time=START)],
                ),
                alert(2, case.id, severity="Medium", status="InProgress", assigned_to="Ann O'Hara"),
                alert(3, case.id, severity="Low", status="Resolved", resolved_time=START, title="100% sure_"),
                alert(4, case.id, severity="Informational", machine_id=SECOND, related_user=None),
            ]
        )
    with database.session(OTHER_TENANT) as session:
        session.add(device(FOREIGN, "web01.contoso.com"))
        case = incident()
        session.add(case)
        session.flush()
        session.add(alert(9, case.id, machine_id=FOREIGN, evidence=[entity("Ip", ip_address="198.51.100.1")]))


@pytest.fixture
def seeded(database: Database) -> Database:
    seed(database)
    return database


class Http:
    """A plain HTTP client of the application, for tests that are not coroutines."""

    def __init__(self, app: Any, portal: BlockingPortal) -> None:
        self.app = app
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.7", 40000))
        self._client = httpx.AsyncClient(transport=transport)
        self._portal = portal

    def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        return self._portal.call(partial(self._client.request, method, url, **more))


@dataclass(frozen=True)
class Api:
    """The whole application over a seeded SQLite state, called as clients call it: over HTTP, with tokens."""

    http: Http
    services: Any
    bearer: Callable[..., dict[str, str]]

    def call(
        self, method: str, path: str, *, roles: tuple[str, ...] = ALL, tenant: str = TENANT, **more: Any
    ) -> Any:
        headers = {**self.bearer(*roles, tenant=tenant), **more.pop("headers", {})}
        return self.http.request(method, f"{URL}{path}", headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        """The body of a good answer."""
        answer = self.call("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def error(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Status and code of a refusal, whose shape and headers are the documented ones."""
        answer = self.call(method, path, **more)
        body = answer.json()
        assert list(body) == ["error"]
        assert set(body["error"]) == {"code", "message", "target"}
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert "odata-version" not in answer.headers
        assert b": " not in answer.content.split(b'"message"')[0], "errors are compact JSON"
        return answer.status_code, body["error"]["code"]


@pytest.fixture
def newcomer(api: Api) -> Api:
    """The same for a tenant that nothing was ever stored of, whatever other tests put into the telemetry."""
    own = str(uuid4())
    with api.services.database.system_session() as session:
        session.add(Tenant(id=own, name=f"{own}.example", created_time=START))

    def bearer(*roles: str, tenant: str = own) -> dict[str, str]:
        return api.bearer(*roles, tenant=own)

    return replace(api, bearer=bearer)


@dataclass(frozen=True)
class Template:
    """What takes long to make: a seeded data folder, tokens for it, the application."""

    folder: Path
    tokens: dict[tuple[str, tuple[str, ...]], dict[str, str]]
    app: FastAPI


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("template")
    settings = Settings(data=folder)
    settings.secrets.mkdir(mode=0o700)
    database = Database(settings.state_url)
    Base.metadata.create_all(database.engine)
    with database.system_session() as session:
        for identifier, name in ((TENANT, "contoso.com"), (OTHER_TENANT, "fabrikam.com")):
            session.add(Tenant(id=identifier, name=name, created_time=START))
    seed(database)
    tokens = TokenService(settings, database)
    known = {(tenant, ALL): new_bearer(database, tokens, tenant, ALL) for tenant in (TENANT, OTHER_TENANT)}
    database.close()
    return Template(folder, known, create_api(SimpleNamespace()))  # type: ignore[arg-type]


def new_bearer(
    database: Database, tokens: TokenService, tenant: str, roles: tuple[str, ...]
) -> dict[str, str]:
    application, _ = create_application(database, tenant, f"application {uuid4()}", roles)
    token = tokens.issue(application, AUDIENCE, base=Settings().url, version=2)
    return {"Authorization": f"Bearer {token.value}"}


@pytest.fixture
def api(tmp_path: Path, template: Template, telemetry: TelemetryStore) -> Iterator[Api]:
    with opened(tmp_path, template, telemetry) as found:
        yield found


@contextmanager
def opened(folder: Path, template: Template, telemetry: TelemetryStore) -> Iterator[Api]:
    """The application over a copy of the template in ``folder``; one at a time: they share the routes."""
    log.configure("ERROR")
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    settings = Settings(data=folder, rate_limits=False)
    database = Database(settings.state_url)
    wakeups = Wakeups()
    actions = ActionService(database, wakeups, settings)
    indicators = IndicatorService(database, wakeups, settings)
    offers = IndicatorOffers(database, indicators)
    services = SimpleNamespace(
        settings=settings,
        database=database,
        telemetry=telemetry,
        wakeups=wakeups,
        tokens=TokenService(settings, database),
        indicators=indicators,
        indicator_offers=offers,
        external_alerts=ExternalAlerts(database, telemetry, offers, settings),
        actions=actions,
        packages=PackageStore(settings),
        export_links=ExportLinks(settings),
        scan_secrets=ScanSecrets(settings),
        summaries=Summaries(telemetry),
        library=Library(database, settings),
        investigations=Investigations(database, telemetry, actions, settings),
        hunting=Hunting(telemetry),
        rules=RuleService(database),
        rule_runner=RuleRunner(database, Hunting(telemetry), settings),
        quota=HuntingQuota(1000, 1000, 1000, 1000),
    )
    known = dict(template.tokens)

    def bearer(*roles: str, tenant: str = TENANT) -> dict[str, str]:
        if (tenant, roles) not in known:
            known[tenant, roles] = new_bearer(database, services.tokens, tenant, roles)
        return known[tenant, roles]

    template.app.state.services = services
    with start_blocking_portal() as portal:
        yield Api(Http(template.app, portal), services, bearer)
    database.close()


@pytest.fixture
def fleet(api: Api) -> Callable[..., dict[str, Any]]:
    """A tenant of its own with two assessed devices; reads a path of it."""
    tenant = str(uuid4())
    with api.services.database.system_session() as session:
        session.add(Tenant(id=tenant, name=tenant, created_time=now()))
    # Device ids are the tenant's own here, and rows name devices by the ids that the helper uses.
    names = {DEVICE: uuid4().hex + "0" * 8, SECOND: uuid4().hex + "0" * 8}
    with api.services.database.session(tenant) as session:
        group = DeviceGroup(name="Web")
        session.add(group)
        session.flush()
        session.add(device(names[DEVICE], "web01", device_group_id=group.id))
        session.add(device(names[SECOND], "web02"))
    from tests.api.inventories import fill

    fill(api.services.telemetry, tenant, names)

    def read(path: str, **more: object) -> Any:
        return api.get(path.format(device=names[DEVICE], second=names[SECOND]), tenant=tenant, **more)

    read.tenant, read.names = tenant, names  # type: ignore[attr-defined]
    return read
