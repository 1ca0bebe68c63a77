"""Devices and drafts of alerts on a state of both kinds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from shieldwall.alerts.drafts import AlertDraft
from shieldwall.devices.models import Device
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import TENANT

DEVICE, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def devices(database: Database) -> Database:
    """The state with two devices on record."""
    time = now()
    with database.session(TENANT) as session:
        for identifier in (DEVICE, SECOND):
            session.add(
                Device(
                    id=identifier,
                    computer_dns_name="host",
                    first_seen=time,
                    last_seen=time,
                    last_contact=time,
                    public_key="k",
                )
            )
    return database


def draft(key: str, severity: str, device: str = DEVICE, time: datetime | None = None) -> AlertDraft:
    values: dict[str, Any] = {"first_event_time": time or now(), "last_event_time": time or now()}
    return AlertDraft(TENANT, device, key, key, "", severity, "Malware", "CustomerTI", evidence=(), **values)
