"""Detection rules over HTTP: Graph's shape, and what Graph has no word for."""

from __future__ import annotations

from typing import Any

import pytest

from shieldwall.detection.rules.builtin import builtin_rules
from shieldwall.times import now, to_text
from tests.api.conftest import Api
from tests.conftest import OTHER_TENANT, TENANT

PATH = "/beta/security/rules/detectionRules"
OWN = "/api/detectionRules"
BODY: dict[str, Any] = {
    "displayName": "Netcat",
    "isEnabled": True,
    "queryCondition": {"queryText": "DeviceProcessEvents\n| where FileName == 'nc'"},
    "schedule": {"period": "12H"},
    "detectionAction": {
        "alertTemplate": {
            "title": "Netcat on {{DeviceName}}",
            "description": "It ran.",
            "severity": "medium",
            "category": "Execution",
            "recommendedActions": None,
            "mitreTechniques": ["T1095"],
            "impactedAssets": [
                {"@odata.type": "#microsoft.graph.security.impactedDeviceAsset", "identifier": "deviceId"}
            ],
        },
        "organizationalScope": {"scopeType": "deviceGroup", "scopeNames": ["Servers"]},
        "responseActions": [
            {
                "@odata.type": "#microsoft.graph.security.isolateDeviceResponseAction",
                "identifier": "deviceId",
                "isolationType": "selective",
            },
            {
                "@odata.type": "#microsoft.graph.security.blockFileResponseAction",
                "identifier": "sha1",
                "deviceGroupNames": [],
            },
        ],
    },
}


def created(api: Api, **more: Any) -> Any:
    answer = api.call("POST", PATH, json=BODY | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


def test_a_rule_is_answered_as_graph_writes_it(api: Api) -> None:
    made = created(api)
    assert made["@odata.context"].endswith("/beta/$metadata#security/rules/detectionRules/$entity")
    assert (made["displayName"], made["isEnabled"], made["schedule"]["period"]) == ("Netcat", True, "12H")
    assert made["schedule"]["nextRunDateTime"]
    assert made["lastRunDetails"]["status"] is None
    assert made["detectionAction"]["alertTemplate"] == {
        **BODY["detectionAction"]["alertTemplate"],
        "relatedEntities": {},
        "customDetails": {},
    }
    assert made["detectionAction"]["organizationalScope"] == BODY["detectionAction"]["organizationalScope"]
    assert made["detectionAction"]["responseActions"] == BODY["detectionAction"]["responseActions"]
    for root in ("/beta", "/v1.0"):
        path = f"{root}/security/rules/detectionRules"
        assert [item["id"] for item in api.get(path)["value"]] == [made["id"]]
        one = api.get(f"{path}/{made['id']}")
        assert {**one, "@odata.context": ""} == {**made, "@odata.context": ""}


def test_a_change_leaves_what_it_does_not_name(api: Api) -> None:
    made = created(api)
    template = {"severity": "high", "customDetails": {"Command": "ProcessCommandLine"}}
    body = {"detectionAction": {"alertTemplate": template}, "schedule": {"period": "0"}}
    answer = api.call("PATCH", f"{PATH}/{made['id']}", json=body)
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed["schedule"]["period"] == "0"
    assert changed["detectionAction"]["alertTemplate"] == {
        **made["detectionAction"]["alertTemplate"],
        **template,
    }
    for name in ("organizationalScope", "responseActions"):
        assert changed["detectionAction"][name] == made["detectionAction"][name]
    assert changed["queryCondition"] == made["queryCondition"]
    off = api.call("PATCH", f"{PATH}/{made['id']}", json={"isEnabled": False}).json()
    assert off["isEnabled"] is False
    assert [item["id"] for item in api.get(f"{PATH}?$filter=isEnabled eq false")["value"]] == [made["id"]]
    assert api.get(f"{PATH}?$filter=isEnabled eq true")["value"] == []
    assert api.call("DELETE", f"{PATH}/{made['id']}").status_code == 204
    assert api.call("GET", f"{PATH}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"displayName": None}, "displayName is missing"),
        ({"queryCondition": {}}, "queryCondition.queryText is missing"),
        ({"queryCondition": "DeviceInfo"}, "queryCondition must be an object"),
        ({"queryCondition": {"queryText": "DeviceInfo\n| whare 1"}}, "Line 2, column 3"),
        ({"schedule": {"period": "3M"}}, "from 5 minutes to 14 days"),
        ({"schedule": {"period": "soon"}}, "schedule.period must be 0, or a time"),
        ({"schedule": {"period": "1H", "lookbackPeriod": "30M"}}, "lookback must not be shorter"),
        ({"isEnabled": "yes"}, "isEnabled must be true or false"),
        ({"detectionAction": {"alertTemplate": {"severity": "worst"}}}, "severity must be one of"),
        (
            {"detectionAction": {"organizationalScope": {"scopeNames": ["Moon"]}}},
            "no device group 'Moon'",
        ),
        (
            {"detectionAction": {"responseActions": [{"@odata.type": "#x.hardDeleteResponseAction"}]}},
            "'hardDeleteResponseAction' is none of",
        ),
        (
            {
                "detectionAction": {
                    "responseActions": [
                        {"@odata.type": "#x.blockFileResponseAction", "identifier": "fileName"}
                    ]
                }
            },
            "responseActions[0].column must be one of SHA1",
        ),
        (
            {"detectionAction": {"alertTemplate": {"impactedAssets": [{"identifier": "deviceId"}]}}},
            "impactedAssets: each has",
        ),
    ],
)
def test_a_wrong_rule_is_refused_with_what_is_wrong(api: Api, change: Any, message: str) -> None:
    answer = api.call("POST", PATH, json=BODY | change)
    status, said = refused(answer)
    assert status == 400
    assert message in said
    assert api.get(PATH)["value"] == []


def test_a_name_is_taken_once_and_rules_stay_in_their_tenant(api: Api) -> None:
    made = created(api)
    assert refused(api.call("POST", PATH, json=BODY)) == (409, "There is a rule named 'Netcat' already.")
    for method in ("GET", "PATCH", "DELETE"):
        answer = api.call(method, f"{PATH}/{made['id']}", json={}, tenant=OTHER_TENANT)
        assert answer.status_code == 404
    assert api.get(PATH, tenant=OTHER_TENANT)["value"] == []


def test_a_built_in_rule_can_be_decided_about_and_not_rewritten(api: Api) -> None:
    rule = next(iter(builtin_rules().values()))
    path = f"{PATH}/{rule.id}"
    assert api.get(path)["displayName"] == rule.name
    changed = api.call("PATCH", path, json={"isEnabled": False})
    assert (changed.status_code, changed.json()["isEnabled"]) == (200, False)
    graver = {"detectionAction": {"alertTemplate": {"severity": "informational"}}}
    answer = api.call("PATCH", path, json=graver).json()
    assert answer["detectionAction"]["alertTemplate"]["severity"] == "informational"
    status, said = refused(api.call("PATCH", path, json={"queryCondition": {"queryText": "DeviceInfo"}}))
    assert (status, "cannot be changed" in said) == (400, True)
    assert refused(api.call("DELETE", path))[0] == 400


def test_rules_are_read_tuned_and_suppressed_whoever_wrote_them(api: Api) -> None:
    made = created(api)
    listed = {item["id"]: item for item in api.get(OWN)["value"]}
    assert set(builtin_rules()) | {made["id"]} == set(listed)
    assert [item["id"] for item in api.get(f"{OWN}?source=custom")["value"]] == [made["id"]]
    path = f"{OWN}/{next(iter(builtin_rules()))}"
    tuned = api.call(
        "POST", f"{path}/tune", json={"severity": "low", "deviceGroups": ["Servers"], "actions": ["Scan"]}
    )
    assert tuned.status_code == 200, tuned.text
    assert (tuned.json()["severity"], tuned.json()["deviceGroups"]) == ("Low", ["Servers"])
    assert tuned.json()["actions"] == [{"kind": "Scan", "column": "DeviceId"}]
    body = {"column": "AccountName", "value": "backup", "reason": "nightly", "deviceGroup": "Servers"}
    kept = api.call("POST", f"{path}/suppressions", json=body).json()
    assert (kept["value"], kept["deviceGroup"], kept["hits"]) == ("backup", "Servers", 0)
    assert [item["id"] for item in api.get(f"{path}/suppressions")["value"]] == [kept["id"]]
    assert api.call("DELETE", f"{path}/suppressions/{kept['id']}").status_code == 204
    assert api.call("DELETE", f"{path}/suppressions/{kept['id']}").status_code == 404


def test_a_run_says_what_it_found(api: Api) -> None:
    rows = [
        {
            "Timestamp": now(),
            "DeviceId": "a" * 40,
            "DeviceName": "web01",
            "MachineGroup": "Servers",
            "FileName": "nc",
            "ReportId": 1,
        }
    ]
    api.services.telemetry.insert_rows("DeviceProcessEvents", TENANT, rows)
    body = BODY["detectionAction"] | {"responseActions": []}
    made = created(api, detectionAction=body)
    done = api.call("POST", f"{OWN}/{made['id']}/run")
    assert done.status_code == 200, done.text
    assert (done.json()["kind"], done.json()["alerts"]) == ("Manual", 1)
    assert api.get(f"{OWN}/{made['id']}/runs")["value"][0]["rows"] >= 1
    assert api.get(f"{PATH}/{made['id']}")["lastRunDetails"]["status"] == "completed"
    [alert] = api.get("/v1.0/security/alerts_v2?$filter=title eq 'Netcat on web01'")["value"]
    assert (alert["detectorId"], alert["detectionSource"]) == (made["id"], "customDetection")


def test_an_import_tells_the_outcome_of_each(api: Api) -> None:
    good = {"id": "one", "name": "One", "query": "DeviceInfo | where OSPlatform == 'x'", "source": "Sigma"}
    rules = [good, {"name": "no id"}, 7, good | {"id": "two", "name": "Two", "query": "Nowhere"}]
    path = f"{OWN}/import"
    results = api.call("POST", path, json={"rules": rules}).json()["value"]
    assert [item["outcome"] for item in results] == ["added", "refused", "refused", "refused"]
    assert [item["reason"] for item in results[1:3]] == ["id is missing", "a rule must be an object"]
    again = api.call("POST", path, json={"rules": [good, good]}).json()["value"]
    assert [item["outcome"] for item in again] == ["unchanged", "refused"]
    again = api.call("POST", path, json={"rules": [good | {"enabled": False}]}).json()["value"]
    assert [item["outcome"] for item in again] == ["updated"]
    assert api.get(f"{OWN}/one")["enabled"] is False
    assert api.call("POST", path, json={"rules": [good] * 501}).status_code == 400


def test_reading_needs_one_permission_and_changing_the_other(api: Api) -> None:
    made = created(api)
    reader = ("CustomDetection.Read.All",)
    assert api.call("GET", f"{OWN}/{made['id']}", roles=reader).status_code == 200
    for method, path in (
        ("POST", PATH),
        ("PATCH", f"{PATH}/{made['id']}"),
        ("DELETE", f"{PATH}/{made['id']}"),
        ("POST", f"{OWN}/{made['id']}/run"),
        ("POST", f"{OWN}/{made['id']}/tune"),
    ):
        assert api.call(method, path, json=BODY, roles=reader).status_code == 403
    assert api.call("GET", PATH, roles=("Alert.Read.All",)).status_code == 403


def test_a_suppression_ends_in_the_future(api: Api) -> None:
    made = created(api)
    body = {"column": "FileName", "value": "nc", "reason": "x", "expires": to_text(now())}
    status, said = refused(api.call("POST", f"{OWN}/{made['id']}/suppressions", json=body))
    assert (status, said) == (400, "expires lies in the past.")
    status, said = refused(
        api.call("POST", f"{OWN}/{made['id']}/suppressions", json=body | {"expires": "tomorrow"})
    )
    assert (status, said) == (400, "expires is not a date and time.")
