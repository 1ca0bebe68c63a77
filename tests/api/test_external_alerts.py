"""Alerts of other products over HTTP: who may send them, how each is answered, how they look afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.identity.models import AuditEntry
from shieldwall.times import now, to_text
from tests.api.conftest import ALL, DEVICE, Api
from tests.conftest import TENANT
from tests.detection.external.conftest import suricata

PATH = "/api/alerts/external"
BAD_FILE = "ab" * 32


def told(**more: Any) -> dict[str, Any]:
    """An alert in our own schema."""
    return {
        "vendor": "Contoso",
        "product": "Sensor",
        "alertId": "c-1",
        "time": to_text(now()),
        "title": "Something bad",
        "severity": "High",
        "category": "Malware",
        **more,
    }


def send(api: Api, body: Any, **more: Any) -> list[dict[str, Any]]:
    answer = api.call("POST", more.pop("path", PATH), json=body, **more)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["value"]
    return items


def test_an_alert_is_made_once_and_stands_in_every_list(api: Api) -> None:
    body = told(device={"id": DEVICE}, files=[{"name": "x", "sha256": BAD_FILE}])
    (made,) = send(api, body)
    assert (made["result"], made["machineId"], made["externalId"]) == ("created", DEVICE, "c-1")
    assert send(api, body)[0] == {**made, "result": "duplicate"}
    alert = api.get(f"/api/alerts/{made['alertId']}")
    assert (alert["detectionSource"], alert["title"]) == ("ThirdPartySensors", "Something bad")
    assert alert["description"] == "Reported by Contoso Sensor."
    graph = api.get(f"/v1.0/security/alerts_v2/{made['alertId']}")
    assert (graph["productName"], graph["providerAlertId"]) == ("Contoso Sensor", "c-1")
    assert graph["serviceSource"] == "microsoftDefenderForEndpoint"
    assert graph["additionalData"]["vendorName"] == "Contoso"
    (listed,) = api.get("/api/alerts?$filter=detectionSource eq 'ThirdPartySensors'")["value"]
    assert listed["id"] == made["alertId"]
    incident = api.get(f"/api/incidents/{made['incidentId']}")
    assert "c-1" in {each["providerAlertId"] for each in incident["alerts"]}
    external = api.get(f"/api/alerts/{made['alertId']}/external")
    assert (external["vendor"], external["state"], external["confidence"]) == ("Contoso", "Waiting", 100)
    assert json.loads(external["record"]) == body


def test_an_alert_without_a_device_works_everywhere(api: Api) -> None:
    (made,) = send(api, suricata())
    identifier, incident = made["alertId"], made["incidentId"]
    assert made["machineId"] is None
    alert = api.get(f"/api/alerts/{identifier}")
    assert (alert["machineId"], alert["computerDnsName"], alert["rbacGroupName"]) == (None, None, None)
    assert {item["ipAddress"] for item in alert["evidence"] if item["ipAddress"]} == {"10.0.0.5", "11.2.2.9"}
    (listed,) = api.get(f"/api/alerts?$expand=evidence&$filter=id eq '{identifier}'")["value"]
    assert listed["evidence"] == alert["evidence"]
    (inside,) = api.get(f"/api/incidents/{incident}")["alerts"]
    assert (inside["devices"], inside["entities"][0]["deviceId"]) == ([], None)
    graph = api.get(f"/v1.0/security/alerts_v2/{identifier}")
    assert [each["@odata.type"].rpartition(".")[2] for each in graph["evidence"]] == [
        "ipEvidence",
        "ipEvidence",
        "urlEvidence",
    ]
    (expanded,) = api.get(f"/v1.0/security/incidents/{incident}?$expand=alerts")["alerts"]
    assert expanded["id"] == identifier
    assert api.get("/api/incidents")["value"]
    assert api.get(f"/api/alerts/{identifier}/story")["processTree"] is None
    for name in ("domains", "ips", "files"):
        assert "value" in api.get(f"/api/alerts/{identifier}/{name}")
    for name in ("machine", "user"):
        assert api.error("GET", f"/api/alerts/{identifier}/{name}") == (404, "ResourceNotFound")
    assert api.get("/api/ips/11.2.2.9/alerts")["value"][0]["id"] == identifier
    changed = api.call("PATCH", f"/api/alerts/{identifier}", json={"status": "Resolved"})
    assert changed.json()["status"] == "Resolved"
    resolved = api.call("PATCH", f"/api/incidents/{incident}", json={"status": "Resolved"})
    assert resolved.status_code == 200


def test_each_alert_of_a_batch_has_its_own_outcome(api: Api) -> None:
    good, wrong = told(alertId="b-1"), told(alertId="b-2", network={"destinationPort": 70000})
    made, refused, again = send(api, [good, wrong, good])
    assert (made["item"], made["result"], again["result"]) == ("item 1", "created", "duplicate")
    assert (refused["item"], refused["result"], refused["alertId"]) == ("item 2", "rejected", None)
    assert refused["error"]["field"] == "network.destinationPort"
    with api.services.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "alert.external")).one()
    assert entry.detail == {"created": 1, "rejected": 1, "duplicate": 1}


def test_lines_are_answered_by_their_number(api: Api) -> None:
    lines = "\n".join(
        [json.dumps(suricata()), "", '{"event_type": "flow", "src_ip": "10.0.0.1"}', "{nonsense"]
    )
    headers = {"Content-Type": "application/x-ndjson"}
    answer = api.call("POST", PATH, content=lines, headers=headers).json()["value"]
    told_of = [(each["item"], each["result"], each["error"] and each["error"]["field"]) for each in answer]
    assert told_of == [
        ("line 1", "created", None),
        ("line 3", "rejected", "event_type"),
        ("line 4", "rejected", ""),
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time": "1970-01-01T00:00:00Z"}, "time"),
        ({"time": "9999-01-01T00:00:00Z"}, "time"),
        ({"time": [1]}, "time"),
        ({"title": "x" * 501}, "title"),
        ({"title": "a\x1b[31mb"}, "title"),
        ({"title": "a\x00b"}, "title"),
        ({"title": 7}, "title"),
        ({"title": ""}, "title"),
        ({"vendor": None}, "vendor"),
        ({"severity": "Terrible"}, "severity"),
        ({"techniques": ["T1059"] * 51}, "techniques"),
        ({"techniques": "T1059"}, "techniques"),
        ({"network": {"sourceAddress": "10.0.0.256"}}, "network.sourceAddress"),
        ({"network": 5}, "network"),
        ({"files": [{"sha256": "xyz"}]}, "files[0].sha256"),
        ({"users": [{}]}, "users[0].name"),
        ({"processes": [{"processId": -1}]}, "processes[0].processId"),
        ({"description": "y" * 300_000}, "description"),
    ],
)
def test_a_wrong_field_is_refused_by_name(api: Api, changes: dict[str, Any], field: str) -> None:
    answer = api.call("POST", PATH, json=told(**changes))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "InvalidRequestBody"
    assert error["message"].startswith(f"{field} ")


def test_what_is_no_alert_is_refused(api: Api) -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = {"a": deep}
    answer = api.call("POST", PATH, json=told(more=deep))
    assert "more is nested more than 32" in answer.json()["error"]["message"]
    for content in (
        b"",
        b"[",
        b"{",
        b"\xff\xfe",
        b"7",
        b'"x"',
        b"null",
        b"x" * 300_000,
        b'{"a":"\xed\xa0\x80"}',
    ):
        assert api.error("POST", PATH, content=content)[0] == 400, content[:20]
    assert api.error("POST", PATH, content=b"[" * 100_000) == (400, "InvalidRequestBody")
    assert api.error("POST", PATH, json=[told()] * 501) == (400, "MaximumBatchSizeExceeded")
    assert api.error("POST", PATH, content=b" " * (5 << 20)) == (413, "RequestEntityTooLarge")
    assert api.error("POST", f"{PATH}?format=nosuch", json=told()) == (400, "InvalidInput")


def test_a_record_that_could_be_of_two_products_wants_its_format(api: Api) -> None:
    both = {**suricata(), "vendor": "x", "product": "y"}
    answer = api.call("POST", PATH, json=both)
    assert "format could be shieldwall or suricata" in answer.json()["error"]["message"]
    (made,) = send(api, both, path=f"{PATH}?format=suricata")
    assert (made["format"], made["result"]) == ("suricata", "created")


def test_only_a_program_with_the_role_may_send(api: Api) -> None:
    others = tuple(role for role in ALL if role != "Alert.Submit.All")
    assert api.error("POST", PATH, json=told(), roles=others) == (403, "Forbidden")
    (made,) = send(api, told(), roles=("Alert.Submit.All",))
    refused = api.error("GET", f"/api/alerts/{made['alertId']}", roles=("Alert.Submit.All",))
    assert refused == (403, "Forbidden")


def test_sources_are_listed_with_their_clocks(api: Api) -> None:
    send(api, [told(alertId=f"s-{number}") for number in range(3)])
    sources = api.get("/api/alertSources")["value"]
    assert [(each["vendor"], each["alerts"], each["clockAheadSeconds"]) for each in sources] == [
        ("Contoso", 3, None)
    ]


def test_an_offered_indicator_is_approved_or_turned_down(api: Api) -> None:
    body = told(files=[{"sha256": BAD_FILE}], network={"domain": "evil.example", "url": "http://x.test/a"})
    send(api, body)
    offers = {each["indicatorValue"]: each for each in api.get("/api/indicatorOffers")["value"]}
    assert set(offers) == {BAD_FILE, "evil.example", "http://x.test/a"}
    offer = offers[BAD_FILE]
    path = f"/api/indicatorOffers/{offer['id']}"
    approved = api.call("POST", f"{path}/approve", json={"action": "Audit", "days": 7}).json()
    assert (approved["state"], approved["action"]) == ("Applied", "Audit")
    indicator = api.get(f"/api/indicators/{approved['indicatorId']}")
    assert (indicator["indicatorValue"], indicator["action"]) == (BAD_FILE, "Audit")
    assert indicator["externalId"] == offer["alertId"]
    assert api.error("POST", f"{path}/reject", json={}) == (400, "InvalidRequest")
    other = f"/api/indicatorOffers/{offers['evil.example']['id']}"
    assert api.call("POST", f"{other}/reject", json={"reason": "ours"}).json()["state"] == "Rejected"
    send(api, {**body, "alertId": "c-2"})
    waiting = api.get("/api/indicatorOffers?$filter=state eq 'Offered'")["value"]
    assert [each["indicatorValue"] for each in waiting] == ["http://x.test/a"], "nothing is offered twice"
    assert api.error("POST", f"{other}x/approve", json={}) == (404, "ResourceNotFound")
    assert api.error("POST", f"{path}/approve", json={"days": "x"}) == (400, "InvalidRequestBody")


def test_the_policy_is_changed_field_by_field(api: Api) -> None:
    rule = {"vendor": "Contoso", "mode": "apply", "minSeverity": "High", "action": "Audit", "days": 3}
    changed = api.call("PATCH", "/api/indicatorPolicy", json={"rules": [rule]}).json()
    assert changed["rules"][0]["mode"] == "apply"
    allowed = api.call(
        "PATCH", "/api/indicatorPolicy", json={"allowed": ["Good.example", "192.0.2.0/24"]}
    ).json()
    assert allowed["allowed"] == ["good.example", "192.0.2.0/24"]
    assert allowed["rules"] == changed["rules"]
    assert api.get("/api/indicatorPolicy")["rules"][0]["product"] == "*"
    for wrong, field in (({"mode": "never"}, "rules[0].mode"), ({"extra": 1}, "rules[0].extra")):
        answer = api.call("PATCH", "/api/indicatorPolicy", json={"rules": [wrong]})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(field)
