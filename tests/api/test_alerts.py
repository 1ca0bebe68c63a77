"""Alerts as the contract describes them and clients read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Insert, insert, select

from shieldwall.alerts.models import Alert
from shieldwall.api import alert_changes
from shieldwall.identity.models import AuditEntry
from shieldwall.state.engine import Base
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, SECOND, URL, Api, entity
from tests.conftest import OTHER_TENANT, TENANT

FIRST, SECOND_ALERT, THIRD, FOURTH = (f"da{number:018d}_1" for number in (1, 2, 3, 4))

ALERT_KEYS = """
id incidentId investigationId assignedTo severity status classification determination investigationState
detectionSource detectorId category threatFamilyName title description alertCreationTime firstEventTime
lastEventTime lastUpdateTime resolvedTime machineId computerDnsName rbacGroupName aadTenantId threatName
mitreTechniques relatedUser loggedOnUsers comments evidence domains
"""
EVIDENCE_KEYS = """
entityType evidenceCreationTime sha1 sha256 fileName filePath processId processCommandLine processCreationTime
parentProcessId parentProcessCreationTime parentProcessFileName parentProcessFilePath ipAddress url
registryKey registryHive registryValueType registryValue accountName domainName userSid aadUserId
userPrincipalName detectionStatus
"""


def change(api: Api, identifier: str = FIRST, **body: object) -> dict[str, object]:
    answer = api.call("PATCH", f"/api/alerts/{identifier}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_alert_has_every_property_of_the_contract(api: Api) -> None:
    body = api.get(f"/api/alerts/{FIRST}")
    assert list(body) == ["@odata.context", *ALERT_KEYS.split()]
    assert body["@odata.context"] == f"{URL}/api/$metadata#Alerts/$entity"
    assert isinstance(body["incidentId"], int)
    assert body["aadTenantId"] == TENANT
    assert body["mitreTechniques"] == ["T1059", "T1204"]
    assert body["relatedUser"] == {"userName": "root", "domainName": "web01"}


def test_times_have_their_trailing_zeros_trimmed(api: Api) -> None:
    body = api.get(f"/api/alerts/{FIRST}")
    assert body["alertCreationTime"] == "2026-01-02T03:05:05.12Z"
    assert body["resolvedTime"] is None


def test_evidence_has_all_25_keys_even_when_null(api: Api) -> None:
    evidence = api.get(f"/api/alerts/{FIRST}")["evidence"]
    assert [list(item) for item in evidence] == [EVIDENCE_KEYS.split()] * 5
    assert evidence[2]["sha256"] is None
    assert evidence[0]["detectionStatus"] == "Detected"


def test_lists_hold_evidence_only_when_expanded(api: Api) -> None:
    plain = api.get("/api/alerts?$orderby=id")["value"]
    assert [item["evidence"] for item in plain] == [[], [], [], []]
    expanded = api.get("/api/alerts?$expand=evidence&$orderby=id")["value"]
    assert [len(item["evidence"]) for item in expanded] == [5, 0, 0, 0]
    assert [item["entityType"] for item in expanded[0]["evidence"]] == [
        "File",
        "Process",
        "Ip",
        "Url",
        "User",
    ]


def test_comments_are_always_a_list_with_createdtime(api: Api) -> None:
    values = api.get("/api/alerts?$orderby=id")["value"]
    assert values[0]["comments"] == [
        {"comment": "seen", "createdBy": "me", "createdTime": "2026-01-02T03:04:05.12Z"}
    ]
    assert values[1]["comments"] == []


def test_the_newest_alert_comes_first(api: Api) -> None:
    assert [item["id"] for item in api.get("/api/alerts?$top=2")["value"]] == [FOURTH, THIRD]


def test_select_keeps_only_the_named_properties(api: Api) -> None:
    body = api.get("/api/alerts?$select=id,Severity&$top=1")
    assert body["value"] == [{"id": FOURTH, "severity": "Informational"}]


def test_alerts_of_a_device_by_id_name_or_directory_id(api: Api) -> None:
    for name in (DEVICE, DEVICE.upper(), "web01.contoso.com", "0f0e0d0c-0000-4000-8000-000000000001"):
        assert len(api.get(f"/api/machines/{name}/alerts")["value"]) == 3
    body = api.get(f"/api/machines/{SECOND}/alerts?$filter=severity eq 'Informational'&$count=true")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Alerts"
    assert (body["@odata.count"], body["value"][0]["id"]) == (1, FOURTH)


def test_what_belongs_to_an_alert(api: Api) -> None:
    domains = api.get(f"/api/alerts/{FIRST}/domains")
    assert domains == {
        "@odata.context": f"{URL}/api/$metadata#Domains",
        "value": [{"host": "bad.example.com"}],
    }
    ips = api.get(f"/api/alerts/{FIRST}/ips")
    assert ips == {"@odata.context": f"{URL}/api/$metadata#Ips", "value": [{"id": "203.0.113.9"}]}
    files = api.get(f"/api/alerts/{FIRST}/files")
    assert files["@odata.context"] == f"{URL}/api/$metadata#Files"
    assert [(file["sha1"], file["sha256"], file["md5"]) for file in files["value"]] == [
        ("1" * 40, "2" * 64, "3" * 32)
    ]
    machine = api.get(f"/api/alerts/{FIRST}/machine")
    assert (machine["@odata.context"], machine["id"]) == (f"{URL}/api/$metadata#Machines/$entity", DEVICE)
    user = api.get(f"/api/alerts/{FIRST}/user")
    assert user["@odata.context"] == f"{URL}/api/$metadata#Users/$entity"
    assert (user["id"], user["accountSid"]) == ("web01\\root", "S-1-22-1-0")
    assert user["firstSeen"] == "2026-01-02T03:04:05Z", "times of users have no fraction"


def test_the_user_of_an_alert_has_the_facts_of_the_stored_logons(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.get(Alert, SECOND_ALERT).related_user = {"userName": "alice", "domainName": "web01"}
    logon, moment = {"AccountName": "alice", "AccountDomain": "web01"}, now()
    for tenant, device, kind, days in (
        (TENANT, DEVICE, "Interactive", 0),
        (TENANT, DEVICE, "Network", 1),
        (TENANT, SECOND, "Network", 2),
        (OTHER_TENANT, "f" * 40, "Batch", 3),
    ):
        row = logon | {"Timestamp": moment - timedelta(days=days), "DeviceId": device, "LogonType": kind}
        api.services.telemetry.insert_rows("DeviceLogonEvents", tenant, [row])
    user = api.get(f"/api/alerts/{SECOND_ALERT}/user")
    assert (user["logonTypes"], user["logOnMachinesCount"]) == ("Interactive, Network", 2)
    assert (user["mostPrevalentMachineId"], user["leastPrevalentMachineId"]) == (DEVICE, SECOND)
    assert user["lastSeen"] == to_text(moment.replace(microsecond=0))
    assert user["firstSeen"] == to_text(moment.replace(microsecond=0) - timedelta(days=2))


def test_the_story_of_an_alert_is_its_process_tree_with_the_alerts_on_it(api: Api) -> None:
    started = now().replace(microsecond=0)
    with api.services.database.session(TENANT) as session:
        for identifier, number in ((FIRST, 301), (SECOND_ALERT, 302)):
            found = entity("Process", alert_id=identifier, process_id=number, process_creation_time=started)
            session.add(found)
    for tenant, number, parent, name in (
        (TENANT, 301, 300, "dropper"),
        (TENANT, 302, 301, "payload"),
        (OTHER_TENANT, 303, 301, "foreign"),
    ):
        row = {
            "Timestamp": started,
            "DeviceId": DEVICE,
            "ActionType": "ProcessCreated",
            "FileName": name,
            "ProcessId": number,
            "ProcessCreationTime": started,
            "ProcessCommandLine": f"/tmp/{name}",
            "InitiatingProcessId": parent,
            "InitiatingProcessCreationTime": started,
        }
        api.services.telemetry.insert_rows("DeviceProcessEvents", tenant, [row])
    story = api.get(f"/api/alerts/{SECOND_ALERT}/story")
    assert (story["alertId"], story["machineId"]) == (SECOND_ALERT, DEVICE)
    root = story["processTree"]
    assert (root["processId"], root["alerts"], len(root["children"])) == (300, [], 1)
    dropper = root["children"][0]
    assert (dropper["fileName"], dropper["commandLine"], dropper["alerts"]) == (
        "dropper",
        "/tmp/dropper",
        ["Alert 1"],
    )
    assert [(child["fileName"], child["alerts"]) for child in dropper["children"]] == [
        ("payload", ["Alert 2"])
    ]
    assert api.get(f"/api/alerts/{FOURTH}/story")["processTree"] is None
    assert api.error("GET", "/api/alerts/none/story") == (404, "ResourceNotFound")


def test_an_alert_without_things_of_a_kind(api: Api) -> None:
    for kind in ("domains", "ips", "files"):
        assert api.get(f"/api/alerts/{FOURTH}/{kind}")["value"] == []
    assert api.error("GET", f"/api/alerts/{FOURTH}/user") == (404, "ResourceNotFound")


def test_a_change_keeps_what_it_does_not_name(api: Api) -> None:
    before = api.get(f"/api/alerts/{FIRST}")
    after = change(api, assignedTo="ann@contoso.com")
    assert after.pop("assignedTo") == "ann@contoso.com"
    assert after.pop("lastUpdateTime") > before.pop("lastUpdateTime")
    before.pop("assignedTo")
    assert after == before


@pytest.mark.parametrize(
    ("property_", "sent", "kept"),
    [
        ("determination", "ConfirmedUserActivity", "ConfirmedActivity"),
        ("determination", "ConfirmedActivity", "ConfirmedActivity"),
        ("determination", "Clean", "NotMalicious"),
        ("determination", "NotMalicious", "NotMalicious"),
        ("determination", "malware", "Malware"),
        ("classification", "Informational, expected activity", "InformationalExpectedActivity"),
        ("classification", "FalsePositive", "FalsePositive"),
        ("status", "inprogress", "InProgress"),
    ],
)
def test_both_spellings_are_understood_and_the_newest_answered(
    api: Api, property_: str, sent: str, kept: str
) -> None:
    assert change(api, **{property_: sent})[property_] == kept


def test_a_pair_that_the_table_does_not_allow_is_taken_as_the_documentations_own_sample(api: Api) -> None:
    body = change(api, classification="FalsePositive", determination="Malware")
    assert (body["classification"], body["determination"]) == ("FalsePositive", "Malware")


def test_resolving_sets_the_time_and_reopening_clears_it(api: Api) -> None:
    resolved = change(api, status="Resolved")
    assert resolved["resolvedTime"] == resolved["lastUpdateTime"]
    again = change(api, status="Resolved", comment="once more")
    assert again["resolvedTime"] == resolved["resolvedTime"]
    assert change(api, status="New")["resolvedTime"] is None


def test_a_comment_may_come_alone_and_is_added(api: Api) -> None:
    comments = change(api, Comment="one")["comments"]
    comments = change(api, comment="two")["comments"]
    assert [item["comment"] for item in comments] == ["seen", "one", "two"]
    assert comments[1]["createdBy"].startswith("application")


def test_every_change_is_in_the_audit_log(api: Api) -> None:
    change(api, status="Resolved")
    with api.services.database.read(TENANT) as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "alert.update")).all()
    assert [(entry.target, entry.detail) for entry in entries] == [(FIRST, {"status": "Resolved"})]


def test_changes_at_the_same_time_are_all_kept(api: Api) -> None:
    change(api, comment="first")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: change(api, comment=f"{number}"), range(24)))
    comments = {item["comment"] for item in api.get(f"/api/alerts/{FIRST}")["comments"]}
    assert comments == {"seen", "first", *map(str, range(24))}


def test_batch_update_changes_all_and_answers_nothing(api: Api) -> None:
    body = {"alertIds": [FIRST, SECOND_ALERT, FIRST], "status": "Resolved", "comment": "both"}
    answer = api.call("POST", "/api/alerts/batchupdate", json=body)
    assert (answer.status_code, answer.content) == (200, b"")
    found = api.get("/api/alerts?$filter=status eq 'Resolved'&$orderby=id")["value"]
    assert [item["id"] for item in found] == [FIRST, SECOND_ALERT, THIRD]
    assert [item["comment"] for item in found[0]["comments"]] == ["seen", "both"]


def test_batch_update_with_an_unknown_alert_changes_none(api: Api) -> None:
    body = {"alertIds": [FIRST, "da0_0"], "status": "Resolved"}
    assert api.error("POST", "/api/alerts/batchUpdate", json=body) == (404, "ResourceNotFound")
    assert api.get(f"/api/alerts/{FIRST}")["status"] == "New"
    body = {"alertIds": [str(number) for number in range(501)], "status": "Resolved"}
    assert api.error("POST", "/api/alerts/batchUpdate", json=body) == (400, "MaximumBatchSizeExceeded")


def copies(
    row: Base, count: int, **changes: Callable[[int], object]
) -> tuple[Insert, list[dict[str, object]]]:
    """An insert of many rows like ``row``, some columns of which are made from the copy's number."""
    table = type(row).__table__
    values = {column.name: getattr(row, column.name) for column in table.columns}
    values = {name: value for name, value in values.items() if value is not None}
    rows = [values | {name: make(number) for name, make in changes.items()} for number in range(count)]
    return insert(table), rows


@pytest.mark.slow
def test_ten_thousand_alerts_come_in_one_page_and_soon(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        first = session.get(Alert, SECOND_ALERT)
        session.connection().execute(*copies(first, 9_997, id=lambda number: f"da{number + 100:018d}_1"))
        for kind in ("File", "Ip"):
            item = entity(kind, alert_id="", tenant_id=TENANT, sha1="4" * 40)
            make = {"alert_id": lambda number: f"da{number + 100:018d}_1"}
            session.connection().execute(*copies(item, 9_997, **make))
    started = time.perf_counter()
    body = api.get("/api/alerts?$top=10000&$expand=evidence&$count=true")
    seconds = time.perf_counter() - started
    assert body["@odata.count"] == 10_001
    assert len(body["value"]) == 10_000
    assert "@odata.nextLink" not in body, "the client asked for this many and pages by itself"
    assert sum(len(item["evidence"]) for item in body["value"]) > 19_900
    following = api.get("/api/alerts?$expand=evidence")
    assert len(following["value"]) == 10_000
    assert len(api.get(following["@odata.nextLink"].removeprefix(URL))["value"]) == 1
    assert seconds < 15, f"{seconds:.1f} s"


def test_an_alert_has_only_so_many_comments(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_changes, "COMMENTS_LIMIT", 3)
    path = f"/api/alerts/da{4:018d}_1"
    answers = [api.call("PATCH", path, json={"comment": str(turn)}).status_code for turn in range(4)]
    assert answers == [200, 200, 200, 400]
    assert len(api.get(path)["comments"]) == 3
