"""The wire itself: paths, headers, errors and bodies as real clients send and expect them."""

from __future__ import annotations

import json

import pytest

from shieldwall.api.bodies import BODY_LIMIT
from tests.api.conftest import DEVICE, URL, Api
from tests.conftest import TENANT

ALERT = f"/api/alerts/da{1:018d}_1"
ODATA_TYPE = "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/api/alerts",
        "/API/Alerts",
        "//api//alerts",
        "/api/alerts/",
        "/api/alerts%20",
        "/api/v1.0/alerts",
        "/api/V1.0/ALERTS//",
        "/api/alerts?",
        "/api/alerts?$top=100&",
        "/api/alerts?foo=bar&$unknown=1&sinceTime=2026-01-01T00:00:00%2B00:00",
        "/api/alerts?%24TOP=100&%24Count=false",
    ],
)
def test_a_path_is_found_however_it_is_written(api: Api, path: str) -> None:
    assert len(api.get(path)["value"]) == 4


def test_path_parameters_keep_their_case(api: Api) -> None:
    answer = api.call("GET", "/API/ALERTS/NoSuchAlert/Machine/")
    assert "NoSuchAlert" in answer.json()["error"]["message"]


def test_the_root_answers_the_ping_of_clients_with_a_double_slash(api: Api) -> None:
    for path in ("//api", "/api/", "/api/v1.0/"):
        body = api.get(path)
        assert {"name": "Alerts", "kind": "EntitySet", "url": "Alerts"} in body["value"]


def test_good_answers_carry_the_odata_headers(api: Api) -> None:
    answer = api.call("GET", "/api/alerts")
    assert answer.headers["content-type"] == ODATA_TYPE
    assert answer.headers["odata-version"] == "4.0"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "host", ["edr.example.org", "edr.example.org:8443", "192.0.2.1", "[2001:db8::1]:8443"]
)
def test_browsers_are_told_to_stay_on_https(api: Api, host: str) -> None:
    for path in ("/api/alerts", "/no/such/page"):
        headers = api.call("GET", path, headers={"Host": host}).headers
        assert headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8443", "edr.localhost", "127.0.0.1:8443", "127.1.2.3", "[::1]:8443"]
)
def test_nothing_is_laid_down_for_a_machines_own_names(api: Api, host: str) -> None:
    for path in ("/api/alerts", "/no/such/page"):
        headers = api.call("GET", path, headers={"Host": host}).headers
        assert "strict-transport-security" not in headers


@pytest.mark.parametrize("host", ["", "a b", "[", "[::1", ":", "\xff", "x" * 3000])
def test_a_host_that_cannot_be_read_is_no_error(api: Api, host: str) -> None:
    assert api.call("GET", "/api/alerts", headers={"Host": host.encode("latin-1")}).status_code == 200


def test_errors_have_the_documented_shape(api: Api) -> None:
    assert api.error("GET", "/api/alerts/nothing") == (404, "ResourceNotFound")
    assert api.error("GET", "/api/nothing/at/all") == (404, "NotFound")
    assert api.error("GET", "/api/alerts?$filter=x eq 1") == (400, "ODataError")
    assert api.error("GET", "/no/such/page") == (404, "NotFound")


def test_a_path_with_a_nul_is_refused(api: Api) -> None:
    for path in ("/api/alerts/%00", "/api/machines/a%00b/alerts", "/%00"):
        assert api.error("GET", path) == (400, "BadRequest")


def test_a_wrong_method_answers_405_with_allow_and_no_body(api: Api) -> None:
    answer = api.call("GET", f"/api/machines/{DEVICE}/Isolate/")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")
    answer = api.call("PUT", ALERT)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "GET, PATCH", b"")
    assert answer.headers["content-length"] == "0"


def test_a_failure_inside_answers_500_without_detail(api: Api) -> None:
    with api.services.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE machine_actions")
    answer = api.call("GET", "/api/machineactions")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "InternalServerError"
    assert "machine_actions" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_body_needs_no_content_type_and_keys_no_case(api: Api) -> None:
    for body in ({"Status": "resolved"}, {"status": "New"}, {"STATUS": "InProgress", "unknown": {"a": [1]}}):
        answer = api.call("PATCH", ALERT, content=json.dumps(body))
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"].lower() == next(iter(body.values())).lower()


def test_a_get_may_have_a_body(api: Api) -> None:
    assert api.get("/api/alerts", content=b"{not json", headers={"Content-Type": "application/json"})["value"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "InvalidRequestBody"),
        (b"{", "InvalidRequestBody"),
        (b"[]", "InvalidRequestBody"),
        (b'"text"', "InvalidRequestBody"),
        (b"\xff\xfe", "InvalidRequestBody"),
        (b"[" * 100_000, "InvalidRequestBody"),
        (b'{"status": 5}', "InvalidRequestBody"),
        (b'{"status": "Closed"}', "InvalidRequestBody"),
        (b'{"comment": {"a": 1}}', "InvalidRequestBody"),
        (b'{"comment": "' + b"x" * 4001 + b'"}', "InvalidRequestBody"),
        (b'{"comment": "a\\u0000b"}', "InvalidRequestBody"),
        (b'{"comment": "\\ud800"}', "InvalidRequestBody"),
        (b'{"assignedTo": "' + b"x" * 201 + b'"}', "InvalidRequestBody"),
        (b'{"somethingElse": 1}', "InvalidRequestBody"),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(api: Api, body: bytes, code: str) -> None:
    before = api.get(ALERT)
    assert api.error("PATCH", ALERT, content=body) == (400, code)
    assert api.get(ALERT) == before


def test_a_body_beyond_the_bound_is_refused(api: Api) -> None:
    assert api.error("PATCH", ALERT, content=b" " * (BODY_LIMIT + 1)) == (413, "RequestEntityTooLarge")


def test_a_missing_property_is_named(api: Api) -> None:
    for body in ({}, {"Value": "x"}, {"Action": "Add"}):
        assert api.error("POST", f"/api/machines/{DEVICE}/tags", json=body) == (
            400,
            "MissingRequiredParameter",
        )
    assert api.error("POST", f"/api/machines/{DEVICE}/tags", json={"Value": "x", "Action": "Eat"}) == (
        400,
        "InvalidRequestBody",
    )


def test_contexts_and_next_links_are_on_the_host_that_was_called(api: Api) -> None:
    for host, base in (
        ("127.0.0.1:8443", URL),
        ("localhost:8443", "https://localhost:8443"),
        ("evil.example.com", URL),
    ):
        body = api.get("/api/v1.0/alerts/?pageSize=3&$filter=severity+ne+'x'&", headers={"Host": host})
        assert body["@odata.context"] == f"{base}/api/$metadata#Alerts"
        assert body["@odata.nextLink"].startswith(f"{base}/api/alerts?pageSize=3&$filter=")


def test_a_next_link_is_followed_as_it_is(api: Api) -> None:
    first = api.get("/api/alerts?pageSize=3&$filter=severity%20ne%20'Nothing''s'&$select=id&$count=true")
    link = first["@odata.nextLink"]
    second = api.http.request("GET", link, headers=api.bearer("Alert.Read.All")).json()
    found = [alert["id"] for alert in first["value"] + second["value"]]
    assert sorted(found) == [f"da{number:018d}_1" for number in (1, 2, 3, 4)]
    assert "@odata.nextLink" not in second
    assert second["@odata.count"] == 4
    assert all(list(alert) == ["id"] for alert in second["value"])


def test_a_skiptoken_of_another_order_or_by_another_hand_is_refused(api: Api) -> None:
    link = api.get("/api/alerts?pageSize=3")["@odata.nextLink"].removeprefix(URL)
    assert api.error("GET", link + "&$orderby=title,severity") == (400, "ODataError")


@pytest.mark.parametrize(
    "text",
    [
        "title eq 'x' OR 1=1 --",
        "title eq 'x'; DROP TABLE alerts",
        "1 eq 1",
        'title eq "x"',
        "title eq 'x' union select secret from application_secrets",
        "sleep(10) eq 1",
        "tenant_id ne 'x'",
        "title/../tenant_id eq 'x'",
    ],
)
def test_injection_into_filters_is_refused(api: Api, text: str) -> None:
    from urllib.parse import quote

    assert api.error("GET", f"/api/alerts?$filter={quote(text)}") == (400, "ODataError")
    assert len(api.get("/api/alerts")["value"]) == 4


def test_text_that_looks_like_sql_is_only_text(api: Api) -> None:
    evil = "x'' OR ''1''=''1"
    assert api.get(f"/api/alerts?$filter=title eq '{evil}' or contains(title,'{evil}')")["value"] == []
    assert api.get("/api/alerts?$orderby=title&$filter=aadTenantId ne '" + TENANT + "'")["value"] == []


def test_counting_is_a_bare_number(api: Api) -> None:
    answer = api.call("GET", f"/api/machines/{DEVICE}/alerts/$count?$filter=status ne 'Resolved'")
    assert (answer.status_code, answer.content) == (200, b"2")
    assert api.call("GET", "/api/alerts/$count").content == b"4"
    assert api.call("GET", "/api/machines/%24count").content == b"2"


def test_the_documentation_needs_no_script_and_no_other_site(api: Api) -> None:
    page = api.http.request("GET", f"{URL}/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "StopAndQuarantineFile" in page.text
    assert "Machine.Isolate" in page.text
    assert "http://" not in page.text
    assert "<script" not in page.text
    document = api.http.request("GET", f"{URL}/openapi.json").json()
    tags = document["paths"]["/api/machines/{machine_id}/tags"]["post"]
    assert tags["x-permissions"] == ["Machine.ReadWrite.All"]
    schema = tags["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["Action"]["enum"] == ["Add", "Remove"]
    assert schema["required"] == ["Value", "Action"]
