"""Alerts made of a stored event: found to the tick, joined to an open one of the same title."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from shieldwall.alerts.models import Alert
from shieldwall.identity.models import AuditEntry
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, FOREIGN, SECOND, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

PATH = "/api/alerts/CreateAlertByReference"
# Not long ago, since old events are not kept; the digits beyond the microsecond matter.
MOMENT = (now() - timedelta(hours=1)).replace(microsecond=711518)
TICKS = f"{MOMENT:%Y-%m-%dT%H:%M:%S}.7115183Z"
TOLD = {
    "machineId": DEVICE,
    "severity": "Low",
    "title": "Somebody looked around",
    "description": "By hand",
    "recommendedAction": "Ask them",
    "eventTime": TICKS,
    "reportId": "20776",
    "category": "Exploit",
}


@pytest.fixture
def event(api: Api) -> Api:
    """One process event of the first device, with ticks that a Python time cannot hold."""
    store = api.services.telemetry
    count = "SELECT count() AS n FROM DeviceProcessEvents WHERE ReportId = 20776"
    if not store.query(TENANT, count)[0]["n"]:
        for tenant, device in ((TENANT, DEVICE), (OTHER_TENANT, FOREIGN)):
            row = {
                "Timestamp": MOMENT,
                "DeviceId": device,
                "ReportId": 20776,
                "ActionType": "ProcessCreated",
                "FileName": "nmap",
                "FolderPath": "/usr/bin/nmap",
                "SHA1": "5" * 40,
                "ProcessId": 77,
                "ProcessCommandLine": "nmap -sS 10.0.0.0/8",
                "ProcessCreationTime": MOMENT,
                "AccountName": "eve",
                "AccountDomain": "web01",
                "InitiatingProcessId": 70,
            }
            store.insert_rows("DeviceProcessEvents", tenant, [row])
        store.command(
            "INSERT INTO shieldwall.DeviceFileEvents"
            " (TenantId, IngestionTime, Timestamp, DeviceId, ReportId, ActionType, FileName) SELECT"
            " TenantId, IngestionTime, parseDateTime64BestEffort({time:String}, 7,"
            " 'UTC'), DeviceId, 20777, 'FileCreated', 'loot' FROM shieldwall.DeviceProcessEvents"
            " WHERE ReportId = 20776",
            {"time": TICKS},
        )
    return api


def create(api: Api, **more: Any) -> Any:
    answer = api.call("POST", PATH, json={**TOLD, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


EXACT = {"eventTime": to_text(MOMENT)}


def test_an_alert_made_by_reference_is_answered_with_200_and_its_evidence(event: Api) -> None:
    body = create(event, **EXACT)
    assert body["@odata.context"] == f"{URL}/api/$metadata#Alerts/$entity"
    told = {name: body[name] for name in ("machineId", "severity", "title", "description", "category")}
    assert told == {name: TOLD[name] for name in told}
    assert (body["status"], body["detectionSource"]) == ("New", "CustomDetection")
    assert body["firstEventTime"] == body["lastEventTime"] == EXACT["eventTime"]
    process, user = body["evidence"]
    assert (process["entityType"], process["processCommandLine"]) == ("Process", "nmap -sS 10.0.0.0/8")
    assert (process["fileName"], process["filePath"], process["sha1"]) == ("nmap", "/usr/bin", "5" * 40)
    assert (user["entityType"], user["accountName"]) == ("User", "eve")
    assert event.get(f"/api/alerts/{body['id']}")["evidence"] == body["evidence"]
    with event.services.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "alert.create")).one()
    assert entry.target == body["id"]


def test_an_event_is_found_to_the_tick(event: Api) -> None:
    body = create(event, reportId=20777)
    assert [item["fileName"] for item in body["evidence"]] == ["loot"]
    for other in (TICKS.replace("83Z", "84Z"), to_text(MOMENT)):
        refused = event.error("POST", PATH, json={**TOLD, "reportId": 20777, "eventTime": other})
        assert refused == (404, "ResourceNotFound")


def test_an_open_alert_of_the_same_title_on_the_device_takes_the_event_in(event: Api) -> None:
    first = create(event, **EXACT)
    again = create(event, **EXACT)
    assert again == first, "a replayed create changes nothing"
    joined = create(event, reportId=20777)
    assert joined["id"] == first["id"]
    assert len(joined["evidence"]) == len(first["evidence"]) + 1
    other = create(event, title="Another matter", **EXACT)
    assert other["id"] != first["id"]


def test_after_the_alert_was_resolved_a_new_one_is_made(event: Api) -> None:
    first = create(event, **EXACT)
    event.call("PATCH", f"/api/alerts/{first['id']}", json={"status": "Resolved"})
    second = create(event, **EXACT)
    assert (second["id"] != first["id"], second["status"]) == (True, "New")


def test_the_same_asked_for_at_once_is_one_alert(event: Api) -> None:
    create(event, title="warm up", **EXACT)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: create(event, **EXACT)["id"], range(6)))
    assert len(found) == 1
    with event.services.database.read(TENANT) as session:
        assert session.scalar(select(func.count()).where(Alert.title == TOLD["title"])) == 1


@pytest.mark.parametrize("name", TOLD)
def test_each_property_is_required(event: Api, name: str) -> None:
    body = {key: value for key, value in TOLD.items() if key != name}
    answer = event.call("POST", PATH, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("MissingRequiredParameter", f"Parameter {name} is missing.")


@pytest.mark.parametrize(
    "wrong",
    [
        {"severity": "Informational"},
        {"category": "Weather"},
        {"reportId": "x"},
        {"reportId": True},
        {"reportId": "9" * 30},
        {"eventTime": "yesterday"},
        {"title": "x" * 501},
        {"description": 7},
    ],
)
def test_values_that_do_not_fit_are_refused(event: Api, wrong: dict[str, object]) -> None:
    assert event.error("POST", PATH, json={**TOLD, **wrong}) == (400, "InvalidRequestBody")


def test_unknown_events_and_devices_are_404_and_permissions_403(event: Api) -> None:
    for wrong in ({"reportId": "1"}, {"machineId": "0" * 40}, {"machineId": SECOND}, {"machineId": FOREIGN}):
        assert event.error("POST", PATH, json={**TOLD, **EXACT, **wrong}) == (404, "ResourceNotFound")
    refused = event.error("POST", PATH, json=TOLD, roles=("Alert.Read.All",))
    assert refused == (403, "Forbidden")
