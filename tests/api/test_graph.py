"""Incidents and alerts on the paths of Graph: its words, shapes, errors and permissions."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.api.graph.words import detection_source, small
from shieldwall.identity.models import Application, AuditEntry
from tests.api.conftest import DEVICE, SECOND, URL, Api, entity, incident
from tests.conftest import OTHER_TENANT, TENANT

ALERTS = "/v1.0/security/alerts_v2"
INCIDENTS = "/v1.0/security/incidents"
FIRST, FOURTH = f"da{1:018d}_1", f"da{4:018d}_1"

ALERT_KEYS = """
id providerAlertId incidentId status severity classification determination serviceSource detectionSource
detectorId tenantId title description recommendedActions category assignedTo alertWebUrl incidentWebUrl
actorDisplayName threatDisplayName threatFamilyName mitreTechniques createdDateTime lastUpdateDateTime
resolvedDateTime firstActivityDateTime lastActivityDateTime comments evidence systemTags
"""
INCIDENT_KEYS = """
id incidentWebUrl tenantId redirectIncidentId displayName createdDateTime lastUpdateDateTime assignedTo
classification determination status severity customTags comments systemTags description
"""
COMMON_KEYS = {
    "@odata.type",
    "createdDateTime",
    "verdict",
    "remediationStatus",
    "remediationStatusDetails",
    "roles",
    "detailedRoles",
    "tags",
}


def refused(api: Api, method: str, path: str, **more: Any) -> tuple[int, str]:
    """Status and code of a refusal, whose shape and headers are Graph's."""
    answer = api.call(method, path, **more)
    error = answer.json()["error"]
    assert list(answer.json()) == ["error"]
    assert list(error) == ["code", "message", "innerError"]
    inner = error["innerError"]
    assert list(inner) == ["date", "request-id", "client-request-id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", inner["date"])
    for name in ("request-id", "client-request-id"):
        assert answer.headers[name] == inner[name]
    return answer.status_code, error["code"]


def incident_id(api: Api) -> str:
    return str(api.get(f"{INCIDENTS}?$orderby=id&$top=1")["value"][0]["id"])


def test_an_alert_has_every_property_in_graphs_words(api: Api) -> None:
    body = api.get(f"{ALERTS}/{FIRST}")
    assert body["@odata.context"] == f"{URL}/v1.0/$metadata#security/alerts_v2/$entity"
    assert set(ALERT_KEYS.split()) <= set(body)
    assert (body["status"], body["severity"], body["detectionSource"]) == ("new", "high", "customTi")
    assert body["serviceSource"] == "microsoftDefenderForEndpoint"
    assert isinstance(body["incidentId"], str)
    assert body["tenantId"] == TENANT
    assert body["comments"] == [
        {"comment": "seen", "createdByDisplayName": "me", "createdDateTime": "2026-01-02T03:04:05.12Z"}
    ]


def test_evidence_names_its_type_and_has_what_is_of_that_type(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        row = session.get(Alert, FIRST)
        row.evidence.append(entity("Registry", registry_hive="HKEY_LOCAL_MACHINE", registry_key="Software"))
    evidence = api.get(f"{ALERTS}/{FIRST}")["evidence"]
    kinds = [item["@odata.type"].removeprefix("#microsoft.graph.security.") for item in evidence]
    assert kinds == [
        "deviceEvidence",
        "fileEvidence",
        "processEvidence",
        "ipEvidence",
        "urlEvidence",
        "userEvidence",
        "registryKeyEvidence",
    ]
    assert all(set(item) > COMMON_KEYS for item in evidence)
    on, file, process, ip, url, user, key = evidence
    assert (on["mdeDeviceId"], on["hostName"], on["dnsDomain"]) == (DEVICE, "Web01", "contoso.com")
    assert (on["healthStatus"], on["rbacGroupName"]) == ("active", "Servers")
    assert (file["detectionStatus"], file["fileDetails"]["sha256"]) == ("detected", "2" * 64)
    assert (process["processId"], process["imageFile"]["sha1"]) == (7, "1" * 40)
    assert (ip["ipAddress"], url["url"]) == ("203.0.113.9", "http://Bad.Example.com/x")
    assert user["userAccount"]["userSid"] == "S-1-22-1-0"
    assert key["registryHive"] == "HKEY_LOCAL_MACHINE"


def test_what_was_prevented_is_remediated(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        row = session.get(Alert, FOURTH)
        row.evidence.append(
            entity(
                "Ip",
                ip_address="1.1.1.1",
                detection_status="Prevented",
                verdict="Suspicious",
                remediation_status="Prevented",
            )
        )
    on, address = api.get(f"{ALERTS}/{FOURTH}")["evidence"]
    assert (on["mdeDeviceId"], on["remediationStatus"], on["verdict"]) == (SECOND, "none", "unknown")
    assert (address["remediationStatus"], address["verdict"]) == ("prevented", "suspicious")


def test_lists_of_alerts_page_count_and_select(api: Api) -> None:
    body = api.get(f"{ALERTS}?$top=1&$skip=1&$count=true&$select=id,Severity")
    assert body["@odata.context"] == f"{URL}/v1.0/$metadata#security/alerts_v2"
    assert body["@odata.count"] == 4
    assert body["value"] == [{"id": f"da{3:018d}_1", "severity": "low"}]
    assert api.call("GET", f"{ALERTS}/$count?$filter=status eq 'new'").text == "2"
    assert list(api.get(f"{ALERTS}/{FIRST}?$select=id")) == ["@odata.context", "id"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("severity eq 'high'", 1),
        ("severity eq microsoft.graph.security.alertSeverity'high'", 1),
        ("status ne 'resolved'", 3),
        ("status in ('new','inProgress')", 3),
        ("classification eq null", 4),
        ("determination eq 'malware'", 0),
        ("assignedTo eq 'ann o''hara'", 1),
        ("serviceSource eq 'microsoftDefenderForEndpoint'", 4),
        ("serviceSource eq microsoft.graph.security.serviceSource'microsoftDefenderForOffice365'", 0),
        ("detectionSource eq 'customTi'", 4),
        ("detectionSource eq 'antivirus'", 0),
        ("createdDateTime ge 2026-01-02T03:07:05Z and lastUpdateDateTime lt 2030-01-01T00:00:00Z", 2),
        ("mitreTechniques/any(t:t eq 'T1059')", 1),
    ],
)
def test_the_documented_filters_of_alerts(api: Api, text: str, count: int) -> None:
    found = api.get(f"{ALERTS}?$count=true&$filter={text}")
    assert (found["@odata.count"], len(found["value"])) == (count, count)


@pytest.mark.parametrize(
    ("property_", "sent", "kept"),
    [
        ("status", "inProgress", "inProgress"),
        ("status", "resolved", "resolved"),
        ("classification", "informationalExpectedActivity", "informationalExpectedActivity"),
        ("determination", "compromisedUser", "compromisedAccount"),
        ("determination", "compromisedAccount", "compromisedAccount"),
        ("determination", "clean", "notMalicious"),
        ("determination", "insufficientData", "notEnoughDataToValidate"),
        ("determination", "confirmedUserActivity", "confirmedActivity"),
        ("determination", "unknown", "unknown"),
        ("assignedTo", "ann@contoso.com", "ann@contoso.com"),
    ],
)
def test_a_change_of_an_alert_or_incident_takes_both_spellings_and_answers_the_newest(
    api: Api, property_: str, sent: str, kept: str
) -> None:
    for path in (f"{ALERTS}/{FIRST}", f"{INCIDENTS}/{incident_id(api)}"):
        answer = api.call("PATCH", path, json={"@odata.type": "#x", property_: sent})
        assert (answer.status_code, answer.json()[property_]) == (200, kept)
        assert api.get(path)[property_] == kept
        collection = path.rpartition("/")[0]
        assert api.get(f"{collection}?$filter={property_} eq '{sent}'&$count=true")["@odata.count"] >= 1


def test_comments_are_answered_with_all_the_others(api: Api) -> None:
    identifier = incident_id(api)
    body = {"@odata.type": "microsoft.graph.security.alertComment", "comment": "two"}
    answer = api.call("POST", f"{ALERTS}/{FIRST}/comments", json=body)
    assert answer.status_code == 200
    assert answer.json()["@odata.context"] == f"{URL}/v1.0/$metadata#security/alerts_v2('{FIRST}')/comments"
    assert [item["comment"] for item in answer.json()["value"]] == ["seen", "two"]
    answer = api.call("POST", f"{INCIDENTS}/{identifier}/comments", json=body)
    assert answer.status_code == 200
    assert [item["comment"] for item in answer.json()["value"]] == ["two"]
    assert [item["comment"] for item in api.get(f"{INCIDENTS}/{identifier}")["comments"]] == ["two"]
    assert refused(api, "POST", f"{ALERTS}/{FIRST}/comments", json={}) == (400, "BadRequest")


def test_an_incident_has_every_property_and_its_alerts_when_expanded(api: Api) -> None:
    identifier = incident_id(api)
    body = api.get(f"{INCIDENTS}/{identifier}")
    assert body["@odata.context"] == f"{URL}/v1.0/$metadata#security/incidents/$entity"
    assert set(INCIDENT_KEYS.split()) <= set(body)
    assert "alerts" not in body
    assert (body["status"], body["classification"], body["determination"]) == ("active", "unknown", "unknown")
    expanded = api.get(f"{INCIDENTS}?$expand=alerts")
    assert expanded["@odata.context"] == f"{URL}/v1.0/$metadata#security/incidents(alerts())"
    alerts = expanded["value"][0]["alerts"]
    assert [item["id"] for item in alerts] == [f"da{number:018d}_1" for number in (1, 2, 3, 4)]
    assert alerts[0] == {
        key: value for key, value in api.get(f"{ALERTS}/{FIRST}").items() if key != "@odata.context"
    }
    assert len(api.get(f"{INCIDENTS}/{identifier}?$expand=alerts")["alerts"]) == 4


def test_an_incident_takes_a_name_a_severity_and_tags(api: Api) -> None:
    path = f"{INCIDENTS}/{incident_id(api)}"
    change = {"displayName": "Ours", "severity": "low", "customTags": ["a", "b"]}
    body = api.call("PATCH", path, json=change).json()
    assert {name: body[name] for name in change} == change
    assert api.get(f"{INCIDENTS}?$filter=customTags/any(t:t eq 'a')&$count=true")["@odata.count"] == 1


def test_a_page_of_incidents_has_at_most_50_and_its_link_is_of_graph(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.add_all([incident() for _ in range(60)])
    first = api.get(INCIDENTS)
    assert first["@odata.nextLink"].startswith(f"{URL}{INCIDENTS}?")
    second = api.get(first["@odata.nextLink"].removeprefix(URL))
    assert (len(first["value"]), len(second["value"]), "@odata.nextLink" in second) == (50, 11, False)


def test_a_merged_incident_names_where_it_went(api: Api) -> None:
    target = incident_id(api)
    with api.services.database.session(TENANT) as session:
        merged = incident(status="Redirected", redirect_incident_id=int(target))
        session.add(merged)
        session.flush()
        number = merged.id
    body = api.get(f"{INCIDENTS}/{number}")
    assert (body["status"], body["redirectIncidentId"]) == ("redirected", target)
    assert refused(api, "PATCH", f"{INCIDENTS}/{number}", json={"status": "active"}) == (400, "BadRequest")


def test_errors_have_graphs_shape_with_the_ids_of_the_request(api: Api) -> None:
    assert refused(api, "GET", f"{ALERTS}/none") == (404, "NotFound")
    assert refused(api, "GET", f"{INCIDENTS}/none") == (404, "NotFound")
    assert refused(api, "GET", "/v1.0/security/nothing") == (404, "NotFound")
    assert refused(api, "GET", f"{ALERTS}?$filter=nothing eq 1") == (400, "BadRequest")
    assert refused(api, "PATCH", f"{ALERTS}/{FIRST}", json={"status": "closed"}) == (400, "BadRequest")
    assert refused(api, "PATCH", f"{ALERTS}/{FIRST}", content=b"{") == (400, "BadRequest")
    assert refused(api, "PATCH", f"{ALERTS}/{FIRST}", json={}) == (400, "BadRequest")
    nobody = {"headers": {"Authorization": "Bearer x"}}
    assert refused(api, "GET", ALERTS, **nobody) == (401, "InvalidAuthenticationToken")
    assert refused(api, "GET", ALERTS, roles=("Alert.Read.All",)) == (403, "Forbidden")
    hunting = "/v1.0/security/runHuntingQuery"
    assert refused(api, "POST", hunting, json={"Query": "nothing |"}) == (400, "BadRequest")


def test_every_answer_has_the_ids_of_its_request(api: Api) -> None:
    answer = api.call("GET", ALERTS, headers={"client-request-id": "abc-1"})
    assert answer.headers["client-request-id"] == "abc-1"
    assert UUID(answer.headers["request-id"])
    forged = api.call("GET", ALERTS, headers={"client-request-id": "a b\x7f<script>"})
    assert forged.headers["client-request-id"] == forged.headers["request-id"]
    assert "request-id" not in api.call("GET", "/api/alerts").headers


@pytest.mark.parametrize(
    ("method", "path", "role", "status"),
    [
        ("GET", ALERTS, "SecurityAlert.Read.All", 200),
        ("GET", ALERTS, "SecurityAlert.ReadWrite.All", 200),
        ("GET", ALERTS, "SecurityIncident.ReadWrite.All", 403),
        ("PATCH", f"{ALERTS}/{FIRST}", "SecurityAlert.Read.All", 403),
        ("PATCH", f"{ALERTS}/{FIRST}", "SecurityAlert.ReadWrite.All", 200),
        ("GET", INCIDENTS, "SecurityIncident.Read.All", 200),
        ("GET", INCIDENTS, "SecurityAlert.ReadWrite.All", 403),
        ("POST", f"{INCIDENTS}/1/comments", "SecurityIncident.Read.All", 403),
    ],
)
def test_graph_has_permissions_of_its_own(api: Api, method: str, path: str, role: str, status: int) -> None:
    answer = api.call(method, path, json={"assignedTo": "x"}, roles=(role,))
    assert answer.status_code == status


def test_what_is_another_tenants_is_not_there(api: Api) -> None:
    foreign = api.get(ALERTS, tenant=OTHER_TENANT)["value"][0]
    assert refused(api, "GET", f"{ALERTS}/{foreign['id']}") == (404, "NotFound")
    assert refused(api, "GET", f"{INCIDENTS}/{foreign['incidentId']}") == (404, "NotFound")


def test_values_without_a_name_in_graph_are_what_clients_expect_of_newer_ones() -> None:
    assert detection_source("ThirdPartySensors") == "unknownFutureValue"
    assert (small(None), small("New")) == (None, "new")


def test_texts_of_an_incident_and_who_changed_it_last(api: Api) -> None:
    path = f"{INCIDENTS}/1"
    before = api.get(path)
    names = ("description", "summary", "resolvingComment", "lastModifiedBy")
    assert [before[name] for name in names] == [None] * 4
    texts = {"description": "A worm", "summary": "Two hosts", "resolvingComment": "Cleaned up"}
    answer = api.call("PATCH", path, json={**texts, "status": "resolved"})
    assert answer.status_code == 200, answer.text
    after = api.get(path)
    assert {name: after[name] for name in texts} == texts
    with api.services.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "incident.update")).one()
        assert "worm" not in str(entry.detail)
        assert after["lastModifiedBy"] == session.get(Application, entry.actor).name
    api.call("PATCH", path, json={"summary": "Three hosts"})
    assert (api.get(path)["summary"], api.get(path)["description"]) == ("Three hosts", "A worm")
    too_long = api.call("PATCH", path, json={"summary": "x" * 4001})
    assert too_long.status_code == 400


def test_a_change_on_the_older_path_names_who_made_it(api: Api) -> None:
    assert api.call("PATCH", "/api/incidents/1", json={"comment": "looked at"}).status_code == 200
    assert api.get(f"{INCIDENTS}/1")["lastModifiedBy"]
