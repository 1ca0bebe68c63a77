"""What rules ask for becomes machine actions, investigations and indicators, once, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.models import Indicator
from shieldwall.detection.rules.models import RuleResponse
from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.rule_responses import ATTEMPTS, RuleResponses
from shieldwall.investigations.service import Investigations
from shieldwall.response.actions import ActionService
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now
from shieldwall.wakeups import Wakeups
from tests.conftest import TENANT

DEVICE = "a" * 40


@pytest.fixture
def responses(database: Database) -> RuleResponses:
    settings, wakeups, time = Settings(), Wakeups(), now()
    with database.session(TENANT) as session:
        session.add(DeviceGroup(name="Servers"))
        session.add(
            Device(
                id=DEVICE,
                computer_dns_name="host",
                first_seen=time,
                last_seen=time,
                last_contact=time,
                public_key="k",
            )
        )
    actions = ActionService(database, wakeups, settings)
    investigations = Investigations(database, None, actions, settings)  # type: ignore[arg-type]
    return RuleResponses(database, actions, investigations, IndicatorService(database, wakeups, settings))


def ask(database: Database, kind: str, target: str = DEVICE, **more: Any) -> None:
    values: dict[str, Any] = {"device_id": DEVICE, "parameters": {}, "alert_id": "da1_1", "rule_id": "r"}
    with database.session(TENANT) as session:
        row = RuleResponse(
            kind=kind, target=target, created_time=now(), requested_by="ann", **(values | more)
        )
        session.add(row)


def outcomes(database: Database) -> dict[str, tuple[str, str | None]]:
    with database.read(TENANT) as session:
        return {row.kind: (row.status, row.message) for row in session.scalars(select(RuleResponse))}


def test_each_kind_is_asked_for_once(responses: RuleResponses, database: Database) -> None:
    for kind in ("Isolate", "CollectPackage", "Scan", "Restrict", "Investigate"):
        ask(database, kind, parameters={"isolation": "Selective"} if kind == "Isolate" else {})
    ask(database, "StopAndQuarantine", "1" * 40)
    ask(database, "BlockFile", "2" * 64, parameters={"device_groups": ["Servers"]})
    assert responses.carry_out() == 7
    assert responses.carry_out() == 0
    assert {status for status, _ in outcomes(database).values()} == {"Done"}
    with database.read(TENANT) as session:
        actions = {row.type: row for row in session.scalars(select(MachineAction))}
        investigations = session.scalars(select(Investigation)).all()
        indicator = session.scalars(select(Indicator)).one()
    assert set(actions) == {
        "Isolate",
        "CollectInvestigationPackage",
        "RunAntiVirusScan",
        "RestrictCodeExecution",
        "StopAndQuarantineFile",
    }
    assert actions["Isolate"].parameters == {"scope": "Selective"}
    assert actions["StopAndQuarantineFile"].parameters == {"sha1": "1" * 40}
    assert "alert da1_1, as ann has set it" in (actions["Isolate"].requestor_comment or "")
    assert len(investigations) == 1
    assert (indicator.indicator_type, indicator.action) == ("FileSha256", "BlockAndRemediate")
    assert indicator.rbac_group_names == ["Servers"]


def test_what_was_asked_for_before_a_crash_is_not_asked_again(
    responses: RuleResponses, database: Database
) -> None:
    ask(database, "Isolate")
    responses.carry_out()
    with database.session(TENANT) as session:
        # As if the server had died after the action was made and before that was noted.
        session.scalars(select(RuleResponse)).one().status = "Pending"
        session.scalars(select(MachineAction)).one().status = "Succeeded"
    responses.carry_out()
    with database.read(TENANT) as session:
        assert len(session.scalars(select(MachineAction)).all()) == 1


def test_what_is_under_way_already_is_done(responses: RuleResponses, database: Database) -> None:
    ask(database, "Isolate")
    ask(database, "Isolate", alert_id="da2_1")
    responses.carry_out()
    assert outcomes(database)["Isolate"][0] == "Done"
    with database.read(TENANT) as session:
        assert len(session.scalars(select(MachineAction)).all()) == 1


def test_what_cannot_be_done_says_why(responses: RuleResponses, database: Database) -> None:
    ask(database, "Isolate", "b" * 40, device_id="b" * 40)
    responses.carry_out()
    status, message = outcomes(database)["Isolate"]
    assert status == "Failed"
    assert "not found" in (message or "")


def test_what_fails_without_its_fault_is_tried_again_and_ends(
    responses: RuleResponses, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("disk")

    monkeypatch.setattr(ActionService, "create", broken)
    ask(database, "Isolate")
    for _ in range(ATTEMPTS - 1):
        responses.carry_out()
        assert outcomes(database)["Isolate"][0] == "Pending"
    responses.carry_out()
    assert outcomes(database)["Isolate"][0] == "Failed"
    assert responses.carry_out() == 0
