"""A seeded state for the API's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shieldwall.alerts.models import Alert, AlertComment, Evidence, Incident
from shieldwall.devices.models import Device, DeviceGroup, DeviceTag
from shieldwall.state.engine import Database
from tests.conftest import OTHER_TENANT, TENANT

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
