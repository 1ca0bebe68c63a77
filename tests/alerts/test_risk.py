"""A device's risk follows its open alerts, up and down."""

from __future__ import annotations

import threading

import pytest

from shieldwall.alerts.raising import raise_alert
from shieldwall.api.alert_changes import update_alerts
from shieldwall.devices.models import Device
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from tests.conftest import TENANT

from .conftest import DEVICE, SECOND, draft

ANALYST = Principal(TENANT, "app", "analyst", frozenset())


def raised(database: Database, key: str, severity: str, device: str = DEVICE) -> str:
    with database.session(TENANT) as session:
        return raise_alert(session, draft(key, severity, device), 3600)[0].id


def change(database: Database, *identifiers: str, **values: str) -> None:
    with database.session(TENANT) as session:
        update_alerts(session, ANALYST, identifiers, values)


def risk(database: Database, device: str = DEVICE) -> str:
    with database.read(TENANT) as session:
        found = session.get(Device, device)
    assert found is not None
    return found.risk_score


def test_a_new_alert_raises_the_risk_and_a_lesser_one_does_not_lower_it(devices: Database) -> None:
    assert risk(devices) == "None"
    raised(devices, "one", "Medium")
    assert risk(devices) == "Medium"
    raised(devices, "two", "High")
    raised(devices, "three", "Low")
    assert (risk(devices), risk(devices, SECOND)) == ("High", "None")


@pytest.mark.parametrize("end", [{"status": "Resolved"}, {"classification": "FalsePositive"}])
def test_the_risk_falls_to_what_is_left_open(devices: Database, end: dict[str, str]) -> None:
    low, high = raised(devices, "one", "Low"), raised(devices, "two", "High")
    change(devices, high, **end)
    assert risk(devices) == "Low"
    change(devices, low, **end)
    assert risk(devices) == "None"


def test_an_alert_that_is_opened_again_counts_again(devices: Database) -> None:
    alert = raised(devices, "one", "High")
    change(devices, alert, status="Resolved")
    change(devices, alert, status="InProgress")
    assert risk(devices) == "High"
    change(devices, alert, classification="FalsePositive")
    change(devices, alert, classification="TruePositive")
    assert risk(devices) == "High"


def test_a_batch_recomputes_every_device_it_touches(devices: Database) -> None:
    alerts = raised(devices, "one", "High"), raised(devices, "two", "Medium", SECOND)
    kept = raised(devices, "three", "Informational", SECOND)
    change(devices, *alerts, status="Resolved")
    assert (risk(devices), risk(devices, SECOND)) == ("None", "Informational")
    change(devices, kept, comment="looked at")
    assert risk(devices, SECOND) == "Informational"


def test_alerts_resolved_at_once_leave_no_risk(devices: Database) -> None:
    alerts = [raised(devices, str(number), "High") for number in range(8)]
    together = threading.Barrier(len(alerts))

    def resolve(alert: str) -> None:
        together.wait(10)
        change(devices, alert, status="Resolved")

    threads = [threading.Thread(target=resolve, args=(alert,)) for alert in alerts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert risk(devices) == "None"
