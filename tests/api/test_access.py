"""Nothing of the API is reachable without a token, with too little permission, or from another tenant."""

from __future__ import annotations

import re

from fastapi.routing import APIRoute

from shieldwall.api.app import MODULES
from tests.api.conftest import ALL, DEVICE, FOREIGN, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

SERVED = ("/api", "/v1.0", "/beta")
ROUTES = [
    (method, route.path, route)
    for module in MODULES
    for route in module.router.routes
    if isinstance(route, APIRoute) and route.path.startswith(SERVED)
    for method in route.methods
]
PUBLIC = {
    "/docs",
    "/downloads/{action_id}/InvestigationPackage.zip",
    "/downloads/{action_id}/LiveResponse/{index}",
    "/downloads/exports/{day}/{minute}/{kind}/json/{organisation}/{name}",
}


def concrete(path: str) -> str:
    values = {
        "machine_id": DEVICE,
        "alert_id": f"da{1:018d}_1",
        "ip": "10.0.0.5",
        "timestamp": "2026-01-02T00:00:00Z",
    }
    return re.sub(r"{(\w+)}", lambda name: values.get(name[1], "1"), path)


def test_every_route_is_one_of_the_api_or_meant_to_be_public() -> None:
    others = {
        route.path
        for module in MODULES
        for route in module.router.routes
        if not route.path.startswith(SERVED)
    }
    assert {
        path
        for path in others
        if not any(word in path for word in ("oauth2", "discovery", "well-known", "adminconsent"))
    } == PUBLIC


def test_no_route_answers_without_a_token_or_with_a_wrong_one(api: Api) -> None:
    for method, path in [*((method, path) for method, path, _ in ROUTES), ("GET", "/api")]:
        for headers in ({}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic YTpi"}):
            answer = api.http.request(method, URL + concrete(path), headers=headers)
            assert answer.status_code == 401, path
            code = "InvalidAuthenticationToken" if path.startswith(("/v1.0", "/beta")) else "Unauthorized"
            assert answer.json()["error"]["code"] == code
            assert answer.headers["www-authenticate"] == "Bearer"


def test_every_route_names_its_permissions_and_refuses_callers_that_lack_them(api: Api) -> None:
    for method, path, route in ROUTES:
        needed = (route.openapi_extra or {}).get("x-permissions")
        assert needed, f"{method} {path} names no permission"
        without = tuple(role for role in ALL if role not in needed)
        answer = api.call(method, concrete(path), roles=without, json={})
        assert answer.status_code == 403, path
        error = answer.json()["error"]
        assert error["code"] == "Forbidden"
        assert f"any of the required application permissions ({', '.join(needed)})" in error["message"]


def test_each_permission_of_a_route_opens_it(api: Api) -> None:
    for method, path, route in ROUTES:
        for role in route.openapi_extra["x-permissions"]:  # type: ignore[index]
            assert api.call(method, concrete(path), roles=(role,), content=b"[]").status_code not in (
                401,
                403,
                500,
            )


FOREIGN_PATHS = [
    ("GET", f"/api/machines/{FOREIGN}"),
    ("GET", f"/api/machines/{FOREIGN}/alerts"),
    ("GET", f"/api/machines/{FOREIGN}/machineactions"),
    ("PATCH", f"/api/machines/{FOREIGN}"),
    ("POST", f"/api/machines/{FOREIGN}/tags"),
    ("POST", f"/api/machines/{FOREIGN}/isolate"),
    ("POST", f"/api/machines/{FOREIGN}/unisolate"),
    ("POST", f"/api/machines/{FOREIGN}/StopAndQuarantineFile"),
    ("POST", f"/api/machines/{FOREIGN}/collectInvestigationPackage"),
    ("GET", f"/api/alerts/da{9:018d}_1"),
    ("GET", f"/api/alerts/da{9:018d}_1/ips"),
    ("GET", f"/api/alerts/da{9:018d}_1/machine"),
    ("GET", f"/api/alerts/da{9:018d}_1/user"),
    ("PATCH", f"/api/alerts/da{9:018d}_1"),
    ("POST", "/api/alerts/batchUpdate"),
    ("GET", "/api/incidents/2"),
]


def test_another_tenants_things_do_not_exist(api: Api) -> None:
    body = {
        "Comment": "x",
        "Sha1": "1" * 40,
        "Value": "x",
        "Action": "Add",
        "status": "Resolved",
        "deviceValue": "High",
        "alertIds": [f"da{9:018d}_1"],
    }
    for method, path in FOREIGN_PATHS:
        more = {} if method == "GET" else {"json": body}
        assert api.error(method, path, **more) == (404, "ResourceNotFound"), path
    for method, path in FOREIGN_PATHS:
        more = {} if method == "GET" else {"json": body}
        answer = api.call(method, path, tenant=OTHER_TENANT, **more)
        assert answer.status_code in (200, 201) or "already in progress" in answer.text, path


def test_lists_hold_only_the_tenants_own(api: Api) -> None:
    for name in ("alerts", "machines", "incidents"):
        here, there = (api.get(f"/api/{name}", tenant=each)["value"] for each in (TENANT, OTHER_TENANT))
        assert here
        assert len(there) == 1
        assert there[0] not in here
    assert api.get(f"/api/alerts?$filter=machineId eq '{FOREIGN}'")["value"] == []
    assert api.get("/api/alerts?$filter=evidence/any(e:e/ipAddress eq '198.51.100.1')")["value"] == []
