"""Authenticated scans: definitions, the devices that run them, and their runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from shieldwall.api import scans
from shieldwall.exposure.models import ScanDefinition, ScanSession
from tests.api.conftest import DEVICE, FOREIGN, SECOND, START, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

PATH = "/api/DeviceAuthenticatedScanDefinitions"
DEFINITION_KEYS = """
id scanType scanName isActive target orgId intervalInHours createdBy targetType scanAuthenticationParams
scannerAgent latestScan isTroubleshootMode advancedActiveConfiguration
"""
AGENT_KEYS = """
id machineId lastSeen assignedApplicationId scannerSoftwareVersion lastCommandExecutionTimestamp
mdeClientVersion computerDnsName
"""
BODY: dict[str, Any] = {
    "scanType": "Network",
    "scanName": "Switches",
    "isActive": True,
    "target": "10.0.0.1, 10.0.0.2",
    "intervalInHours": 1,
    "targetType": "Ip",
    "scannerAgent": {"machineId": DEVICE},
    "scanAuthenticationParams": {
        "@odata.type": "#microsoft.windowsDefenderATP.api.SnmpAuthParams",
        "type": "AuthPriv",
        "username": "reader",
        "authProtocol": "SHA1",
        "authPassword": "s3cret-one",
        "privProtocol": "AES",
        "privPassword": "s3cret-two",
    },
}


def make(api: Api, **more: Any) -> dict[str, Any]:
    answer = api.call("POST", PATH, json=BODY | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def run(api: Api, definition: str, minutes: int, status: str = "Success", tenant: str = TENANT) -> str:
    identifier = uuid4().hex
    target = {
        "Ip": "10.0.0.1",
        "Hostname": "",
        "ScannedDeviceDescription": "switch",
        "ErrorMessage": "",
        "ScanStatus": "Success",
        "ScanDuration": "00:00:07",
    }
    with api.services.database.session(tenant) as session:
        session.add(
            ScanSession(
                id=identifier,
                definition_id=definition,
                machine_id=DEVICE,
                time=START + timedelta(minutes=minutes),
                status=status,
                targets=[target],
                succeeded=1,
            )
        )
    return identifier


def test_a_definition_is_made_with_200_and_without_its_credentials(api: Api) -> None:
    body = make(api)
    assert body.pop("@odata.context") == f"{URL}/api/$metadata#DeviceAuthenticatedScanDefinitions/$entity"
    assert list(body) == DEFINITION_KEYS.split()
    assert body["scanAuthenticationParams"] is None
    assert body["latestScan"] == {"status": None, "failureReason": None, "executionDateTime": None}
    assert (body["orgId"], body["targetType"], body["intervalInHours"]) == (TENANT, "Ip", 1)
    assert body["scannerAgent"]["id"] == f"{TENANT}_{DEVICE}"
    assert body["scannerAgent"]["machineName"] == "Web01.contoso.com"


def test_secrets_are_kept_encrypted_and_shown_masked(api: Api) -> None:
    identifier = make(api)["id"]
    answer = api.call("GET", PATH)
    assert "s3cret" not in answer.text
    shown = answer.json()["value"][0]["scanAuthenticationParams"]
    assert (shown["type"], shown["username"], shown["authPassword"]) == ("AuthPriv", "reader", "********")
    with api.services.database.read(TENANT) as session:
        row = session.scalar(select(ScanDefinition).where(ScanDefinition.id == identifier))
        assert "s3cret" not in f"{row.sealed} {row.authentication}"
        assert api.services.scan_secrets.open(row.sealed)["authPassword"] == "s3cret-one"


def test_both_names_of_the_type_of_targets_are_understood(api: Api) -> None:
    assert make(api, targetType="IP Address")["targetType"] == "Ip"
    assert make(api, targetType="hostname")["targetType"] == "Hostname"


def test_what_a_change_does_not_name_stays(api: Api) -> None:
    identifier = make(api)["id"]
    answer = api.call(
        "PATCH", f"{PATH}/{identifier.upper()}", json={"IsActive": False, "scanName": "Renamed"}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["isActive"], body["scanName"], body["target"]) == (False, "Renamed", BODY["target"])
    assert body["scanAuthenticationParams"] is None
    assert api.get(PATH)["value"][0]["scanAuthenticationParams"]["username"] == "reader"
    assert api.error("PATCH", f"{PATH}/{identifier}", json={}) == (400, "InvalidRequestBody")
    assert api.error("PATCH", f"{PATH}/{uuid4()}", json={"isActive": True}) == (404, "ResourceNotFound")


@pytest.mark.parametrize("name", BODY)
def test_every_property_is_needed(api: Api, name: str) -> None:
    body = {key: value for key, value in BODY.items() if key != name}
    assert api.error("POST", PATH, json=body) == (400, "MissingRequiredParameter")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scanType", "Printer"),
        ("scanName", ""),
        ("scanName", "x" * 201),
        ("isActive", "yes"),
        ("target", 5),
        ("intervalInHours", "1"),
        ("intervalInHours", 0),
        ("targetType", "Moon"),
        ("scanAuthenticationParams", "secret"),
        ("scanAuthenticationParams", {"type": "Guess"}),
        ("scanAuthenticationParams", {"type": "AuthPriv", "authPassword": 5}),
        ("scanAuthenticationParams", {"type": "Kerberos", "isGmsaUser": "yes"}),
    ],
)
def test_wrong_values_are_refused(api: Api, name: str, value: Any) -> None:
    assert api.error("POST", PATH, json=BODY | {name: value}) == (400, "InvalidRequestBody")


def test_the_scanner_is_a_device_of_the_organisation(api: Api) -> None:
    for machine in (FOREIGN, "c" * 40):
        body = BODY | {"scannerAgent": {"machineId": machine}}
        assert api.error("POST", PATH, json=body) == (400, "InvalidInput")
    assert api.error("POST", PATH, json=BODY | {"scannerAgent": {}}) == (400, "MissingRequiredParameter")


def test_many_definitions_are_deleted_at_once(api: Api) -> None:
    first, second = make(api)["id"], make(api)["id"]
    answer = api.call("POST", f"{PATH}/BatchDelete", json={"ScanDefinitionIds": [first, str(uuid4())]})
    assert (answer.status_code, answer.content) == (200, b"")
    assert [row["id"] for row in api.get(PATH)["value"]] == [second]
    run(api, second, 1)
    assert api.call("POST", f"{PATH}/batchdelete", json={"ScanDefinitionIds": [second]}).status_code == 200
    assert api.get(PATH)["value"] == []
    for body, code in (
        ({}, "MissingRequiredParameter"),
        ({"ScanDefinitionIds": ["x"]}, "InvalidRequestBody"),
        ({"ScanDefinitionIds": [5]}, "InvalidRequestBody"),
        ({"ScanDefinitionIds": [str(uuid4())] * 501}, "MaximumBatchSizeExceeded"),
    ):
        assert api.error("POST", f"{PATH}/BatchDelete", json=body) == (400, code)


def test_devices_that_scan(api: Api) -> None:
    assert api.get("/api/DeviceAuthenticatedScanAgents")["value"] == []
    definition = make(api)["id"]
    body = api.get("/api/DeviceAuthenticatedScanAgents")
    assert body["@odata.context"] == f"{URL}/api/$metadata#DeviceAuthenticatedScanAgents"
    assert set(body["value"][0]) == set(AGENT_KEYS.split())
    assert body["value"][0]["lastCommandExecutionTimestamp"] == "0001-01-01T00:00:00Z"
    run(api, definition, 0)
    for name in (DEVICE, f"{TENANT}_{DEVICE}"):
        one = api.get(f"/api/deviceauthenticatedscanagents/{name}")
        assert one["@odata.context"] == f"{URL}/api/$metadata#DeviceAuthenticatedScanAgents/$entity"
        assert (one["id"], one["computerDnsName"]) == (f"{TENANT}_{DEVICE}", "Web01.contoso.com")
        assert one["lastCommandExecutionTimestamp"] == "2026-01-02T03:04:05.12Z"
    for name in (SECOND, "nobody"):
        path = f"/api/DeviceAuthenticatedScanAgents/{name}"
        assert api.error("GET", path) == (404, "ResourceNotFound")


def test_runs_of_a_definition_have_the_request_as_their_context(api: Api) -> None:
    definition = make(api)["id"]
    run(api, definition, 1)
    run(api, definition, 2, "Partial Success")
    path = f"{PATH}/GetScanHistoryByScanDefinitionId"
    answer = api.call("POST", path, json={"ScanDefinitionIds": [definition]})
    body = answer.json()
    assert (answer.status_code, body["@odata.context"]) == (200, f"{URL}{path}")
    assert body["value"][0] == {
        "ScanDefinitionIds": definition,
        "LastScanned": "2026-01-02T03:06:05.12Z",
        "ScanStatus": "Partial Success",
        "ScannerId": DEVICE,
    }
    assert len(body["value"]) == 2
    for query, found in (("$top=1", 1), ("$skip=1", 1), ("$top=0", 0)):
        page = api.call("POST", f"{path}?{query}", json={"ScanDefinitionIds": definition}).json()
        assert len(page["value"]) == found
    body = {"ScanDefinitionIds": [definition]}
    assert api.error("POST", f"{path}?$top=4097", json=body) == (400, "ODataError")
    assert api.error("POST", path, json={}) == (400, "MissingRequiredParameter")
    assert api.call("POST", path, json=body, tenant=OTHER_TENANT).json()["value"] == []
    assert api.get(PATH)["value"][0]["latestScan"]["status"] == "Partial Success"


def test_one_run_with_its_targets(api: Api) -> None:
    definition = make(api)["id"]
    identifier = run(api, definition, 1)
    path = f"{PATH}/GetScanHistoryBySessionId"
    body = api.call("POST", path, json={"SessionIds": [identifier]}).json()
    assert body["@odata.context"] == f"{URL}{path}"
    row = body["value"][0]
    assert (row["orgId"], row["SessionIds"], row["ScanDefinitionIds"]) == (TENANT, identifier, definition)
    assert (row["NumberOfTargets"], row["NumberOfSuccessfullyScannedTargets"]) == (1, 1)
    assert row["ListScannedTargets"][0]["ScanDuration"] == "00:00:07"
    assert api.error("POST", path, json={"SessionIds": 5}) == (400, "InvalidRequestBody")


def test_reading_and_writing_have_their_permissions(api: Api) -> None:
    reads = [("GET", PATH), ("GET", "/api/DeviceAuthenticatedScanAgents")]
    reads += [
        ("POST", f"{PATH}/GetScanHistoryByScanDefinitionId"),
        ("POST", f"{PATH}/GetScanHistoryBySessionId"),
    ]
    for method, path in reads:
        body = {"ScanDefinitionIds": [], "SessionIds": []}
        assert api.call(method, path, roles=("Machine.Read.All",), json=body).status_code == 200
        assert api.error(method, path, roles=("Alert.Read.All",), json=body) == (403, "Forbidden")
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{uuid4()}"), ("POST", f"{PATH}/BatchDelete")):
        assert api.error(method, path, roles=("Machine.Read.All",), json=BODY) == (403, "Forbidden")
    assert api.call("POST", PATH, roles=("Machine.ReadWrite.All",), json=BODY).status_code == 200


def test_a_mask_that_is_sent_back_keeps_the_secret(api: Api) -> None:
    """A client that reads a definition, changes its name and writes it back must not lose the passwords."""
    made = make(api)
    (shown,) = api.get(PATH)["value"]
    assert shown["scanAuthenticationParams"]["authPassword"] == "********"
    change = {"scanName": "renamed", "scanAuthenticationParams": shown["scanAuthenticationParams"]}
    assert api.call("PATCH", f"{PATH}/{made['id']}", json=change).status_code == 200
    with api.services.database.read(TENANT) as session:
        row = session.get(ScanDefinition, made["id"])
        kept = api.services.scan_secrets.open(row.sealed)
    assert (row.scan_name, kept["authPassword"], kept["privPassword"]) == (
        "renamed",
        "s3cret-one",
        "s3cret-two",
    )
    masked = BODY["scanAuthenticationParams"] | {"authPassword": "********"}
    answer = api.error("POST", PATH, json=BODY | {"scanAuthenticationParams": masked})
    assert answer == (400, "InvalidRequestBody")


def test_a_tenant_has_only_so_many_definitions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "DEFINITIONS_LIMIT", 2)
    for _ in range(2):
        make(api)
    assert api.error("POST", PATH, json=BODY) == (400, "InvalidInput")
