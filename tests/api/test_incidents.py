"""Incidents of Defender XDR as the contract describes them and clients change them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert, Incident
from shieldwall.devices.models import Device
from shieldwall.identity.models import AuditEntry
from tests.api.conftest import DEVICE, URL, Api, alert, incident
from tests.conftest import OTHER_TENANT, TENANT

INCIDENT_KEYS = """
incidentId incidentUri redirectIncidentId incidentName createdTime lastUpdateTime assignedTo classification
determination status severity tags comments alerts
"""
ALERT_KEYS = """
alertId providerAlertId incidentId serviceSource creationTime lastUpdatedTime resolvedTime firstActivity
lastActivity title description category status severity investigationId investigationState classification
determination detectionSource detectorId assignedTo actorName threatFamilyName mitreTechniques devices
entities
"""
ENTITY_KEYS = """
entityType evidenceCreationTime sha1 sha256 fileName filePath processId processCommandLine processCreationTime
parentProcessId parentProcessCreationTime ipAddress url accountName domainName userSid aadUserId
userPrincipalName mailboxDisplayName mailboxAddress clusterBy sender recipient subject deliveryAction
securityGroupId securityGroupName registryHive registryKey registryValueType registryValue deviceId
detectionStatus
"""


def first(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/api/incidents?$orderby=incidentId&$top=1")["value"][0]
    return found


def change(api: Api, identifier: int, **body: object) -> dict[str, Any]:
    answer = api.call("PATCH", f"/api/incidents/{identifier}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_incident_has_every_property_with_its_alerts_devices_and_entities(api: Api) -> None:
    body = api.get("/api/incidents")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Incidents"
    row = body["value"][0]
    assert list(row) == INCIDENT_KEYS.split()
    assert isinstance(row["incidentId"], int)
    assert (row["status"], row["classification"], row["determination"]) == (
        "Active",
        "Unknown",
        "NotAvailable",
    )
    assert [list(item) for item in row["alerts"]] == [ALERT_KEYS.split()] * 4
    inner = row["alerts"][0]
    assert [list(item) for item in inner["entities"]] == [ENTITY_KEYS.split()] * 5
    assert (inner["serviceSource"], inner["devices"][0]["mdatpDeviceId"]) == (
        "MicrosoftDefenderForEndpoint",
        DEVICE,
    )
    one = api.get(f"/api/incidents/{row['incidentId']}")
    assert one.pop("@odata.context") == f"{URL}/api/$metadata#Incidents/$entity"
    assert one == row


def test_a_page_of_incidents_has_at_most_100_and_goes_on_by_its_link(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.add_all([incident() for _ in range(120)])
    seen: list[int] = []
    link = f"{URL}/api/incidents?$top=110"
    while link:
        body = api.get(link.removeprefix(URL))
        assert len(body["value"]) <= 100
        seen += [row["incidentId"] for row in body["value"]]
        link = body.get("@odata.nextLink", "")
    assert len(seen) == len(set(seen)) == 110
    assert api.call("GET", "/api/incidents/$count").text == "121"
    skipped = api.get("/api/incidents?$skip=100")["value"]
    assert [row["incidentId"] for row in skipped[:10]] == seen[100:]


@pytest.mark.parametrize(
    "text",
    [
        "status eq 'Active'",
        "assignedTo eq null",
        "createdTime ge 2026-01-01T00:00:00Z and lastUpdateTime lt 2030-01-01Z",
        "status in ('Active','InProgress')",
        "not tags/any(t: t eq 'x')",
    ],
)
def test_the_documented_filters_of_incidents(api: Api, text: str) -> None:
    assert len(api.get(f"/api/incidents?$filter={text}")["value"]) == 1
    assert api.get(f"/api/incidents?$filter=not ({text})")["value"] == []


def test_a_change_keeps_what_it_does_not_name(api: Api) -> None:
    before = first(api)
    after = change(api, before["incidentId"], assignedTo="ann@contoso.com")
    assert after.pop("lastUpdateTime") > before.pop("lastUpdateTime")
    assert after.pop("@odata.context") == f"{URL}/api/$metadata#Incidents/$entity"
    assert after.pop("assignedTo") == "ann@contoso.com"
    before.pop("assignedTo")
    assert after == before


@pytest.mark.parametrize(
    ("property_", "sent", "kept"),
    [
        ("status", "InProgress", "InProgress"),
        ("status", "active", "Active"),
        ("classification", "FalsePositive", "FalsePositive"),
        ("determination", "CompromisedAccount", "CompromisedUser"),
        ("determination", "ConfirmedUserActivity", "ConfirmedActivity"),
        ("determination", "NoEnoughDataToValidate", "InsufficientData"),
        ("determination", "Clean", "NotMalicious"),
        ("determination", "MultiStagedAttack", "MultiStagedAttack"),
    ],
)
def test_both_spellings_are_understood_and_the_newest_answered(
    api: Api, property_: str, sent: str, kept: str
) -> None:
    identifier = first(api)["incidentId"]
    assert change(api, identifier, **{property_: sent})[property_] == kept
    assert len(api.get(f"/api/incidents?$filter={property_} eq '{sent}'")["value"]) == 1


def test_tags_are_replaced_and_comments_added(api: Api) -> None:
    identifier = first(api)["incidentId"]
    assert change(api, identifier, tags=["one", "two", "one"])["tags"] == ["one", "two"]
    assert change(api, identifier, tags=["three"], comment="first")["tags"] == ["three"]
    comments = change(api, identifier, comment="second")["comments"]
    assert [list(item) for item in comments] == [["comment", "createdBy", "createdTime"]] * 2
    assert [item["comment"] for item in comments] == ["first", "second"]
    assert api.get("/api/incidents?$filter=tags/any(t:t eq 'three')&$count=true")["@odata.count"] == 1
    assert change(api, identifier, tags=[])["tags"] == []


def test_resolving_an_incident_resolves_its_alerts_and_calms_their_devices(api: Api) -> None:
    identifier = first(api)["incidentId"]
    assert change(api, identifier, status="Resolved")["status"] == "Resolved"
    with api.services.database.read(TENANT) as session:
        assert {row.status for row in session.scalars(select(Alert))} == {"Resolved"}
        assert all(row.resolved_time for row in session.scalars(select(Alert)))
        assert session.get(Device, DEVICE).risk_score == "None"
    assert change(api, identifier, status="Active")["status"] == "Active"


def test_an_incident_changes_with_its_alerts(api: Api) -> None:
    before = first(api)
    number = before["alerts"][0]["alertId"]
    api.call("PATCH", f"/api/alerts/{number}", json={"comment": "seen"})
    assert first(api)["lastUpdateTime"] > before["lastUpdateTime"]


def test_a_merged_incident_names_where_it_went_and_takes_no_changes(api: Api) -> None:
    target = first(api)["incidentId"]
    with api.services.database.session(TENANT) as session:
        merged = incident(status="Redirected", redirect_incident_id=target, tags=["Redirected"])
        session.add(merged)
        session.flush()
        identifier = merged.id
    body = api.get(f"/api/incidents/{identifier}")
    assert (body["status"], body["redirectIncidentId"]) == ("Redirected", target)
    assert (body["alerts"], body["tags"]) == ([], ["Redirected"])
    refused = api.error("PATCH", f"/api/incidents/{identifier}", json={"status": "Active"})
    assert refused == (400, "BadRequest")
    wrong = api.error("PATCH", f"/api/incidents/{target}", json={"status": "Redirected"})
    assert wrong == (400, "InvalidRequestBody")


def test_changes_at_the_same_time_are_all_kept(api: Api) -> None:
    identifier = first(api)["incidentId"]
    change(api, identifier, comment="first")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: change(api, identifier, comment=f"{number}"), range(16)))
    comments = {item["comment"] for item in first(api)["comments"]}
    assert comments == {"first", *map(str, range(16))}


def test_every_change_is_in_the_audit_log(api: Api) -> None:
    identifier = first(api)["incidentId"]
    change(api, identifier, status="InProgress", comment="mine")
    with api.services.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "incident.update")).one()
    assert (entry.target, entry.detail) == (str(identifier), {"status": "InProgress"})


@pytest.mark.parametrize(
    "body",
    [{}, {"status": "Closed"}, {"tags": "one"}, {"tags": [1]}, {"comment": "x" * 4001}, {"assignedTo": 1}],
)
def test_changes_that_cannot_be_read_are_refused(api: Api, body: dict[str, object]) -> None:
    path = f"/api/incidents/{first(api)['incidentId']}"
    assert api.error("PATCH", path, json=body) == (400, "InvalidRequestBody")


def test_incidents_are_bounded(api: Api) -> None:
    identifier = first(api)["incidentId"]
    with api.services.database.session(TENANT) as session:
        session.get(Incident, identifier).comments = [{"comment": "x"}] * 1000
    for body in ({"comment": "one more"}, {"tags": [str(number) for number in range(101)]}):
        assert api.error("PATCH", f"/api/incidents/{identifier}", json=body) == (400, "BadRequest")


def test_unknown_foreign_and_forbidden_incidents(api: Api) -> None:
    foreign = api.get("/api/incidents", tenant=OTHER_TENANT)["value"][0]["incidentId"]
    for name in ("999999", "abc", str(foreign), "9" * 30):
        assert api.error("GET", f"/api/incidents/{name}") == (404, "ResourceNotFound")
        refused = api.error("PATCH", f"/api/incidents/{name}", json={"status": "Active"})
        assert refused == (404, "ResourceNotFound")
    path = f"/api/incidents/{first(api)['incidentId']}"
    assert api.call("GET", path, roles=("Incident.Read.All",)).status_code == 200
    for method, roles in (("GET", ("Alert.Read.All",)), ("PATCH", ("Incident.Read.All",))):
        refused = api.error(method, path, json={"status": "Active"}, roles=roles)
        assert refused == (403, "Forbidden")


def test_an_alert_of_an_incident_that_grew(api: Api) -> None:
    identifier = first(api)["incidentId"]
    with api.services.database.session(TENANT) as session:
        session.add(alert(30, identifier))
    assert len(api.get(f"/api/incidents/{identifier}?$expand=alerts")["alerts"]) == 5
