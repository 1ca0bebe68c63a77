"""Devices, alerts and the whole of investigations over real stores, worked through without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.models import Alert
from shieldwall.alerts.raising import raise_alert
from shieldwall.detection.indicators import IndicatorService
from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.identity.principal import Principal
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.service import Investigations
from shieldwall.investigations.triggers import Triggers
from shieldwall.response.actions import ActionService
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from shieldwall.wakeups import Wakeups
from tests.conftest import TENANT

ANALYST = Principal(TENANT, "app", "analyst", frozenset())


def new_device() -> str:
    """Of one test alone: the telemetry is shared by all."""
    return uuid4().hex + "00000000"


@dataclass(frozen=True)
class File:
    """A file that no other test knows."""

    path: str = "/home/a/implant"
    sha1: str = field(default_factory=lambda: uuid4().hex + "00000000")
    sha256: str = field(default_factory=lambda: uuid4().hex * 2)


@dataclass
class Bench:
    """What a test does with investigations."""

    database: Database
    telemetry: TelemetryStore
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.actions = ActionService(self.database, Wakeups(), self.settings)
        self.service = Investigations(self.database, self.telemetry, self.actions, self.settings)
        self.triggers = Triggers(self.database, self.settings)

    def device(self, group: str = "", level: str | None = None, **more: Any) -> str:
        identifier = new_device()
        time = now()
        with self.database.session(TENANT) as session:
            row = DeviceGroup(name=group, automation_level=level) if group else None
            session.add(
                Device(
                    id=identifier,
                    computer_dns_name="host",
                    first_seen=time,
                    last_seen=time,
                    last_contact=time,
                    group=row,
                    **{"public_key": "k"} | more,
                )
            )
        return identifier

    def alert(self, device_id: str | None, file: File | None = None, severity: str = "High") -> str:
        """A new alert, with a file as its evidence."""
        time = now()
        entity = (
            EvidenceDraft(
                "File", sha1=file.sha1, sha256=file.sha256, file_path=file.path.rpartition("/")[0],
                file_name=file.path.rpartition("/")[2],
            )
            if file
            else EvidenceDraft("Ip", ip_address="192.0.2.1")
        )  # fmt: skip
        draft = AlertDraft(
            TENANT, device_id, uuid4().hex, "Implant", "", severity, "Malware", "CustomTI", time, time,
            (entity,),
        )  # fmt: skip
        with self.database.session(TENANT) as session:
            alert, _ = raise_alert(session, draft, 3600)
        return alert.id

    def block(self, file: File, **more: Any) -> None:
        body = {"indicatorType": "FileSha256", "indicatorValue": file.sha256, "action": "Block", "title": "t"}
        IndicatorService(self.database, Wakeups(), self.settings).create_or_update(
            TENANT, ANALYST, body | {"generateAlert": True} | more
        )

    def seen(self, file: File, devices: Sequence[str]) -> None:
        self.telemetry.insert_rows(
            "DeviceFileEvents",
            TENANT,
            [
                {
                    "Timestamp": now(),
                    "ActionType": "FileCreated",
                    "DeviceId": device,
                    "SHA1": file.sha1,
                    "SHA256": file.sha256,
                    "FileName": "implant",
                    "ReportId": 1,
                }
                for device in devices
            ],
        )

    def work(self) -> None:
        """What the server's chores and workflows do, until nothing is left to do."""
        self.triggers.take_up()
        for tenant, number, turn in self.service.queued():
            self.service.judge(tenant, number, turn)
            self.service.remediate(tenant, number)
        self.service.follow()

    def investigations(self) -> list[Investigation]:
        with self.database.read(TENANT) as session:
            return session.query(Investigation).order_by(Investigation.id).all()

    def only(self) -> Investigation:
        (row,) = self.investigations()
        return row

    def shown(self, alert_id: str) -> tuple[int | None, str | None]:
        with self.database.read(TENANT) as session:
            alert = session.get(Alert, alert_id)
            assert alert is not None
            return alert.investigation_id, alert.investigation_state

    def succeed(self, action: dict[str, Any], status: str = "Succeeded") -> None:
        """The device does what it was asked for."""
        assert action["machineActionId"], action
        self.actions.record_status(TENANT, action["machineId"], action["machineActionId"], status, "no", {})


@pytest.fixture
def bench(database: Database, telemetry: TelemetryStore) -> Bench:
    return Bench(database, telemetry)
