"""Antivirus health, baselines, firmware and extension permissions over the newest snapshots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shieldwall.times import now
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.api.inventories import PUBLISHED, put

ANTIVIRUS_KEYS = """
id machineId computerDnsName osKind osPlatform osVersion avMode avSignatureVersion avEngineVersion
avPlatformVersion lastSeenTime quickScanResult quickScanError quickScanTime fullScanResult fullScanError
fullScanTime dataRefreshTimestamp avEngineUpdateTime avSignatureUpdateTime avPlatformUpdateTime
avIsSignatureUpToDate avIsEngineUpToDate avIsPlatformUpToDate avSignaturePublishTime rbacGroupName rbacGroupId
avSignatureDataRefreshTime cloudProtectionState avModeDataRefreshTime
"""
FULL = """
{"AvMode":"0","AvSignatureVersion":"1.5","AvEngineVersion":"1.1.3","AvPlatformVersion":"4.18",
"AvIsSignatureUptoDate":"True","AvIsEngineUptodate":"False","AvEngineUpdateTime":"2026-01-05T08:00:00Z",
"AvScanResults":"{\\"Quick\\":{\\"ScanStatus\\":\\"Completed\\",\\"Timestamp\\":\\"2026-01-05T08:00:00Z\\"},
\\"Full\\":{\\"ScanStatus\\":\\"Failed\\",\\"ErrorCode\\":\\"0x80508023\\"}}"}
""".replace("\n", "")


@pytest.fixture
def guarded(api: Api, fleet: Callable[..., dict]) -> Callable[..., dict]:
    """The fleet, whose first device told of its antivirus now and the second one eight days ago."""
    store, tenant, names = api.services.telemetry, fleet.tenant, fleet.names  # type: ignore[attr-defined]
    for name, group, days, told in ((DEVICE, "Web", 0, FULL), (SECOND, "", 8, '{"AvIsEngineUpToDate":true}')):
        moment = now() - timedelta(days=days)
        common = {"Timestamp": moment, "DeviceId": names[name], "OSPlatform": "Linux"}
        info = common | {"DeviceName": f"host-{name[0]}", "MachineGroup": group, "OSVersion": "12"}
        store.insert_rows("DeviceInfo", tenant, [info])
        put(
            store,
            "DeviceTvmInfoGathering",
            tenant,
            names[name],
            common | {"AdditionalFields": told, "LastSeenTime": moment},
        )
    return fleet


def test_antivirus_health_has_every_property(guarded: Callable[..., dict]) -> None:
    body = guarded("/api/deviceavinfo?$orderby=computerDnsName")
    assert body["@odata.context"] == f"{URL}/api/$metadata#DeviceAvInfo"
    first, second = body["value"]
    assert set(first) == set(second) == set(ANTIVIRUS_KEYS.split())
    assert first["id"] == first["machineId"] == guarded.names[DEVICE]  # type: ignore[attr-defined]
    assert (first["computerDnsName"], first["osKind"], first["osPlatform"]) == ("host-a", "linux", "Linux")
    assert (first["avMode"], first["avSignatureVersion"]) == ("0", "1.5"), "the mode is a number in a text"
    assert (first["avIsSignatureUpToDate"], first["avIsEngineUpToDate"]) == ("True", "False"), "texts"
    assert (first["avIsPlatformUpToDate"], first["avMode"]) == ("Unknown", "0")
    assert (first["quickScanResult"], first["quickScanTime"]) == ("Completed", "2026-01-05T08:00:00Z")
    assert (first["fullScanResult"], first["fullScanError"], first["fullScanTime"]) == (
        "Failed",
        "0x80508023",
        None,
    )
    assert first["avEngineUpdateTime"] == "2026-01-05T08:00:00Z"
    assert (first["rbacGroupName"], type(first["rbacGroupId"])) == ("Web", int)
    assert (second["rbacGroupName"], second["rbacGroupId"]) == ("Unassigned", 0)
    assert second["avIsEngineUpToDate"] == "Unknown", "silent for more than a week"
    assert (second["avMode"], second["quickScanResult"]) == ("", "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("avMode eq '0'", [DEVICE]),
        ("rbacGroupId eq 0", [SECOND]),
        ("avIsEngineUpToDate eq 'false' and osKind eq 'linux'", [DEVICE]),
        ("startswith(computerDnsName,'HOST-')", [DEVICE, SECOND]),
        ("fullScanError eq '0x80508023'", [DEVICE]),
        ("quickScanTime eq null", [SECOND]),
    ],
)
def test_filters_of_antivirus_health(guarded: Callable[..., dict], text: str, found: list[str]) -> None:
    names = {value: key for key, value in guarded.names.items()}  # type: ignore[attr-defined]
    rows = guarded(f"/api/deviceavinfo?$filter={text}")["value"]
    assert sorted(names[row["id"]] for row in rows) == found


def test_a_page_of_antivirus_health_has_twenty_devices(api: Api, guarded: Callable[..., dict]) -> None:
    for number in range(20):
        put(
            api.services.telemetry,
            "DeviceTvmInfoGathering",
            guarded.tenant,  # type: ignore[attr-defined]
            f"{number:040}",
            {"AdditionalFields": "{}", "Timestamp": now()},
        )
    body = guarded("/api/deviceavinfo")
    assert len(body["value"]) == 20
    rest = guarded(body["@odata.nextLink"].removeprefix(URL))
    assert (len(rest["value"]), "@odata.nextLink" in rest) == (2, False)
    for query in ("$top=10000", "pageSize=200000"):
        body = guarded(f"/api/deviceavinfo?{query}")
        assert (len(body["value"]), "@odata.nextLink" in body) == (22, False)


def test_baseline_profiles_count_devices_that_meet_every_setting(
    api: Api, fleet: Callable[..., dict]
) -> None:
    store, tenant, names = api.services.telemetry, fleet.tenant, fleet.names  # type: ignore[attr-defined]
    profile = {
        "ProfileId": "11111111-2222-4333-8444-555555555555",
        "ProfileName": "Servers",
        "OSPlatform": '["Linux"]',
        "BaseBenchmark": "CIS",
        "BenchmarkVersion": "1.4.0",
        "Status": True,
        "CreatedOn": PUBLISHED,
    }
    store.insert_rows("DeviceBaselineComplianceProfiles", tenant, [profile])
    for name, kept in ((DEVICE, True), (SECOND, False)):
        rows = [
            {
                "ConfigurationId": number,
                "ProfileId": profile["ProfileId"],
                "IsCompliant": good,
                "IsApplicable": True,
            }
            for number, good in (("1.1", True), ("1.2", kept))
        ]
        put(store, "DeviceBaselineComplianceAssessment", tenant, names[name], *rows)
    body = fleet("/api/baselineProfiles?$filter=status eq true and totalDevices gt 1")
    assert body["@odata.context"].endswith(
        "#Collection(microsoft.windowsDefenderATP.api.PublicBaselineProfileDto)"
    )
    row = body["value"][0]
    assert (row["settingsNumber"], row["passedDevices"], row["totalDevices"]) == (2, 1, 2)
    assert (row["benchmark"], row["operatingSystem"], row["status"]) == ("CIS", "Linux", True)
    assert row["createdOnTimestampUTC"] == row["createdOnTimeOffset"] == "2026-01-05T08:00:00Z"
    assert row["lastUpdateTimestampUTC"] == "0001-01-01T00:00:00Z", (
        "a time that there must be and nobody knows"
    )


def test_baseline_configurations(api: Api, fleet: Callable[..., dict]) -> None:
    row = {
        "ConfigurationId": "9.3.9",
        "ConfigurationName": "Firewall",
        "ConfigurationBenchmark": "CIS_1.4.0-windows_server_2016",
        "ConfigurationCategory": "Firewall",
        "BenchmarkProfileLevels": '["Level 1"]',
        "CCEReference": "CCE-35116-3",
        "RecommendedValue": '["On"]',
        "Source": '["registry"]',
    }
    api.services.telemetry.insert_rows("DeviceBaselineComplianceAssessmentKB", fleet.tenant, [row])  # type: ignore[attr-defined]
    body = fleet("/api/baselineConfigurations?$filter=CCE eq 'CCE-35116-3'")
    assert body["@odata.context"] == f"{URL}/api/$metadata#BaselineConfigurations"
    assert body["value"] == [
        {
            "uniqueId": "CIS_1.4.0-windows_server_2016_9.3.9",
            "id": "9.3.9",
            "benchmarkName": "CIS",
            "benchmarkVersion": "1.4.0-windows_server_2016",
            "name": "Firewall",
            "description": "",
            "category": "Firewall",
            "complianceLevels": ["Level 1"],
            "cce": "CCE-35116-3",
            "rationale": None,
            "remediation": "",
            "recommendedValue": ["On"],
            "source": ["registry"],
            "isCustom": False,
            "assessmentMethod": None,
        }
    ]


def test_permissions_of_extensions_and_firmware(api: Api, fleet: Callable[..., dict]) -> None:
    store, tenant, names = api.services.telemetry, fleet.tenant, fleet.names  # type: ignore[attr-defined]
    row = {
        "BrowserName": "chrome",
        "ExtensionId": "a",
        "PermissionId": "audioCapture",
        "PermissionName": "Audio",
    }
    store.insert_rows("DeviceTvmBrowserExtensionsKB", tenant, [row, row | {"ExtensionId": "b"}])
    body = fleet("/api/browserextensions/permissionsinfo")
    assert body["@odata.context"] == f"{URL}/api/$metadata#BrowserExtension"
    assert body["value"] == [{"key": "audioCapture", "permissionName": "Audio", "description": ""}]
    bios = {"ComponentType": "Bios", "Manufacturer": "qemu", "ComponentName": "bios", "ComponentVersion": "1"}
    for name in names.values():
        put(store, "DeviceTvmHardwareFirmware", tenant, name, bios)
    for path in ("/api/firmware", "/api/machines/{device}/firmware"):
        assert fleet(path)["value"] == [
            {
                "name": "bios",
                "type": "Bios",
                "vendor": "qemu",
                "family": "",
                "version": "1",
                "additionalFields": "",
            }
        ]
    assert api.error("GET", "/api/machines/nobody/firmware") == (404, "ResourceNotFound")


PERMISSIONS = {
    "/api/deviceavinfo": "Machine.Read.All",
    "/api/baselineProfiles": "SecurityBaselinesAssessment.Read.All",
    "/api/baselineConfigurations": "SecurityBaselinesAssessment.Read.All",
    "/api/browserextensions/permissionsinfo": "Software.Read.All",
    "/api/firmware": "Software.Read.All",
}


@pytest.mark.parametrize("path", PERMISSIONS)
def test_lists_open_for_their_permission_alone(newcomer: Api, path: str) -> None:
    assert newcomer.get(path, roles=(PERMISSIONS[path],))["value"] == []
    assert newcomer.error("GET", path, roles=("Alert.Read.All",)) == (403, "Forbidden")
    assert newcomer.error("GET", f"{path}?$filter=nothing eq 1") == (400, "ODataError")
