"""The count of every collection, under the same filters and permissions as its list."""

from __future__ import annotations

import re

import pytest

from shieldwall.api.app import MODULES
from shieldwall.api.contract import load, shape
from shieldwall.api.counts import router_of
from tests.api.conftest import DEVICE, URL, Api

ROUTES = [route for module in MODULES for route in module.router.routes]
COUNTED = [route.path for route in router_of(ROUTES).routes]
ALERT = f"da{1:018d}_1"
VALUES = {
    "machine_id": DEVICE,
    "alert_id": ALERT,
    "file_id": "1" * 40,
    "ip": "203.0.113.9",
    "user_id": "root",
}


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "bad.example.com"), path)


def test_every_collection_can_be_counted() -> None:
    lists = {
        shape(each.path)
        for each in load().operations
        if each.method == "GET" and each.answer.many and "(" not in each.path
    }
    served = {shape(route.path) for route in ROUTES if "GET" in route.methods}
    counted = {path.removesuffix("/$count") for path in (*map(shape, COUNTED), *served) if "$count" in path}
    uncounted = (lists & served) - counted
    # Exports are read whole; they have no filter and no count.
    assert {path for path in uncounted if "bymachine" not in path} == set()


@pytest.mark.parametrize(
    "path",
    [
        f"/api/alerts/{ALERT}/domains",
        f"/api/alerts/{ALERT}/files",
        f"/api/machines/{DEVICE}/machineactions",
        f"/api/files/{'1' * 40}/alerts",
        "/api/ips/203.0.113.9/alerts",
        "/api/users/root/alerts",
        "/api/investigations",
        "/api/libraryfiles",
        "/api/alerts",
        "/api/incidents",
        "/api/machines",
        "/api/indicators",
        "/api/machineactions",
        "/v1.0/security/alerts_v2",
        "/v1.0/security/incidents",
    ],
)
def test_a_count_is_the_bare_number_of_what_the_list_has(api: Api, path: str) -> None:
    api.call("POST", f"/api/machines/{DEVICE}/isolate", json={"Comment": "x", "IsolationType": "Full"})
    answer = api.call("GET", f"{path}/$count?$top=1&$skip=1")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == str(len(api.get(path)["value"]))


def test_counts_are_filtered_as_their_lists_are(api: Api) -> None:
    path = f"/api/files/{'1' * 40}/alerts/$count"
    assert api.call("GET", f"{path}?$filter=severity eq 'High'").text == "1"
    assert api.call("GET", f"{path}?$filter=severity eq 'Low'").text == "0"
    assert api.error("GET", f"{path}?$filter=nothing eq 1") == (400, "ODataError")


@pytest.mark.parametrize("path", COUNTED)
def test_counts_need_what_their_lists_need(api: Api, path: str) -> None:
    assert api.http.request("GET", URL + filled(path)).status_code == 401
    other = "Ti.ReadWrite" if "libraryfiles" in path else "Library.Manage"
    assert api.call("GET", filled(path), roles=(other,)).status_code == 403
