"""What people may call follows from application permissions; where, from the device groups of their roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select

from shieldwall.api.contract import load, shape
from shieldwall.devices.models import DeviceGroup
from shieldwall.identity import claims, passwords, roles, users
from shieldwall.identity.applications import create_application
from shieldwall.identity.models import AuditEntry
from shieldwall.identity.permissions import DELEGATED_PERMISSIONS, delegated
from shieldwall.identity.standing import standing
from shieldwall.settings import Settings
from shieldwall.times import now
from tests.api.conftest import AUDIENCE, DEVICE, SECOND, URL, Api, device
from tests.api.inventories import put, software
from tests.api.test_access import ROUTES, concrete
from tests.conftest import TENANT

EVERYTHING = sorted(DELEGATED_PERMISSIONS)
HIDDEN = (SECOND, "db01")
"""What answers to somebody who sees the group of DEVICE alone never tell."""


@dataclass
class Person:
    """Somebody signed in to an application that may use every delegated permission."""

    api: Api
    upn: str
    headers: dict[str, str]

    def may(self, permissions: Iterable[str], *groups: str, all_devices: bool = False) -> Person:
        """Give this person one role, of ``permissions`` on ``groups``; an empty name is devices of none."""
        database = self.api.services.database
        with database.read(TENANT) as session:
            ids = {group.name: group.id for group in session.scalars(select(DeviceGroup))} | {"": 0}
        reach = None if all_devices else [ids[name] for name in groups]
        name = f"role {uuid4()}"
        roles.create_role(database, TENANT, name, permissions, reach)
        roles.assign(database, TENANT, name, self.upn)
        self.api.services.tokens._people.clear()
        return self

    def only(self, permissions: Iterable[str], *groups: str, all_devices: bool = False) -> Person:
        """The same, and take every other role away."""
        database = self.api.services.database
        for role in roles.list_roles(database, TENANT):
            roles.delete_role(database, TENANT, role.name)
        return self.may(permissions, *groups, all_devices=all_devices)

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.api.http.request(method, f"{URL}{path}", headers=self.headers, **more)

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def ann(api: Api, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.setattr(passwords, "_COST", 1 << 8)
    database, tokens = api.services.database, api.services.tokens
    application, _ = create_application(database, TENANT, "console", [], public=True, delegated=EVERYTHING)
    user = users.create_user(database, TENANT, "ann@contoso.com", "correct horse battery")
    found = standing(database, TENANT, application.id)
    assert found is not None
    token = tokens.issue_for(
        user, found, EVERYTHING, AUDIENCE, base=Settings().url, version=2, proof=claims.PUBLIC
    )
    return Person(api, user.upn, {"Authorization": f"Bearer {token.value}"})


def test_delegated_permissions_of_routes_are_those_of_the_contract() -> None:
    documented = {(each.method, shape(each.path)): each for each in load().operations if not each.grant}
    checked = 0
    for method, path, route in ROUTES:
        operation = documented.get((method, shape(path)))
        if operation is not None:
            assert set(operation.delegated) == set(route.openapi_extra["x-delegated-permissions"]), path
            checked += 1
    assert checked > 60


def test_every_route_refuses_people_who_lack_its_permissions(ann: Person) -> None:
    by_needs: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for method, path, route in ROUTES:
        needed = tuple(sorted(route.openapi_extra["x-delegated-permissions"]))
        by_needs.setdefault(needed, []).append((method, path))
    for needed, routes in by_needs.items():
        ann.only(set(EVERYTHING) - set(needed), all_devices=True)
        for method, path in routes:
            answer = ann.call(method, concrete(path), json={})
            assert answer.status_code == 403, f"{method} {path}"
            error = answer.json()["error"]
            assert error["code"] == "Forbidden"
            assert "The user does not have any of the required delegated permissions" in error["message"]
            assert all(permission in error["message"] for permission in needed)


def test_each_delegated_permission_opens_its_routes(ann: Person) -> None:
    by_permission: dict[str, list[tuple[str, str]]] = {}
    for method, path, route in ROUTES:
        for permission in route.openapi_extra["x-delegated-permissions"]:
            by_permission.setdefault(permission, []).append((method, path))
    for permission, routes in by_permission.items():
        ann.only([permission], all_devices=True)
        for method, path in routes:
            status = ann.call(method, concrete(path), content=b"[]").status_code
            assert status not in (401, 403, 500), f"{method} {path} with {permission}"


def test_a_permission_counts_while_token_application_and_role_have_it(ann: Person) -> None:
    database, tokens = ann.api.services.database, ann.api.services.tokens
    ann.only(["Machine.Read"], all_devices=True)
    assert ann.call("GET", "/api/machines").status_code == 200
    application, _ = create_application(
        database, TENANT, "small", [], public=True, delegated=["Alert.Read", "Machine.Read"]
    )
    with database.read(TENANT) as session:
        user = users.find_user(session, ann.upn)
    found = standing(database, TENANT, application.id)
    assert found is not None
    token = tokens.issue_for(
        user, found, ["Alert.Read"], AUDIENCE, base=Settings().url, version=2, proof=claims.PUBLIC
    )
    narrow = Person(ann.api, ann.upn, {"Authorization": f"Bearer {token.value}"})
    assert narrow.call("GET", "/api/machines").status_code == 403, "not in the token"
    assert narrow.call("GET", "/api/alerts").status_code == 403, "not in a role"
    narrow.may(["Alert.Read"], all_devices=True)
    assert narrow.call("GET", "/api/alerts").status_code == 200


def test_lists_are_silently_narrowed_to_the_device_groups(ann: Person) -> None:
    ann.only(EVERYTHING, "Servers")
    assert [item["id"] for item in ann.get("/api/machines?$count=true")["value"]] == [DEVICE]
    assert ann.get("/api/machines?$count=true")["@odata.count"] == 1
    assert ann.call("GET", "/api/machines/$count").text == "1"
    assert {item["machineId"] for item in ann.get("/api/alerts")["value"]} == {DEVICE}
    assert ann.call("GET", "/api/alerts/$count").text == "3"
    alerts = ann.get("/api/incidents")["value"][0]["alerts"]
    assert {alert["devices"][0]["mdatpDeviceId"] for alert in alerts} == {DEVICE}
    ann.only(EVERYTHING, "")
    assert [item["id"] for item in ann.get("/api/machines")["value"]] == [SECOND]
    ann.only(EVERYTHING)
    for path in ("/api/machines", "/api/alerts", "/api/incidents", "/api/machineactions"):
        assert ann.get(path)["value"] == []


def test_no_answer_tells_of_devices_of_other_groups(ann: Person) -> None:
    for identifier in (DEVICE, SECOND):
        answer = ann.api.call("POST", f"/api/machines/{identifier}/isolate", json={"Comment": "x"})
        assert answer.status_code == 201
    ann.only(EVERYTHING, "Servers")
    for method, path, _ in ROUTES:
        if method == "GET":
            answer = ann.call("GET", concrete(path))
            assert not any(word in answer.text for word in HIDDEN), path


SINGLE = [
    ("GET", f"/api/machines/{SECOND}"),
    ("GET", "/api/machines/db01"),
    ("GET", f"/api/machines/{SECOND}/alerts"),
    ("GET", f"/api/machines/{SECOND}/machineactions"),
    ("PATCH", f"/api/machines/{SECOND}"),
    ("POST", f"/api/machines/{SECOND}/tags"),
    ("POST", f"/api/machines/{SECOND}/isolate"),
    ("POST", f"/api/machines/{SECOND}/collectInvestigationPackage"),
    ("GET", f"/api/alerts/da{4:018d}_1"),
    ("GET", f"/api/alerts/da{4:018d}_1/machine"),
    ("PATCH", f"/api/alerts/da{4:018d}_1"),
    ("POST", "/api/alerts/batchUpdate"),
]
BODY = {
    "Comment": "x",
    "Value": "x",
    "Action": "Add",
    "status": "Resolved",
    "deviceValue": "High",
    "alertIds": [f"da{4:018d}_1"],
}


def test_single_items_of_other_groups_are_refused(ann: Person) -> None:
    action = ann.api.call("POST", f"/api/machines/{SECOND}/isolate", json={"Comment": "x"}).json()["id"]
    ann.only(EVERYTHING, "Servers")
    single = [
        *SINGLE,
        ("GET", f"/api/machineactions/{action}"),
        ("POST", f"/api/machineactions/{action}/cancel"),
    ]
    for method, path in single:
        answer = ann.call(method, path, **({} if method == "GET" else {"json": BODY}))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden"), path
        assert "device groups" in answer.json()["error"]["message"]
    assert ann.call("GET", f"/api/machines/{'c' * 40}").status_code == 404
    assert ann.api.get(f"/api/machines/{SECOND}")["deviceValue"] == "Normal"
    ann.only(EVERYTHING, "")
    for method, path in single[:-1]:
        answer = ann.call(method, path, **({} if method == "GET" else {"json": BODY}))
        assert answer.status_code in (200, 201) or "already in progress" in answer.text, path


def test_each_permission_reaches_the_devices_of_its_own_roles(ann: Person) -> None:
    ann.only(["Machine.Read"], all_devices=True)
    ann.may(["Machine.Isolate", "Alert.Read"], "Servers")
    assert len(ann.get("/api/machines")["value"]) == 2
    assert len(ann.get("/api/alerts")["value"]) == 3
    body = {"Comment": "x", "IsolationType": "Full"}
    assert ann.call("POST", f"/api/machines/{SECOND}/isolate", json=body).status_code == 403
    assert ann.call("POST", f"/api/machines/{DEVICE}/isolate", json=body).status_code == 201


def test_cancelling_needs_the_permission_of_the_action_on_its_device(ann: Person) -> None:
    action = ann.api.call("POST", f"/api/machines/{DEVICE}/isolate", json={"Comment": "x"}).json()["id"]
    ann.only(["Machine.Scan"], all_devices=True)
    ann.may(["Machine.Isolate"], "")
    answer = ann.call("POST", f"/api/machineactions/{action}/cancel", json={"Comment": "x"})
    assert answer.status_code == 403
    ann.may(["Machine.Isolate"], "Servers")
    assert ann.call("POST", f"/api/machineactions/{action}/cancel", json={"Comment": "x"}).status_code == 200


def test_what_a_person_does_is_recorded_as_theirs(ann: Person) -> None:
    ann.only(EVERYTHING, "Servers")
    action = ann.call("POST", f"/api/machines/{DEVICE}/isolate", json={"Comment": "x"}).json()
    assert action["requestor"] == ann.upn
    with ann.api.services.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert entry.actor == ann.upn


def test_applications_are_not_narrowed_after_people(ann: Person) -> None:
    ann.only(EVERYTHING, "Servers")
    assert len(ann.get("/api/machines")["value"]) == 1
    assert len(ann.api.get("/api/machines")["value"]) == 2


def test_indicators_are_for_devices_of_the_groups_only(ann: Person) -> None:
    body = {
        "indicatorValue": "203.0.113.7",
        "indicatorType": "IpAddress",
        "action": "Block",
        "title": "x",
        "description": "x",
    }
    ann.only(["Ti.ReadWrite"], "Servers")
    for groups in ([], ["Desks"], ["Servers", "Desks"]):
        answer = ann.call("POST", "/api/indicators", json=body | {"rbacGroupNames": groups})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden")
    made = ann.call("POST", "/api/indicators", json=body | {"rbacGroupNames": ["Servers"]})
    assert made.status_code == 200
    assert made.json()["createdBy"] == ann.upn
    wide = body | {"indicatorValue": "203.0.113.8"}
    assert ann.api.call("POST", "/api/indicators", json=wide).status_code == 200
    answer = ann.call("POST", "/api/indicators", json=wide | {"rbacGroupNames": ["Servers"]})
    assert answer.status_code == 403, "it is for all devices already"


def hunted(ann: Person, text: str) -> list[dict[str, Any]]:
    answer = ann.call("POST", "/api/advancedqueries/run", json={"Query": text})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["Results"]
    return found


def test_figures_of_software_are_those_of_the_device_groups(ann: Person) -> None:
    services, name = ann.api.services, uuid4().hex
    for key, group in ((DEVICE, "Servers"), (SECOND, "")):
        row = {"Timestamp": now(), "DeviceId": key, "MachineGroup": group}
        services.telemetry.insert_rows("DeviceInfo", TENANT, [row])
        put(services.telemetry, "DeviceTvmSoftwareInventory", TENANT, key, software(name, "1"))
    services.summaries.compute(TENANT)
    path = f"/api/Software/contoso-_-{name}"
    ann.only(["Software.Read"], all_devices=True)
    assert ann.get(path)["installedMachines"] == 2
    ann.only(["Software.Read"], "Servers")
    assert ann.get(path)["installedMachines"] == 1


def test_what_is_for_all_devices_is_for_those_who_see_all(ann: Person) -> None:
    calls = (
        ("POST", "/api/baselineExceptions", {"configurations": ["x"], "dueDate": "2300-01-01"}),
        ("PATCH", "/api/baselineExceptions/1", {"title": "x"}),
        ("DELETE", "/api/baselineExceptions/1", None),
        ("POST", "/api/dataExportSettings", {"id": "x"}),
        ("DELETE", "/api/dataExportSettings/x", None),
    )
    ann.only(["Machine.ReadWrite"], "Servers")
    assert [ann.call(method, path, json=body).status_code for method, path, body in calls] == [403] * 5
    ann.only(["Machine.ReadWrite"], all_devices=True)
    assert [ann.call(method, path, json=body).status_code for method, path, body in calls] == [
        400,
        404,
        404,
        400,
        404,
    ]


def test_hunting_reads_rows_of_the_device_groups_only(ann: Person) -> None:
    store, mark = ann.api.services.telemetry, uuid4().hex
    groups = {DEVICE: "Servers", SECOND: ""}
    made = [
        {"Timestamp": now(), "DeviceId": key, "DeviceName": mark, "MachineGroup": group}
        for key, group in groups.items()
    ]
    store.insert_rows("DeviceInfo", TENANT, made)
    store.insert_rows("DeviceProcessEvents", TENANT, made)
    store.insert_rows(
        "DeviceTvmSoftwareInventory", TENANT, [{"DeviceId": key, "DeviceName": mark} for key in groups]
    )
    store.insert_rows("DeviceTvmInfoGatheringKB", TENANT, [{"FieldName": mark}])
    store.insert_rows("EmailEvents", TENANT, [{"Timestamp": now(), "Subject": mark}])

    def seen(table: str, column: str = "DeviceName") -> list[str]:
        rows = hunted(ann, f"{table} | where {column} == '{mark}'")
        return sorted(row.get("DeviceId", "") for row in rows)

    tables = ("DeviceInfo", "DeviceProcessEvents", "DeviceTvmSoftwareInventory")
    ann.only(["AdvancedQuery.Read"], all_devices=True)
    assert [seen(table) for table in tables] == [[DEVICE, SECOND]] * 3
    assert len(hunted(ann, f"EmailEvents | where Subject == '{mark}'")) == 1
    for name, own in (("Servers", [DEVICE]), ("", [SECOND])):
        ann.only(["AdvancedQuery.Read"], name)
        assert [seen(table) for table in tables] == [own] * 3
        union = hunted(ann, f"union Device* | where DeviceName == '{mark}' | distinct DeviceId")
        assert [row["DeviceId"] for row in union] == own
        assert hunted(ann, f"EmailEvents | where Subject == '{mark}'") == []
        assert len(hunted(ann, f"DeviceTvmInfoGatheringKB | where FieldName == '{mark}'")) == 1
    ann.only(["AdvancedQuery.Read"])
    assert [seen(table) for table in tables] == [[]] * 3


def test_a_groups_name_is_data_in_a_hunt(ann: Person) -> None:
    name, mark = "it's \\ {x} \\' OR 1=1", uuid4().hex
    with ann.api.services.database.session(TENANT) as session:
        group = DeviceGroup(name=name)
        session.add(group)
        session.flush()
        session.add(device("d" * 40, "odd", device_group_id=group.id))
    rows = [
        {"Timestamp": now(), "DeviceId": key, "DeviceName": mark, "MachineGroup": each}
        for key, each in (("d" * 40, name), (SECOND, ""))
    ]
    ann.api.services.telemetry.insert_rows("DeviceProcessEvents", TENANT, rows)
    ann.only(["AdvancedQuery.Read"], name)
    found = hunted(ann, f"DeviceProcessEvents | where DeviceName == '{mark}'")
    assert [row["DeviceId"] for row in found] == ["d" * 40]


def test_people_have_their_own_twin_of_each_permission() -> None:
    assert {delegated(name) for name in ("Alert.Read.All", "Alert.ReadWrite.All")} < DELEGATED_PERMISSIONS
