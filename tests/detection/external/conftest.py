"""Devices that report connections, and a partner that sends alerts about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.detection.external.formats.registry import FORMATS
from shieldwall.detection.external.intake import ExternalAlerts, Outcome
from shieldwall.detection.external.late import LateTelemetry
from shieldwall.detection.external.models import ReceivedAlert
from shieldwall.detection.external.offers import IndicatorOffers
from shieldwall.detection.external.reading import read
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.matching import IndicatorMatcher
from shieldwall.devices.models import Device
from shieldwall.devices.reports import store_reports
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, to_text
from shieldwall.wakeups import Wakeups
from tests.telemetry.conftest import Feed

WEB, DB = "1" * 40, "2" * 40
# Public ones, not those of documentation, which nobody reaches.
GATEWAY = "11.1.1.7"
BAD = "11.2.2.9"


class World:
    """A tenant with two devices behind one gateway."""

    def __init__(self, store: TelemetryStore, database: Database) -> None:
        self.store, self.database = store, database
        settings = Settings()
        self.wakeups = Wakeups()
        self.matcher = IndicatorMatcher(store, database, settings)
        self.feed = Feed(store, database, [self.matcher, LateTelemetry(store)])
        self.tenant = self.feed.tenant
        self.indicators = IndicatorService(database, self.wakeups, settings)
        self.offers = IndicatorOffers(database, self.indicators)
        self.external = ExternalAlerts(database, store, self.offers, settings)
        self.partner = Principal(self.tenant, "partner", "partner", frozenset({"Alert.Submit.All"}))
        self.admin = Principal(self.tenant, "admin", "admin", frozenset({"Ti.ReadWrite.All"}))
        self.matcher.start()
        self._sequence = 0
        for identifier, name, address in ((WEB, "web01.contoso.com", "10.0.0.5"), (DB, "db01", "10.0.0.6")):
            self.add_device(identifier, name, address)

    def add_device(self, identifier: str, name: str, address: str) -> None:
        device = Device(
            id=identifier,
            tenant_id=self.tenant,
            computer_dns_name=name,
            first_seen=now(),
            last_seen=now(),
            last_contact=now(),
            public_key="k",
            last_ip_address=address,
            last_external_ip_address=GATEWAY,
            ip_addresses=[
                {
                    "ipAddress": address,
                    "macAddress": f"02:00:00:00:00:{address.rpartition('.')[2]:0>2}",
                    "type": "Ethernet",
                    "operationalStatus": "Up",
                }
            ],
        )
        with self.database.session(self.tenant) as session:
            session.add(device)
            session.flush()
            store_reports(self.store, [device])

    def report(self, *events: dict[str, Any], device: str = WEB) -> None:
        self._sequence += 1
        name = "web01.contoso.com" if device == WEB else "db01"
        batch = self.feed.batch(
            self._sequence,
            *events,
            device_id=device,
            device_name=name,
            stream=f"{self.feed.stream[:31]}{device[0]}",
        )
        (result,) = self.feed.send(batch)
        assert not isinstance(result, BaseException), result
        assert not result.rejected, result.rejected

    def send(self, *records: Any, form: str = "") -> list[Outcome]:
        content = json.dumps(records[0] if len(records) == 1 else records).encode()
        items, _ = read(content, FORMATS[form] if form else None)
        return self.external.take(self.partner, items)

    def one(self, record: Any, form: str = "") -> Outcome:
        (outcome,) = self.send(record, form=form)
        return outcome

    def alert(self, identifier: str | None) -> Alert:
        with self.database.read(self.tenant) as session:
            return session.get_one(Alert, identifier)

    def evidence(self, identifier: str | None) -> Sequence[Evidence]:
        with self.database.read(self.tenant) as session:
            mine = select(Evidence).where(Evidence.alert_id == identifier).order_by(Evidence.id)
            return session.scalars(mine).all()

    def received(self, identifier: str | None) -> ReceivedAlert:
        with self.database.read(self.tenant) as session:
            return session.scalars(select(ReceivedAlert).where(ReceivedAlert.alert_id == identifier)).one()

    def kinds(self, identifier: str | None) -> dict[str, list[Any]]:
        """The entities of an alert by type, each by what tells most of it."""
        found: dict[str, list[Any]] = {}
        for item in self.evidence(identifier):
            told = item.process_command_line or item.ip_address or item.url or item.account_name
            found.setdefault(item.entity_type, []).append(told or item.sha256 or item.file_name)
        return found


@pytest.fixture
def world(telemetry: TelemetryStore, database: Database) -> World:
    return World(telemetry, database)


@pytest.fixture
def list_indicator(world: World) -> Callable[..., None]:
    """Puts an address on the tenant's list, so that connections to it alert."""

    def put(address: str, **more: Any) -> None:
        body = {"indicatorType": "IpAddress", "indicatorValue": address, "action": "Audit", "title": "bad"}
        world.indicators.create_or_update(world.tenant, world.admin, {**body, "generateAlert": True, **more})

    return put


def connection(
    remote: str = BAD,
    port: int = 443,
    *,
    local: tuple[str, int] = ("10.0.0.5", 40001),
    pid: int = 700,
    when: datetime | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A connection as an agent reports it, of a shell's curl."""
    moment = when or now()
    return {
        "Table": "DeviceNetworkEvents",
        "Timestamp": to_text(moment),
        "ActionType": "ConnectionSuccess",
        "RemoteIP": remote,
        "RemotePort": port,
        "LocalIP": local[0],
        "LocalPort": local[1],
        "Protocol": "Tcp",
        "InitiatingProcessId": pid,
        "InitiatingProcessFileName": "curl",
        "InitiatingProcessFolderPath": "/usr/bin/curl",
        "InitiatingProcessCommandLine": f"curl https://bad.example/{pid}",
        "InitiatingProcessCreationTime": to_text(moment - timedelta(seconds=1)),
        "InitiatingProcessSHA256": "c" * 64,
        "InitiatingProcessAccountName": "eve",
        "InitiatingProcessAccountDomain": "web01",
        "InitiatingProcessParentId": 699,
        "InitiatingProcessParentFileName": "bash",
        "InitiatingProcessParentCreationTime": to_text(moment - timedelta(minutes=5)),
        **more,
    }


def suricata(
    source: tuple[str, int] = ("10.0.0.5", 40001),
    destination: tuple[str, int] = (BAD, 443),
    when: datetime | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An alert as Suricata writes it."""
    return {
        "timestamp": (when or now()).strftime("%Y-%m-%dT%H:%M:%S.%f+0000"),
        "flow_id": 1_234_567_890,
        "event_type": "alert",
        "host": "ids-1",
        "src_ip": source[0],
        "src_port": source[1],
        "dest_ip": destination[0],
        "dest_port": destination[1],
        "proto": "TCP",
        "alert": {
            "action": "allowed",
            "gid": 1,
            "signature_id": 2_024_897,
            "signature": "ET MALWARE Beacon",
            "category": "Malware Command and Control Activity Detected",
            "severity": 1,
            "metadata": {"mitre_technique_id": ["T1071.001"]},
        },
        "tls": {"sni": "bad.example"},
        **more,
    }
