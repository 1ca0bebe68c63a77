"""Indicators as the contract describes them and threat intelligence connectors send them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from shieldwall.detection.models import Indicator
from shieldwall.times import now, to_text
from tests.api.conftest import URL, Api
from tests.conftest import OTHER_TENANT, TENANT

INDICATOR_KEYS = """
id indicatorValue indicatorType action application source sourceType createdBySource createdBy
createdByDisplayName lastUpdatedBy creationTimeDateTimeUtc expirationTime lastUpdateTime severity title
description recommendedActions rbacGroupNames rbacGroupIds generateAlert externalId educateUrl category
mitreTechniques historicalDetection lookBackPeriod bypassDurationHours notificationId notificationBody version
additionalInfo certificateInfo
"""
SHA1 = "0123456789abcdef0123456789abcdef01234567"
OWN = ("Ti.ReadWrite",)


def body(**more: object) -> dict[str, object]:
    values: dict[str, object] = {
        "indicatorValue": SHA1,
        "indicatorType": "FileSha1",
        "action": "Block",
        "title": "Bad file",
        "description": "Seen in an attack",
    }
    return {**values, **more}


def submit(api: Api, roles: tuple[str, ...] = ("Ti.ReadWrite.All",), **more: object) -> dict[str, Any]:
    answer = api.call("POST", "/api/indicators", json=body(**more), roles=roles)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_new_indicator_answers_200_with_every_property(api: Api) -> None:
    made = submit(api, expirationTime="2300-01-01T00:00:00+00:00", rbacGroupNames=["Servers"])
    assert list(made) == ["@odata.context", *INDICATOR_KEYS.split()]
    assert made["@odata.context"] == f"{URL}/api/$metadata#Indicators/$entity"
    assert made["id"].isdecimal()
    assert (made["severity"], made["createdBySource"]) == ("Informational", "PublicApi")
    assert (made["rbacGroupNames"], len(made["rbacGroupIds"])) == (["Servers"], 1)
    assert made["expirationTime"] == "2300-01-01T00:00:00Z"
    assert api.get(f"/api/indicators/{made['id']}") == made
    assert api.get("/api/indicators/")["value"] == [
        {key: value for key, value in made.items() if key != "@odata.context"}
    ]


def test_the_same_value_again_is_an_update_under_the_same_id(api: Api) -> None:
    first = submit(api)
    second = submit(api, indicatorValue=SHA1.upper(), title="Worse", severity="High")
    assert (second["id"], second["title"], second["severity"]) == (first["id"], "Worse", "High")
    assert len(api.get("/api/indicators")["value"]) == 1


def test_keys_in_any_case_and_properties_of_no_concern_are_fine(api: Api) -> None:
    sent = {key.upper(): value for key, value in body().items()}
    sent |= {
        "id": "x",
        "lastUpdateTime": 5,
        "createdByDisplayName": [],
        "educateUrl": None,
        "rbacGroupNames": [],
    }
    answer = api.call("POST", "/api/indicators", json=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["indicatorValue"] == SHA1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"indicatorValue": "12"}, "InvalidHashValue"),
        ({"indicatorType": "IpAddress", "indicatorValue": "203.0.113.0/24"}, "InvalidIpAddress"),
        ({"indicatorType": "DomainName", "indicatorValue": "not a domain"}, "InvalidDomainName"),
        ({"indicatorType": "Url", "indicatorValue": "::"}, "InvalidUrl"),
        ({"indicatorValue": None}, "MissingRequiredParameter"),
        ({"title": None}, "MissingRequiredParameter"),
        ({"action": None}, "MissingRequiredParameter"),
    ],
)
def test_what_is_wrong_with_an_indicator_is_said(api: Api, change: dict[str, object], code: str) -> None:
    assert api.error("POST", "/api/indicators", json=body(**change)) == (400, code)
    assert api.get("/api/indicators")["value"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"action": "Explode"},
        {"indicatorType": "Mutex"},
        {"severity": "Terrible"},
        {"expirationTime": "tomorrow"},
        {"title": 5},
        {"title": "x" * 100_000},
        {"indicatorValue": ["a"]},
        {"rbacGroupNames": [[]]},
        {"generateAlert": {"a": 1}},
        {"category": 2**31},
        {"bypassDurationHours": 10**30},
    ],
)
def test_a_wrong_indicator_is_refused(api: Api, change: dict[str, object]) -> None:
    status, code = api.error("POST", "/api/indicators", json=body(**change))
    assert status == 400
    assert code in (
        "InvalidInput",
        "InvalidRequestBody",
        "BadRequest",
        "InvalidHashValue",
        "MissingRequiredParameter",
    )
    assert api.get("/api/indicators")["value"] == []


def test_the_list_is_filtered_as_connectors_do(api: Api) -> None:
    submit(api)
    submit(api, indicatorType="IpAddress", indicatorValue="203.0.113.9", rbacGroupNames=["Servers"])
    for text, expected in (
        (f"indicatorValue+in+['{SHA1}','b']", [SHA1]),
        ("indicatorType eq 'IpAddress' and action eq 'block'", ["203.0.113.9"]),
        ("rbacGroupNames/any(g: g eq 'servers')", ["203.0.113.9"]),
        ("expirationTime eq null", [SHA1, "203.0.113.9"]),
        ("generateAlert eq true and title eq 'no'", []),
    ):
        found = api.get(f"/api/indicators?$filter={text}")["value"]
        assert [item["indicatorValue"] for item in found] == expected, text


def test_what_has_expired_is_no_longer_there(api: Api) -> None:
    made = submit(api, expirationTime=to_text(now() + timedelta(days=1)))
    with api.services.database.session(TENANT) as session:
        session.execute(update(Indicator).values(expiration_time=now() - timedelta(seconds=1)))
    assert api.get("/api/indicators")["value"] == []
    assert api.call("GET", "/api/indicators/$count").content == b"0"
    assert api.error("GET", f"/api/indicators/{made['id']}") == (404, "ResourceNotFound")


def test_deleting_answers_204_without_a_body_or_its_type(api: Api) -> None:
    made = submit(api)
    answer = api.call("DELETE", f"/api/indicators/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert api.error("DELETE", f"/api/indicators/{made['id']}") == (404, "ResourceNotFound")
    assert api.error("DELETE", "/api/indicators/abc") == (404, "ResourceNotFound")


def test_batch_delete_takes_all_or_none(api: Api) -> None:
    first, second = (
        submit(api)["id"],
        submit(api, indicatorType="IpAddress", indicatorValue="203.0.113.9")["id"],
    )
    path = "/api/indicators/BatchDelete"
    assert api.error("POST", path, json={"IndicatorIds": [first, "999999"]}) == (404, "ResourceNotFound")
    assert api.error("POST", path, json={"IndicatorIds": [first, "x"]}) == (400, "InvalidInput")
    assert api.error("POST", path, json={"IndicatorIds": []}) == (400, "MaximumBatchSizeExceeded")
    assert api.error("POST", path, json={"IndicatorIds": ["1"] * 501}) == (400, "MaximumBatchSizeExceeded")
    assert api.error("POST", path, json={}) == (400, "MissingRequiredParameter")
    assert api.error("POST", path, json={"IndicatorIds": "1"}) == (400, "InvalidRequestBody")
    assert len(api.get("/api/indicators")["value"]) == 2
    answer = api.call("POST", "/api/indicators/batchdelete", json={"indicatorIds": [first, second]})
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get("/api/indicators")["value"] == []


def test_an_import_tells_the_outcome_of_each(api: Api) -> None:
    items = [
        body(),
        body(indicatorValue="bad"),
        body(indicatorType="Url", indicatorValue="http://a.example/x"),
    ]
    answer = api.call("POST", "/api/indicators/import", json={"Indicators": items})
    assert answer.status_code == 200
    found = answer.json()
    context = "Collection(microsoft.windowsDefenderATP.api.ImportIndicatorResult)"
    assert found["@odata.context"] == f"{URL}/api/$metadata#{context}"
    assert [list(item) for item in found["value"]] == [["id", "indicator", "isFailed", "failureReason"]] * 3
    assert [item["isFailed"] for item in found["value"]] == [False, True, False]
    assert [item["indicator"] for item in found["value"]] == [SHA1, "bad", "http://a.example/x"]
    assert found["value"][0]["id"].isdecimal()
    assert found["value"][0]["failureReason"] is None
    assert found["value"][1]["id"] is None
    assert found["value"][1]["failureReason"]
    assert len(api.get("/api/indicators")["value"]) == 2


def test_an_empty_import_is_no_error(api: Api) -> None:
    assert api.call("POST", "/api/indicators/import", json={"indicators": []}).status_code == 200
    path = "/api/indicators/import"
    assert api.error("POST", path, json={"Indicators": [body()] * 501}) == (400, "MaximumBatchSizeExceeded")
    assert api.error("POST", path, json={"Indicators": [1]}) == (400, "InvalidRequestBody")
    assert api.error("POST", path, json={}) == (400, "MissingRequiredParameter")


def test_with_ti_readwrite_alone_an_application_works_with_its_own_only(api: Api) -> None:
    other = submit(api)
    own = submit(api, roles=OWN, indicatorType="IpAddress", indicatorValue="203.0.113.9")
    assert [item["id"] for item in api.get("/api/indicators", roles=OWN)["value"]] == [own["id"]]
    assert len(api.get("/api/indicators")["value"]) == 2
    assert api.error("GET", f"/api/indicators/{other['id']}", roles=OWN) == (404, "ResourceNotFound")
    assert api.error("DELETE", f"/api/indicators/{other['id']}", roles=OWN)[0] in (403, 404)
    batch = {"IndicatorIds": [own["id"], other["id"]]}
    assert api.error("POST", "/api/indicators/BatchDelete", json=batch, roles=OWN)[0] in (403, 404)
    assert api.error("POST", "/api/indicators", json=body(action="Allowed"), roles=OWN)[0] == 403
    assert len(api.get("/api/indicators")["value"]) == 2
    assert api.get(f"/api/indicators/{other['id']}")["action"] == "Block"


def test_another_tenants_indicators_do_not_exist(api: Api) -> None:
    made = submit(api)
    path = f"/api/indicators/{made['id']}"
    assert api.error("GET", path, tenant=OTHER_TENANT) == (404, "ResourceNotFound")
    assert api.error("DELETE", path, tenant=OTHER_TENANT) == (404, "ResourceNotFound")
    batch = {"IndicatorIds": [made["id"]]}
    answer = api.error("POST", "/api/indicators/BatchDelete", json=batch, tenant=OTHER_TENANT)
    assert answer == (404, "ResourceNotFound")
    assert api.get("/api/indicators", tenant=OTHER_TENANT)["value"] == []
    theirs = api.call("POST", "/api/indicators", json=body(), tenant=OTHER_TENANT).json()
    assert theirs["id"] != made["id"]
    assert api.get(path)["title"] == made["title"]


def address(api: Api, value: str, **more: object) -> dict[str, Any]:
    return submit(api, indicatorValue=value, indicatorType="IpAddress", **more)


def test_many_are_changed_at_once_and_what_is_not_given_stays(api: Api) -> None:
    first = address(
        api, "198.51.100.1", action="Block", severity="High", externalId="x-1", generateAlert=True
    )
    second = address(api, "198.51.100.2")
    changes = [
        {"id": first["id"], "title": "changed"},
        {"indicatorType": "IpAddress", "indicatorValue": "198.51.100.2", "ACTION": "Allowed"},
    ]
    answer = api.call("POST", "/api/indicators/BatchUpdate", json={"Indicators": changes})
    assert answer.status_code == 200, answer.text
    assert [item["id"] for item in answer.json()["value"]] == [first["id"], second["id"]]
    one, two = (api.get(f"/api/indicators/{item['id']}") for item in (first, second))
    changed = {"title": "changed", "lastUpdateTime": one["lastUpdateTime"]}
    changed["lastUpdatedBy"] = one["lastUpdatedBy"]
    assert one == {**first, **changed}
    assert (two["action"], two["title"]) == ("Allowed", second["title"])


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"id": "999999"}, (404, "ResourceNotFound")),
        ({"id": "x"}, (400, "InvalidInput")),
        ({"title": "nameless"}, (400, "MissingRequiredParameter")),
        ({"indicatorType": "IpAddress", "indicatorValue": "198.51.100.77"}, (404, "ResourceNotFound")),
        ({"action": "Nothing"}, (400, "InvalidInput")),
        ({"indicatorValue": "198.51.100.78"}, (400, "InvalidInput")),
        ({"title": 5}, (400, "InvalidRequestBody")),
        ({"generateAlert": "perhaps"}, (400, "InvalidRequestBody")),
    ],
)
def test_one_wrong_change_changes_none(api: Api, change: dict[str, Any], refusal: tuple[int, str]) -> None:
    first, second = address(api, "198.51.100.1"), address(api, "198.51.100.2")
    named = {} if {"id", "indicatorType"} & set(change) or "nameless" in change.values() else second["id"]
    other = {**({"id": named} if named else {}), **change}
    body = {"Indicators": [{"id": first["id"], "title": "changed"}, other]}
    assert api.error("POST", "/api/indicators/BatchUpdate", json=body) == refusal
    kept = [api.get(f"/api/indicators/{item['id']}") for item in (first, second)]
    assert kept == [first, second]
    values = [item["indicatorValue"] for item in api.get("/api/indicators")["value"]]
    assert sorted(values) == ["198.51.100.1", "198.51.100.2"]


def test_many_are_at_most_five_hundred_and_those_of_the_caller(api: Api) -> None:
    many = {"Indicators": [{"id": "1"}] * 501}
    path = "/api/indicators/BatchUpdate"
    assert api.error("POST", path, json=many) == (400, "MaximumBatchSizeExceeded")
    assert api.error("POST", path, json={}) == (400, "MissingRequiredParameter")
    assert api.error("POST", path, json={"Indicators": [1]}) == (400, "InvalidRequestBody")
    theirs = address(api, "198.51.100.1")
    mine = {"Indicators": [{"id": theirs["id"], "title": "mine"}]}
    assert api.error("POST", path, json=mine, roles=OWN) == (404, "ResourceNotFound")
    assert api.get(f"/api/indicators/{theirs['id']}") == theirs
