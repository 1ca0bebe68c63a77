"""Alerts start investigations by themselves, and the response follows, at once or after approval."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError
from shieldwall.investigations import levels, service
from shieldwall.investigations.models import Investigation
from shieldwall.settings import Settings
from shieldwall.state import scope
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT
from tests.investigations.conftest import ANALYST, Bench, File


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other without a pause."""
    monkeypatch.setattr(service, "PAUSE", timedelta())


def test_an_alert_about_a_listed_file_ends_with_the_file_in_quarantine(bench: Bench) -> None:
    file, device = File(), bench.device()
    bench.block(file)
    alert = bench.alert(device, file)
    bench.work()
    row = bench.only()
    assert (row.machine_id, row.triggering_alert_id, row.requestor) == (
        device,
        alert,
        "Automated investigation",
    )
    assert bench.shown(alert) == (row.id, "Running")
    (action,) = row.actions
    assert (action["type"], action["sha1"], action["machineId"]) == (
        "StopAndQuarantineFile",
        file.sha1,
        device,
    )
    bench.succeed(action)
    bench.work()
    assert bench.shown(alert) == (row.id, "SuccessfullyRemediated")


def test_the_evidence_shows_what_was_found_and_done(bench: Bench) -> None:
    bad, rare, device = File(), File("/home/a/rare"), bench.device()
    bench.block(bad)
    alerts = [bench.alert(device, file) for file in (bad, rare)]
    other = bench.alert(bench.device("Lab", "none"), bad)
    bench.work()

    def shown(alert: str) -> tuple[str, str]:
        with bench.database.read(TENANT) as session:
            row = session.scalars(select(Evidence).where(Evidence.alert_id == alert)).one()
            return row.verdict, row.remediation_status

    assert [shown(alert) for alert in alerts] == [("Malicious", "None"), ("Suspicious", "None")]
    bench.succeed(next(action for action in bench.only().actions if action["sha1"] == bad.sha1))
    bench.work()
    assert [shown(alert) for alert in alerts] == [("Malicious", "Remediated"), ("Suspicious", "None")]
    assert shown(other) == ("Unknown", "None"), "of no investigation"


def test_under_a_semi_automatic_level_it_waits_until_a_user_approves(bench: Bench) -> None:
    file, device = File(), bench.device("Servers", "all_folders")
    bench.block(file)
    alert = bench.alert(device, file)
    bench.work()
    row = bench.only()
    assert bench.shown(alert)[1] == "PendingApproval"
    assert [(action["status"], action["machineActionId"]) for action in row.actions] == [
        ("PendingApproval", None)
    ]
    bench.work()
    assert bench.only().actions == row.actions, "it goes on waiting"
    bench.service.decide(ANALYST, row.id, 1, True)
    bench.succeed(bench.only().actions[0])
    bench.work()
    assert bench.shown(alert)[1] == "SuccessfullyRemediated"


def test_what_waits_outlives_the_server(bench: Bench, telemetry: TelemetryStore) -> None:
    file, device = File(), bench.device("Servers", "all_folders")
    bench.block(file)
    alert = bench.alert(device, file)
    bench.work()
    bench.database.close()
    again = Bench(Database(bench.database.url), telemetry)
    again.work()
    (action,) = again.only().actions
    assert action["status"] == "PendingApproval"
    again.service.decide(ANALYST, again.only().id, 1, False)
    again.database.close()
    last = Bench(Database(bench.database.url), telemetry)
    last.work()
    assert last.only().actions[0]["decidedBy"] == "app"
    assert last.shown(alert)[1] == "TerminatedByUser"
    last.database.close()


def test_without_automation_nothing_starts(bench: Bench) -> None:
    file = File()
    alert = bench.alert(bench.device("Lab", "none"), file)
    other = bench.alert(bench.device(), file)
    bench.work()
    assert bench.shown(alert) == (None, "UnsupportedAlertType")
    assert bench.shown(other)[0] == bench.only().id


def test_the_level_is_the_groups_else_the_tenants_else_the_servers(bench: Bench) -> None:
    devices = {
        "none": bench.device("Lab", "none"),
        "all_folders": bench.device("Office"),
        "core_folders": bench.device("Shop"),
    }

    def level(device_id: str) -> str:
        with bench.database.read(TENANT) as session:
            device = session.get(Device, device_id)
            assert device is not None
            return levels.automation_level(session, device, "full")

    assert level(devices["all_folders"]) == "full"
    levels.set_level(bench.database, TENANT, None, "all_folders", "ann")
    levels.set_level(bench.database, TENANT, "Shop", "core_folders", "ann")
    assert {name: level(device) for name, device in devices.items()} == {name: name for name in devices}
    levels.set_level(bench.database, TENANT, "Shop", None, "ann")
    assert level(devices["core_folders"]) == "all_folders"
    with pytest.raises(ApiError, match="one of full"):
        levels.set_level(bench.database, TENANT, None, "half", "ann")
    with pytest.raises(ApiError) as unknown:
        levels.set_level(bench.database, OTHER_TENANT, "Shop", "none", "eve")
    assert unknown.value.status == 404


def test_alerts_that_no_investigation_can_judge_say_so(bench: Bench) -> None:
    device = bench.device()
    address = bench.alert(device)
    resolved = bench.alert(device, File())
    gone = bench.alert(bench.device(revoked=True), File())
    told = bench.alert(bench.device(public_key=""), File())
    with bench.database.session(TENANT) as session:
        session.execute(update(Alert).where(Alert.id == resolved).values(status="Resolved"))
    bench.work()
    assert bench.investigations() == []
    states = [bench.shown(alert)[1] for alert in (address, resolved, gone, told)]
    assert states == ["UnsupportedAlertType", "SuppressedAlert", "UnsupportedAlertType", "UnsupportedOs"]
    assert bench.triggers.take_up() == 0, "each is looked at once"


def test_an_alert_starts_one_as_soon_as_its_device_is_known(bench: Bench) -> None:
    alert = bench.alert(None, File())
    bench.work()
    assert bench.shown(alert) == (None, None)
    with bench.database.session(TENANT) as session:
        session.execute(update(Alert).where(Alert.id == alert).values(machine_id=bench.device()))
    bench.work()
    assert bench.shown(alert) == (bench.only().id, "PendingApproval")


def test_a_later_alert_of_the_device_joins_and_is_looked_at_in_another_round(
    bench: Bench, at_once: None
) -> None:
    first, second, device = File(), File("/home/a/second"), bench.device("Servers", "all_folders")
    for file in (first, second):
        bench.block(file)
    bench.alert(device, first)
    bench.work()
    later = bench.alert(device, second)
    bench.work()
    row = bench.only()
    assert bench.shown(later) == (row.id, "PendingApproval")
    assert [(action["number"], action["sha1"]) for action in row.actions] == [
        (1, first.sha1),
        (2, second.sha1),
    ]
    assert (row.wanted, row.judged) == (2, 2)


def test_an_investigation_does_not_end_before_it_has_looked_at_what_joined(bench: Bench) -> None:
    first, second, device = File(), File("/home/a/second"), bench.device()
    for file in (first, second):
        bench.block(file)
    bench.alert(device, first)
    bench.work()
    later = bench.alert(device, second)
    bench.triggers.take_up()
    bench.succeed(bench.only().actions[0])
    bench.service.follow()
    assert bench.shown(later)[1] == "Running", "the first file is done, the second was not looked at"
    assert bench.service.queued() == [], "a round waits a little for more alerts"
    with bench.database.session(TENANT) as session:
        session.execute(update(Investigation).values(last_update_time=now() - service.PAUSE))
    bench.work()
    assert [action["sha1"] for action in bench.only().actions] == [first.sha1, second.sha1]


def test_a_file_that_comes_back_is_remediated_again(bench: Bench, at_once: None) -> None:
    file, other, device = File(), File("/home/a/other"), bench.device()
    bench.block(file)
    bench.alert(device, file)
    bench.alert(device, other)  # suspicious: it waits, and so the investigation stays open
    bench.work()
    done = next(action for action in bench.only().actions if action["sha1"] == file.sha1)
    bench.succeed(done)
    bench.work()
    bench.work()
    assert len(bench.only().actions) == 2, "once is enough"
    bench.alert(device, file)
    bench.work()
    again = [action["status"] for action in bench.only().actions if action["sha1"] == file.sha1]
    assert again == ["Succeeded", "Approved"]


def test_alerts_about_the_same_threat_elsewhere_add_their_devices(bench: Bench, at_once: None) -> None:
    file, devices = File(), [bench.device("Servers", "all_folders"), bench.device()]
    bench.block(file)
    bench.alert(devices[0], file)
    bench.work()
    joined = bench.alert(devices[1], file)
    bench.work()
    row = bench.only()
    assert bench.shown(joined)[0] == row.id
    assert {action["machineId"]: action["status"] for action in row.actions} == {
        devices[0]: "PendingApproval",
        devices[1]: "Approved",
    }, "each device by its own level"


def test_a_file_that_is_no_threat_ties_nothing_together(bench: Bench) -> None:
    shell = File("/usr/bin/bash")
    for _ in range(2):
        bench.alert(bench.device(), shell)
        bench.work()
    assert len(bench.investigations()) == 2


def test_an_investigation_of_ten_devices_takes_in_no_other(bench: Bench, at_once: None) -> None:
    file = File()
    bench.block(file)
    for _ in range(11):
        bench.alert(bench.device(), file)
        bench.work()
    rows = bench.investigations()
    assert [len({action["machineId"] for action in row.actions}) for row in rows] == [10, 1]


@pytest.mark.parametrize(("others", "expected"), [(9, "Approved"), (10, "PendingApproval")])
def test_a_malicious_file_is_remediated_wherever_it_was_seen(
    bench: Bench, others: int, expected: str
) -> None:
    """Up to nine devices at once; the growth to ten or more waits for approval."""
    file, device = File(), bench.device()
    elsewhere = [bench.device() for _ in range(others)]
    bench.block(file)
    bench.seen(file, [device, *elsewhere, "f" * 40, bench.device(public_key="")])
    bench.alert(device, file)
    bench.work()
    found = {action["machineId"]: action["status"] for action in bench.only().actions}
    assert found.pop(device) == "Approved"
    assert found == dict.fromkeys(elsewhere, expected)


def test_a_file_that_is_only_bad_for_some_groups_is_left_alone_in_others(bench: Bench) -> None:
    file, device, other = File(), bench.device("Servers"), bench.device()
    bench.block(file, rbacGroupNames=["Servers"])
    bench.seen(file, [device, other])
    bench.alert(device, file)
    bench.work()
    assert [action["machineId"] for action in bench.only().actions] == [device]


def test_who_reaches_one_group_decides_for_its_devices_only(bench: Bench, at_once: None) -> None:
    file = File()
    mine, other = bench.device("Mine", "all_folders"), bench.device("Other", "all_folders")
    bench.block(file)
    for device in (mine, other):
        bench.alert(device, file)
        bench.work()
    row = bench.only()
    number = {action["machineId"]: action["number"] for action in row.actions}
    with bench.database.read(TENANT) as session:
        group = session.get(Device, mine).device_group_id  # type: ignore[union-attr]

    def decide(device: str) -> None:
        scope.narrow(scope.DeviceScope(frozenset({group or 0}), frozenset({"Mine"})))
        bench.service.decide(ANALYST, row.id, number[device], True)

    def in_a_request(device: str) -> list[BaseException]:
        failures: list[BaseException] = []

        def run() -> None:
            try:
                decide(device)
            except ApiError as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return failures

    (refused,) = in_a_request(other)
    assert isinstance(refused, ApiError)
    assert refused.status == 403
    bench.service.decide(ANALYST, row.id, number[other], True)
    with bench.database.session(TENANT) as session:
        kept = session.get(Investigation, row.id)
        assert kept is not None
        kept.actions = [{**action, "machineActionId": None} for action in kept.actions]
    assert in_a_request(mine) == []
    states = {action["machineId"]: action["status"] for action in bench.only().actions}
    assert states == {mine: "Approved", other: "Approved"}, "what others approved does not fail for it"


def test_servers_that_look_at_once_start_one_investigation(
    database: Database, telemetry: TelemetryStore
) -> None:
    bench = Bench(database, telemetry)
    device = bench.device()
    for _ in range(8):
        bench.alert(device, File())
    together = threading.Barrier(4)

    def look() -> None:
        other = Bench(Database(database.url), telemetry)
        together.wait()
        other.triggers.take_up()
        other.database.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.triggers.take_up()
    assert len(bench.investigations()) == 1


def test_the_servers_level_comes_from_its_settings(
    database: Database, telemetry: TelemetryStore, tmp_path: Path
) -> None:
    bench = Bench(database, telemetry, Settings(automation_level="none"))
    alert = bench.alert(bench.device(), File())
    bench.work()
    assert bench.shown(alert) == (None, "UnsupportedAlertType")
