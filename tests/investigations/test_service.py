"""From the evidence to the end on both databases, with real telemetry."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.raising import raise_alert
from shieldwall.devices.models import Device
from shieldwall.identity.principal import Principal
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.service import Investigations
from shieldwall.response.actions import ActionService
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from shieldwall.wakeups import Wakeups
from tests.conftest import TENANT

ANALYST = Principal(TENANT, "app", "analyst", frozenset())


@pytest.fixture
def device_id() -> str:
    """Of this test alone: the telemetry is shared by all."""
    return uuid4().hex + "00000000"


@pytest.fixture
def service(database: Database, telemetry: TelemetryStore, device_id: str) -> Investigations:
    time = now()
    with database.session(TENANT) as session:
        session.add(
            Device(
                id=device_id,
                computer_dns_name="host",
                first_seen=time,
                last_seen=time,
                last_contact=time,
                public_key="k",
            )
        )
    settings = Settings()
    return Investigations(database, telemetry, ActionService(database, Wakeups(), settings), settings)


def row(database: Database, number: int) -> Investigation:
    with database.read(TENANT) as session:
        found = session.get(Investigation, number)
    assert found is not None
    return found


def test_what_ran_around_an_alert_is_judged_by_telemetry(
    database: Database, telemetry: TelemetryStore, service: Investigations, device_id: str
) -> None:
    """The dropper of the alert starts a payload that antivirus found elsewhere; its shell is left alone."""
    began = now() - timedelta(minutes=5)
    payload, shell = uuid4().hex * 2, uuid4().hex * 2
    sha1 = uuid4().hex + "00000000"
    common = {"Timestamp": began, "ActionType": "ProcessCreated", "DeviceId": device_id, "ReportId": 1}
    parent = {"InitiatingProcessId": 100, "InitiatingProcessCreationTime": began}
    telemetry.insert_rows(
        "DeviceProcessEvents",
        TENANT,
        [
            {**common, "ProcessId": 100, "ProcessCreationTime": began, "FileName": "dropper",
             "FolderPath": "/home/a/dropper", "InitiatingProcessId": 1,
             "InitiatingProcessCreationTime": began - timedelta(hours=1)},
            {**common, **parent, "ProcessId": 101, "ProcessCreationTime": began + timedelta(seconds=3),
             "FileName": "payload", "FolderPath": "/home/a/payload", "SHA256": payload, "SHA1": sha1},
            {**common, **parent, "ProcessId": 102, "ProcessCreationTime": began + timedelta(seconds=4),
             "FileName": "bash", "FolderPath": "/usr/bin/bash", "SHA256": shell},
        ],
    )  # fmt: skip
    telemetry.insert_rows(
        "DeviceEvents",
        TENANT,
        [
            {
                "Timestamp": began,
                "ActionType": "AntivirusDetection",
                "DeviceId": "e" * 40,
                "SHA256": payload,
                "ReportId": 1,
            }
        ],
    )
    with database.session(TENANT) as session:
        process = EvidenceDraft("Process", process_id=100, process_creation_time=began)
        draft = AlertDraft(
            TENANT, device_id, "key", "Dropper", "", "High", "Malware", "CustomTI", began, began, (process,)
        )
        raise_alert(session, draft, 3600)
    number = service.start(ANALYST, device_id, "look").id
    service.judge(TENANT, number, 1)
    service.remediate(TENANT, number)
    found = row(database, number)
    verdicts = {item["path"]: item["verdict"] for item in found.findings}
    assert verdicts == {"/home/a/payload": "Malicious", "/usr/bin/bash": "NoThreatsFound"}
    (action,) = found.actions
    assert (action["sha1"], action["status"]) == (sha1, "Approved")
    assert found.state == "Running"
    service._actions.record_status(TENANT, device_id, action["machineActionId"], "Succeeded", "", {})
    service.follow()
    assert row(database, number).state == "SuccessfullyRemediated"
