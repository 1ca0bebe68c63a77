"""Alerts of several devices that a remote logon ties together, whose events come in whatever order."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.models import Alert
from shieldwall.alerts.raising import raise_many
from shieldwall.alerts.remote_logons import RemoteLogons
from shieldwall.devices.models import Device
from shieldwall.identity.models import Tenant
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

START = now() - timedelta(minutes=50)
WINDOW = 24 * 3600


class Two:
    """A tenant of its own with an alert on each of two devices."""

    def __init__(self, database: Database, telemetry: TelemetryStore) -> None:
        self.database, self.telemetry, self.tenant = database, telemetry, str(uuid4())
        self.first, self.second = (uuid4().hex + "0" * 8 for _ in range(2))
        with database.system_session() as session:
            session.add(Tenant(id=self.tenant, name=self.tenant, created_time=now()))
        with database.session(self.tenant) as session:
            for identifier, name, address in (
                (self.first, "ws1", "10.1.0.5"),
                (self.second, "srv2", "10.1.0.9"),
            ):
                session.add(
                    Device(id=identifier, computer_dns_name=name, last_ip_address=address, first_seen=START,
                           last_seen=START, last_contact=START, public_key="k")
                )  # fmt: skip
        self.work = RemoteLogons(telemetry, database, WINDOW)

    def alerts(self, account: str = "alice") -> None:
        client = EvidenceDraft("Process", process_id=7, file_name="ssh", process_creation_time=START)
        drafts = [self._draft(self.first, "here", 10, client), self._draft(self.second, "there", 40)]
        user = EvidenceDraft("User", account_name=account, domain_name="corp")
        with self.database.system_session() as session:
            raise_many(
                session, [AlertDraft(**{**vars(d), "evidence": (*d.evidence, user)}) for d in drafts], WINDOW
            )

    def _draft(self, device: str, title: str, minutes: int, *evidence: EvidenceDraft) -> AlertDraft:
        time = START + timedelta(minutes=minutes)
        return AlertDraft(
            self.tenant,
            device,
            title,
            title,
            "",
            "High",
            "Execution",
            "CustomDetection",
            time,
            time,
            evidence,
        )

    def logon(self, minutes: int, **more: str) -> None:
        row = {
            "Timestamp": START + timedelta(minutes=minutes),
            "DeviceId": self.second,
            "ActionType": "LogonSuccess",
            "AccountName": "Alice",
        }
        self.telemetry.insert_rows("DeviceLogonEvents", self.tenant, [row | more])

    def incidents(self) -> int:
        with self.database.read(self.tenant) as session:
            return len(set(session.scalars(select(Alert.incident_id))))


@pytest.fixture
def two(database: Database, telemetry: TelemetryStore) -> Two:
    return Two(database, telemetry)


@pytest.mark.parametrize("told", [{"RemoteIP": "10.1.0.5"}, {"RemoteDeviceName": "WS1.corp.example"}])
def test_a_logon_that_is_told_later_joins_its_two_devices(two: Two, told: dict[str, str]) -> None:
    two.alerts()
    assert (two.work.run(), two.incidents()) == (0, 2)
    two.logon(30, **told)
    assert (two.work.run(), two.incidents()) == (1, 1)
    assert (two.work.run(), two.incidents()) == (0, 1)
    with two.database.read(two.tenant) as session:
        alert = session.scalars(select(Alert).where(Alert.title == "there")).one()
        kinds = [each["kind"] for reason in alert.link_reasons for each in reason["shared"]]
        assert "remote logon" in kinds


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        (30, {"RemoteIP": "10.1.0.77"}),
        (30, {"RemoteIP": "10.1.0.5", "AccountName": "bob"}),
        (30, {"RemoteIP": "10.1.0.5", "ActionType": "LogonFailed"}),
        (45, {"RemoteIP": "10.1.0.5"}),
    ],
)
def test_other_logons_join_nothing(two: Two, minutes: int, told: dict[str, str]) -> None:
    two.alerts()
    two.logon(minutes, **told)
    two.work.run()
    assert two.incidents() == 2


def test_the_other_side_of_a_logon_tells_it_too(two: Two) -> None:
    two.alerts()
    row = {
        "Timestamp": START + timedelta(minutes=5),
        "DeviceId": two.first,
        "ActionType": "ConnectionSuccess",
        "RemoteIP": "10.1.0.9",
        "RemotePort": 22,
        "InitiatingProcessId": 7,
        "InitiatingProcessCreationTime": START,
    }
    two.telemetry.insert_rows("DeviceNetworkEvents", two.tenant, [row])
    assert (two.work.run(), two.incidents()) == (1, 1)


def test_a_tenants_logons_are_its_own(two: Two, database: Database, telemetry: TelemetryStore) -> None:
    other = Two(database, telemetry)
    other.second = two.second
    two.alerts()
    other.logon(30, RemoteIP="10.1.0.5")
    two.work.run()
    assert two.incidents() == 2
