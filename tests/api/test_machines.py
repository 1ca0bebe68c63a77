"""Devices and the actions on them, as the contract describes them and clients read them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import select, update

from shieldwall.devices.models import Device
from shieldwall.identity.models import AuditEntry
from shieldwall.response.models import MachineAction
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.conftest import TENANT

MACHINE_KEYS = """
id mergedIntoMachineId isPotentialDuplication isExcluded exclusionReason computerDnsName firstSeen lastSeen
osPlatform osVersion osProcessor version lastIpAddress lastExternalIpAddress agentVersion osBuild healthStatus
deviceValue rbacGroupId rbacGroupName riskScore exposureLevel isAadJoined aadDeviceId machineTags
defenderAvStatus onboardingStatus osArchitecture managedBy managedByStatus ipAddresses vmMetadata
"""
ACTION_KEYS = """
id type title scope requestor requestorComment requestSource externalId status machineId computerDnsName
creationDateTimeUtc lastUpdateDateTimeUtc lastUpdateTimeUtc cancellationRequestor cancellationComment
cancellationDateTimeUtc errorHResult relatedFileInfo commands troubleshootInfo
"""
AAD = "0f0e0d0c-0000-4000-8000-000000000001"

MACHINE_FILTERS = {
    "healthStatus eq 'Active'": [DEVICE],
    "healthStatus+in+('Active',+'Inactive')": [DEVICE, SECOND],
    "ComputerDNSName eq 'WEB01.contoso.com'": [DEVICE],
    "startswith(computerDnsName,'web')": [DEVICE],
    "lastSeen gt 2026-01-03Z": [SECOND],
    "machineTags/any(tag: tag eq 'prod')": [DEVICE],
    "machineTags/any(tag: startswith(tag, 'PR'))": [DEVICE],
    "not machineTags/any()": [SECOND],
    "machineTags eq 'prod'": [DEVICE],
    "contains(machineTags,'ro')": [DEVICE],
    "rbacGroupId eq 0": [SECOND],
    "rbacGroupName eq 'servers'": [DEVICE],
    "riskScore eq 'None' and deviceValue eq 'normal'": [DEVICE, SECOND],
    f"aadDeviceId eq {AAD}": [DEVICE],
    f"aadDeviceId eq '{AAD}' or aadDeviceId eq null": [DEVICE, SECOND],
    "isExcluded": [],
    "isExcluded eq false and not isPotentialDuplication": [DEVICE, SECOND],
    "lastIpAddress eq '10.0.0.5'": [DEVICE],
}


def act(api: Api, name: str, body: object = None, machine: str = DEVICE) -> dict[str, object]:
    answer = api.call("POST", f"/api/machines/{machine}/{name}", json=body or {"Comment": "because"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def finish(api: Api, action_id: object, status: str) -> None:
    with api.services.database.session(TENANT) as session:
        session.execute(update(MachineAction).where(MachineAction.id == action_id).values(status=status))


def test_a_machine_has_every_property_of_the_contract_in_the_observed_order(api: Api) -> None:
    body = api.get(f"/api/machines/{DEVICE}")
    assert list(body) == ["@odata.context", *MACHINE_KEYS.split()]
    assert body["@odata.context"] == f"{URL}/api/$metadata#Machines/$entity"
    assert (body["rbacGroupName"], body["machineTags"]) == ("Servers", ["prod"])
    other = api.get(f"/api/machines/{SECOND}")
    assert (other["rbacGroupId"], other["rbacGroupName"], other["machineTags"]) == (0, None, [])
    assert other["ipAddresses"] == [], "never null"


def test_a_machine_is_found_by_id_name_and_directory_id(api: Api) -> None:
    for name in (DEVICE, DEVICE.upper(), "web01.contoso.com", "WEB01.CONTOSO.COM", AAD):
        assert api.get(f"/api/machines/{name}")["id"] == DEVICE
    for name in ("nobody", "web01", "c" * 40):
        assert api.error("GET", f"/api/machines/{name}") == (404, "ResourceNotFound")


def test_of_devices_with_one_name_the_last_heard_of_is_meant(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).values(computer_dns_name="same"))
        session.execute(update(Device).where(Device.id == SECOND).values(last_contact=now()))
    assert api.get("/api/machines/SAME")["id"] == SECOND


def test_a_device_that_calls_itself_by_anothers_id_takes_nothing_from_it(api: Api) -> None:
    for name in (DEVICE, AAD):
        with api.services.database.session(TENANT) as session:
            changed = update(Device).where(Device.id == SECOND)
            session.execute(changed.values(computer_dns_name=name, last_contact=now()))
        assert api.get(f"/api/machines/{name}")["id"] == DEVICE


def test_filters_of_machines(api: Api) -> None:
    found = {
        text: [item["id"] for item in api.get(f"/api/machines?$filter={text}")["value"]]
        for text in MACHINE_FILTERS
    }
    assert found == MACHINE_FILTERS


def test_tags_are_added_and_removed_one_at_a_time(api: Api) -> None:
    def tag(action: str, value: str) -> list[str]:
        answer = api.call("POST", f"/api/machines/{DEVICE}/tags", json={"Value": value, "Action": action})
        assert answer.status_code == 200
        assert answer.json()["@odata.context"] == f"{URL}/api/$metadata#Machines/$entity"
        return answer.json()["machineTags"]

    assert tag("Add", "web") == ["prod", "web"]
    assert tag("Add", "web") == ["prod", "web"], "once"
    assert tag("add", "a'b \U0001f600") == ["prod", "web", "a'b \U0001f600"]
    assert tag("Remove", "prod") == ["web", "a'b \U0001f600"]
    assert tag("Remove", "nothing") == ["web", "a'b \U0001f600"]
    assert api.get(f"/api/machines/{DEVICE}")["machineTags"] == ["web", "a'b \U0001f600"]
    with api.services.database.read(TENANT) as session:
        entries = session.scalars(
            select(AuditEntry.action).where(AuditEntry.action.startswith("machine.tag"))
        )
        assert len(entries.all()) == 5


def test_tags_have_bounds(api: Api) -> None:
    path = f"/api/machines/{DEVICE}/tags"
    assert api.error("POST", path, json={"Value": "x" * 201, "Action": "Add"}) == (400, "InvalidRequestBody")
    assert api.error("POST", path, json={"Value": "  ", "Action": "Add"}) == (400, "MissingRequiredParameter")
    tags = [str(number) for number in range(101)]
    answer = api.error("PATCH", f"/api/machines/{DEVICE}", json={"machineTags": tags})
    assert answer == (400, "InvalidInput")


def test_tags_added_at_the_same_time_are_all_kept(api: Api) -> None:
    def add(number: int) -> int:
        body = {"Value": f"tag {number}", "Action": "Add"}
        return api.call("POST", f"/api/machines/{DEVICE}/tags", json=body).status_code

    assert add(0) == 200
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(add, range(1, 18))) == {200}
    assert len(api.get(f"/api/machines/{DEVICE}")["machineTags"]) == 19


def test_a_patch_replaces_all_tags_and_sets_the_value(api: Api) -> None:
    answer = api.call(
        "PATCH", f"/api/machines/{DEVICE}", json={"machineTags": ["b", "a", "b"], "DeviceValue": "high"}
    )
    assert (answer.json()["machineTags"], answer.json()["deviceValue"]) == (["b", "a"], "High")
    answer = api.call("POST", f"/api/machines/{DEVICE}/setdevicevalue", json={"DeviceValue": "Low"})
    assert (answer.json()["machineTags"], answer.json()["deviceValue"]) == (["b", "a"], "Low")


def test_one_tag_for_many_machines_is_for_all_or_none(api: Api) -> None:
    path = "/api/machines/AddOrRemoveTagForMultipleMachines"
    body = {"Value": "many", "Action": "Add", "MachineIds": [DEVICE, "db01"]}
    found = api.call("POST", path, json=body).json()["value"]
    assert [item["machineTags"] for item in found] == [["prod", "many"], ["many"]]
    wrong = {"Value": "none", "Action": "Add", "MachineIds": [DEVICE, "nobody"]}
    assert api.error("POST", path, json=wrong) == (404, "ResourceNotFound")
    assert api.get(f"/api/machines/{DEVICE}")["machineTags"] == ["prod", "many"]
    over = {"Value": "x", "Action": "Add", "MachineIds": ["x"] * 501}
    assert api.error("POST", path, json=over) == (400, "MaximumBatchSizeExceeded")


def test_machines_are_found_by_tag_and_by_address(api: Api) -> None:
    def ids(path: str) -> list[str]:
        return [item["id"] for item in api.get(path)["value"]]

    assert ids("/api/machines/findbytag?tag=PROD") == [DEVICE]
    assert ids("/api/machines/findbytag?tag=pr") == []
    assert ids("/api/machines/findbytag?tag=pr&useStartsWithFilter=true") == [DEVICE]
    assert ids("/api/machines/findbytag?tag=%25&useStartsWithFilter=true") == []
    assert api.error("GET", "/api/machines/findbytag") == (400, "MissingRequiredParameter")
    moment = now() - timedelta(hours=1)
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).where(Device.id == DEVICE).values(last_contact=now()))
    assert ids(f"/api/machines/FindByIp(ip='10.0.0.5',timestamp={to_text(moment)})") == [DEVICE]
    assert ids(f"/api/machines/findbyip(ip='10.0.0.6',timestamp={to_text(moment)})") == []
    old = to_text(now() - timedelta(days=31))
    assert api.error("GET", f"/api/machines/findbyip(ip='10.0.0.5',timestamp={old})") == (400, "BadRequest")
    bad = f"/api/machines/findbyip(ip='10.0.0.555',timestamp={to_text(moment)})"
    assert api.error("GET", bad) == (400, "InvalidIpAddress")


def test_an_action_answers_201_with_every_property(api: Api) -> None:
    body = act(api, "isolate", {"Comment": "ransomware", "IsolationType": "Full"})
    assert list(body) == ["@odata.context", *ACTION_KEYS.split()]
    assert body["@odata.context"] == f"{URL}/api/$metadata#MachineActions/$entity"
    assert (body["type"], body["scope"], body["status"]) == ("Isolate", "Full", "Pending")
    assert (body["requestorComment"], body["requestSource"]) == ("ransomware", "PublicApi")
    assert body["lastUpdateTimeUtc"] == body["lastUpdateDateTimeUtc"]
    assert (body["errorHResult"], body["commands"], body["machineId"]) == (0, [], DEVICE)
    assert api.get(f"/api/machineactions/{body['id']}") == body


@pytest.mark.parametrize(
    "body",
    [{"Comment": "only this"}, {"comment": ""}, {"COMMENT": None}, {"Comment": "x", "isolationtype": "full"}],
)
def test_isolation_is_full_where_the_type_is_missing_and_the_comment_may_be_empty(
    api: Api, body: dict[str, object]
) -> None:
    assert act(api, "Isolate", body)["scope"] == "Full"


def test_a_comment_must_be_there(api: Api) -> None:
    for name in ("isolate", "unisolate", "collectInvestigationPackage", "StopAndQuarantineFile"):
        answer = api.error("POST", f"/api/machines/{DEVICE}/{name}", json={"IsolationType": "Full"})
        assert answer == (400, "MissingRequiredParameter")


def test_a_second_pending_action_is_refused_in_the_words_that_clients_search_for(api: Api) -> None:
    act(api, "isolate")
    answer = api.call("POST", f"/api/machines/{AAD}/isolate", json={"Comment": "again"})
    assert answer.status_code == 400
    assert answer.text.startswith(
        '{"error":{"code":"ActiveRequestAlreadyExists","message":"Action is already in progress","target":"'
    )
    assert len(api.get("/api/machineactions")["value"]) == 1


def test_a_file_is_named_by_a_sha1(api: Api) -> None:
    sha1 = hashlib.sha1(b"x", usedforsecurity=False).hexdigest()
    body = act(api, "stopandquarantinefile", {"Comment": "x", "Sha1": sha1.upper()})
    assert body["relatedFileInfo"] == {"fileIdentifier": sha1, "fileIdentifierType": "Sha1"}
    path = f"/api/machines/{DEVICE}/StopAndQuarantineFile"
    assert api.error("POST", path, json={"Comment": "x", "Sha1": "12"}) == (400, "InvalidHashValue")
    assert api.error("POST", path, json={"Comment": "x"}) == (400, "MissingRequiredParameter")
    assert api.error("POST", path, json={"Comment": "x", "Sha1": 5}) == (400, "InvalidRequestBody")


def test_actions_are_listed_newest_first_and_filtered(api: Api) -> None:
    first = act(api, "isolate")
    second = act(api, "collectInvestigationPackage", machine="DB01")
    body = api.get("/api/machineActions")
    assert body["@odata.context"] == f"{URL}/api/$metadata#MachineActions"
    assert [item["id"] for item in body["value"]] == [second["id"], first["id"]]
    for text, expected in (
        (f"machineId eq '{DEVICE}'and type eq 'isolate'", [first["id"]]),
        ("CreationDateTimeUtc ge 2026-01-01T00:00:00Z and status eq 'Pending'", [second["id"], first["id"]]),
        (f"id eq {first['id']}", [first["id"]]),
        ("type in ('Isolate','Unisolate') and status eq 'Succeeded'", []),
        ("requestor eq 'nobody'", []),
    ):
        found = api.get(f"/api/machineactions?$filter={text}")["value"]
        assert [item["id"] for item in found] == expected, text
    own = api.get(f"/api/machines/{DEVICE}/machineactions?$filter=type in ('Isolate')&$top=1")["value"]
    assert [item["id"] for item in own] == [first["id"]]


def test_an_action_id_that_is_no_guid_is_a_bad_request(api: Api) -> None:
    answer = api.call("GET", "/api/machineactions/123")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    assert "Edm.Guid" in answer.json()["error"]["message"]
    assert api.error("GET", f"/api/machineactions/{uuid4()}") == (404, "ResourceNotFound")


def test_cancelling_fills_the_three_properties_and_happens_once(api: Api) -> None:
    action = act(api, "isolate")
    answer = api.call("POST", f"/api/machineactions/{action['id']}/cancel", json={"Comment": "not needed"})
    assert answer.status_code == 200, "not 201"
    body = answer.json()
    assert (body["status"], body["cancellationComment"]) == ("Cancelled", "not needed")
    assert body["cancellationRequestor"]
    assert body["cancellationDateTimeUtc"] == body["lastUpdateDateTimeUtc"]
    assert api.error("POST", f"/api/machineactions/{action['id']}/cancel") == (400, "InvalidInput")
    act(api, "isolate")


def test_cancelling_needs_the_permission_of_the_actions_type(api: Api) -> None:
    action = act(api, "isolate")
    path = f"/api/machineactions/{action['id']}/cancel"
    assert api.error("POST", path, roles=("Machine.CollectForensics",)) == (403, "Forbidden")
    assert api.call("POST", path, roles=("Machine.Isolate",)).status_code == 200


def test_an_action_wakes_the_device(api: Api) -> None:
    ticket = api.services.wakeups.ticket(TENANT, DEVICE)
    act(api, "isolate")
    assert api.services.wakeups.ticket(TENANT, DEVICE) != ticket


def test_a_package_is_fetched_by_its_link_without_a_token(api: Api) -> None:
    action = act(api, "collectInvestigationPackage")
    path = f"/api/machineactions/{action['id']}/GetPackageUri"
    assert api.error("GET", path) == (404, "ResourceNotFound")
    content = b"PK\x03\x04 a package"

    async def upload() -> AsyncIterator[bytes]:
        yield content

    digest = hashlib.sha256(content).hexdigest()
    anyio.run(api.services.packages.receive, action["id"], upload(), digest)
    assert api.error("GET", path) == (404, "ResourceNotFound"), "not before the action has succeeded"
    finish(api, action["id"], "Succeeded")
    body = api.get(path)
    assert body["@odata.context"] == f"{URL}/api/$metadata#Edm.String"
    link = body["value"]
    assert link.startswith(URL), "a plain link, without quotes inside"
    answer = api.http.request("GET", link)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="InvestigationPackage.zip"' in answer.headers["content-disposition"]
    for wrong in (
        link.replace("sig=", "sig=0"),
        link.replace("tid=1", "tid=2"),
        link.replace("se=1", "se=2"),
        link.split("?")[0],
        link.replace("sig=", "sig=%C3%A9"),
        link.replace(str(action["id"]), str(uuid4())),
        link.replace(str(action["id"]), "..%2F..%2Fstate.db"),
    ):
        assert api.http.request("GET", wrong).status_code in (403, 404), wrong


def test_a_package_of_another_kind_of_action_is_invalid_input(api: Api) -> None:
    action = act(api, "isolate")
    assert api.error("GET", f"/api/machineactions/{action['id']}/getPackageUri") == (400, "InvalidInput")


def test_incidents_hold_their_alerts_devices_and_entities(api: Api) -> None:
    body = api.get("/api/incidents?$top=5")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Incidents"
    (incident,) = body["value"]
    assert [alert["devices"][0]["mdatpDeviceId"] for alert in incident["alerts"]] == [DEVICE] * 3 + [SECOND]
    assert next(entity["entityType"] for entity in incident["alerts"][0]["entities"]) == "File"
    one = api.get(f"/api/incidents/{incident['incidentId']}")
    one.pop("@odata.context")
    assert one == incident
    for name in ("0", "x", "9" * 30, "-1"):
        assert api.error("GET", f"/api/incidents/{name}") == (404, "ResourceNotFound")
