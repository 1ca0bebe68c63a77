"""What clients ask of devices beside the documented lists: users, addresses at a time, abilities, groups."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from shieldwall.devices.models import Device
from shieldwall.identity.models import AuditEntry
from shieldwall.investigations.levels import set_level
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.api.test_machines import act, finish
from tests.conftest import OTHER_TENANT, TENANT


def logon(api: Api, name: str, kind: str, minutes: int, tenant: str = TENANT, **more: Any) -> None:
    row = {
        "Timestamp": now() - timedelta(minutes=minutes),
        "DeviceId": DEVICE,
        "ActionType": "LogonSuccess",
        "AccountName": name,
        "AccountDomain": "web01",
        "LogonType": kind,
        "ReportId": 1,
        **more,
    }
    api.services.telemetry.insert_rows("DeviceLogonEvents", tenant, [row])


def test_users_are_those_who_logged_on_with_times_without_fraction(api: Api) -> None:
    name = f"ann-{uuid4()}"
    logon(api, name, "Interactive", 50, AccountSid="S-1-22-1-1000")
    logon(api, name, "Network", 10)
    logon(api, f"failed-{name}", "Network", 5, ActionType="LogonFailed")
    logon(api, f"foreign-{name}", "Network", 5, tenant=OTHER_TENANT)
    body = api.get("/api/machines/WEB01.contoso.com/logonusers")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Users"
    found = {user["accountName"]: user for user in body["value"]}
    assert f"failed-{name}" not in found
    assert f"foreign-{name}" not in found
    user = found[name]
    assert (user["id"], user["accountDomain"]) == (f"web01\\{name}", "web01")
    assert user["logonTypes"] == "Interactive, Network", "one string"
    assert user["firstSeen"] < user["lastSeen"]
    assert "." not in user["firstSeen"] + user["lastSeen"]
    path = f"/api/machines/{DEVICE}/logonusers"
    assert api.error("GET", path, roles=("Machine.Read.All",)) == (403, "Forbidden")
    assert api.error("GET", "/api/machines/nobody/logonusers") == (404, "ResourceNotFound")


def reported(api: Api, device: str, address: str, minutes: int, mac: str = "AA") -> None:
    row = {
        "Timestamp": now() - timedelta(minutes=minutes),
        "DeviceId": device,
        "MacAddress": mac,
        "IPAddresses": f'[{{"IPAddress":"{address}"}}]',
        "ReportId": 1,
    }
    api.services.telemetry.insert_rows("DeviceNetworkInfo", TENANT, [row])


@pytest.fixture
def fresh(api: Api) -> Api:
    """Devices that are there now; ids of their own, as the telemetry is shared by all tests."""
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).values(last_contact=now(), last_ip_address=None))
    return api


def test_an_address_is_found_where_it_was_at_that_time(fresh: Api) -> None:
    device = uuid4().hex + "00000000"
    with fresh.services.database.session(TENANT) as session:
        seen = session.get(Device, SECOND)
        session.add(
            Device(
                id=device,
                computer_dns_name="roaming",
                first_seen=seen.first_seen,
                last_seen=now(),
                last_contact=now(),
                last_ip_address="10.9.9.2",
                public_key="k",
            )
        )
    reported(fresh, device, "10.9.9.1", 300)
    reported(fresh, device, "10.9.9.2", 120)

    def at(minutes: int, address: str) -> list[str]:
        moment = to_text(now() - timedelta(minutes=minutes))
        items = fresh.get(f"/api/machines/findbyip(ip='{address}',timestamp={moment})")["value"]
        return [item["id"] for item in items]

    with fresh.services.database.session(TENANT) as session:
        session.execute(
            update(Device).where(Device.id == device).values(last_seen=now() - timedelta(hours=5))
        )
    assert at(200, "10.9.9.1") == [device]
    assert at(200, "10.9.9.2") == [], "it came by that address later"
    assert at(60, "10.9.9.1") == []
    assert at(60, "10.9.9.2") == [device]


def test_the_older_find_answers_404_where_there_is_none(fresh: Api) -> None:
    moment = to_text(now())
    path = f"/api/machines/find(timestamp={moment},key='10.0.0.5')"
    assert fresh.error("GET", path) == (404, "NotFound")
    with fresh.services.database.session(TENANT) as session:
        session.execute(update(Device).where(Device.id == SECOND).values(last_ip_address="10.0.0.77"))
    for key in ("'10.0.0.77'", "10.0.0.77"):
        found = fresh.get(f"/api/machines/find(timestamp={moment},key={key})")["value"]
        assert [item["id"] for item in found] == [SECOND]
    assert fresh.error("GET", f"/api/machines/find(timestamp={moment},key='x')") == (400, "InvalidIpAddress")
    old = to_text(now() - timedelta(days=31))
    assert fresh.error("GET", f"/api/machines/find(timestamp={old},key='10.0.0.5')") == (400, "BadRequest")


def abilities(api: Api) -> dict[str, dict[str, Any]]:
    items = api.get(f"/api/machines/{DEVICE}/availableMachineActions")["value"]
    assert all(list(item) == ["action", "isAvailable", "notSupportedReason"] for item in items)
    return {item["action"]: item for item in items}


def test_what_a_device_can_be_asked_for(api: Api) -> None:
    able = abilities(api)
    assert list(able) == [
        "FullIsolation",
        "SelectiveIsolation",
        "RunAntiVirusScan",
        "CollectInvestigationPackage",
        "StopAndQuarantineFile",
        "RestrictCodeExecution",
        "InitiateInvestigation",
        "OffBoard",
        "RunCustomPlaybook",
    ]
    assert all(item["isAvailable"] and item["notSupportedReason"] is None for item in able.values())
    act(api, "restrictCodeExecution")
    assert not abilities(api)["RestrictCodeExecution"]["isAvailable"]
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).where(Device.id == DEVICE).values(isolated=True))
    able = abilities(api)
    assert able["FullIsolation"]["notSupportedReason"] == "The device is isolated."
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).where(Device.id == DEVICE).values(revoked=True))
    assert not any(item["isAvailable"] for item in abilities(api).values())


def test_the_latest_action_of_each_type(api: Api) -> None:
    first = act(api, "isolate")
    finish(api, first["id"], "Succeeded")
    second = act(api, "isolate")
    other = act(api, "collectInvestigationPackage")
    act(api, "isolate", machine=SECOND)
    found = api.get(f"/api/machines/{DEVICE}/latestMachineActions")["value"]
    assert {item["id"] for item in found} == {second["id"], other["id"]}
    foreign = api.error("GET", f"/api/machines/{DEVICE}/latestMachineActions", tenant=OTHER_TENANT)
    assert foreign == (404, "ResourceNotFound")


def test_devices_without_a_tag_and_in_large_pages(api: Api) -> None:
    assert [item["id"] for item in api.get("/api/machines/unTaggedMachines")["value"]] == [SECOND]
    assert len(api.get("/api/machines/bigpagesize?pageSize=100000")["value"]) == 2
    (first, _) = api.get("/api/machines/dlp?$orderby=id")["value"]
    assert (first["id"], first["configStatus"]) == (DEVICE, "NotConfigured")


def test_groups_count_their_devices_and_those_of_none_come_last(api: Api) -> None:
    servers, rest = api.get("/api/deviceGroups")["value"]
    assert (servers["deviceGroupName"], servers["deviceCount"], servers["priority"]) == ("Servers", 1, 1)
    assert (rest["id"], rest["isUnassignedDeviceGroup"], rest["deviceCount"]) == (0, True, 1)
    assert [item["deviceCount"] for item in api.get("/api/deviceGroups", tenant=OTHER_TENANT)["value"]] == [1]
    assert (servers["automationLevel"], rest["automationLevel"]) == ("full", "full")
    set_level(api.services.database, TENANT, "Servers", "none", "ann")
    set_level(api.services.database, TENANT, None, "all_folders", "ann")
    servers, rest = api.get("/api/deviceGroups")["value"]
    assert (servers["automationLevel"], rest["automationLevel"]) == ("none", "all_folders")


def test_a_device_that_has_no_agent_can_be_asked_for_nothing(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).where(Device.id == DEVICE).values(public_key=""))
    assert {item["notSupportedReason"] for item in abilities(api).values()} >= {"The device has no agent."}
    assert not any(item["isAvailable"] for item in abilities(api).values())
    answer = api.error("POST", f"/api/machines/{DEVICE}/isolate", json={"Comment": "x"})
    assert answer == (400, "InvalidInput")


@pytest.mark.parametrize(
    ("name", "body", "excluded", "reason"),
    [
        ("setExclusion", {}, True, None),
        ("setExclusion", {"isExcluded": True, "exclusionReason": "lab"}, True, "lab"),
        ("setExclusion", {"IsExcluded": "false", "ExclusionReason": "lab"}, False, None),
        ("setExclusionState", {"ExclusionState": "Excluded", "Justification": "old"}, True, "old"),
        ("setExclusionState", {"exclusionState": "included"}, False, None),
    ],
)
def test_a_device_is_excluded_and_taken_back(
    api: Api, name: str, body: dict[str, Any], excluded: bool, reason: str | None
) -> None:
    answer = api.call("POST", f"/api/machines/{DEVICE}/{name}", json=body)
    assert answer.status_code == 200
    assert (answer.json()["isExcluded"], answer.json()["exclusionReason"]) == (excluded, reason)
    with api.services.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "machine.exclusion")).one()
    assert entry.detail["excluded"] is excluded
    for wrong in ({"isExcluded": "perhaps"}, {"exclusionReason": 5}, {"exclusionReason": "x" * 301}):
        refused = api.error("POST", f"/api/machines/{DEVICE}/{name}", json=wrong)
        assert refused == (400, "InvalidRequestBody")


def test_the_agents_own_logs_come_as_a_package(api: Api) -> None:
    action = act(api, "logsCollection")
    assert action["type"] == "LogsCollection"
    path = f"/api/machineactions/{action['id']}/getPackageUri"
    assert api.error("GET", path) == (404, "ResourceNotFound"), "of the right kind, and not finished"
