"""Assessments of all devices, by pages and by files, over snapshots that agents' reports are stored as."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from sqlalchemy import select

from shieldwall.api import exports
from shieldwall.api.assessments import ASSESSMENTS
from shieldwall.devices.models import DeviceGroup
from shieldwall.exposure.links import ExportFile
from shieldwall.state.scope import DeviceScope
from shieldwall.times import now, parse, to_text
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.api.inventories import CVE, OLD, affected, put, software

JSON = {each.json: each for each in ASSESSMENTS if each.json}
FILES = {each.files: each for each in ASSESSMENTS if each.files}
GROUP = {"rbacGroupId", "rbacGroupName"}
NAMES = {
    "SecureConfigurationsAssessmentByMachine": """
        deviceId deviceName osPlatform osVersion timestamp configurationId configurationCategory
        configurationSubcategory configurationImpact isCompliant isApplicable isExpectedUserImpact
        configurationName recommendationReference""",
    "SoftwareInventoryByMachine": """
        deviceId deviceName osPlatform softwareVendor softwareName softwareVersion numberOfWeaknesses
        diskPaths registryPaths softwareFirstSeenTimestamp endOfSupportStatus endOfSupportDate softwareTags
        productCategory""",
    "SoftwareInventoryNoProductCodeByMachine": """
        deviceId deviceName osPlatform softwareVendor softwareName softwareVersion softwareLastSeenTimestamp
        registryPath""",
    "SoftwareVulnerabilitiesByMachine": """
        id deviceId deviceName osPlatform osVersion osArchitecture softwareVendor softwareName softwareVersion
        cveId cvssScore vulnerabilitySeverityLevel recommendedSecurityUpdate recommendedSecurityUpdateId
        recommendedSecurityUpdateUrl diskPaths registryPaths lastSeenTimestamp firstSeenTimestamp
        exploitabilityLevel recommendationReference securityUpdateAvailable endOfSupportStatus
        endOfSupportDate cveMitigationStatus productCategory""",
    "BrowserExtensionsInventoryByMachine": """
        deviceId DeviceName installationTime browserName extensionId extensionName extensionDescription
        extensionVersion extensionRisk extensionVendor isActivated Permissions""",
    "certificateAssessmentByMachine": """
        deviceId deviceName thumbprint path signatureAlgorithm keyLength keySize notAfter notBefore
        expirationDate issueDate subjectType serialNumber subjectObject issuerObject issuedTo issuedBy
        keyUsageArray extendedKeyUsageArray keyUsage extendedKeyUsage isSelfSigned""",
    "HardwareFirmwareInventoryByMachine": """
        deviceId deviceName componentType manufacturer componentName componentVersion additionalFields""",
    "baselineComplianceAssessmentByMachine": """
        id configurationId profileId deviceId deviceName osPlatform osVersion isApplicable isCompliant
        dataCollectionTimeOffset complianceCalculationTimeOffset recommendedValue currentValue rawValue source
        isExempt complianceEvaluationDetails""",
}
TEXT_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@pytest.fixture
def full(api: Api, fleet: Callable[..., dict]) -> Callable[..., dict]:
    """The fleet with one row of everything else."""
    store, tenant, names = api.services.telemetry, fleet.tenant, fleet.names  # type: ignore[attr-defined]
    first = names[DEVICE]
    extension = {"BrowserName": "chrome", "ExtensionId": "abc", "ExtensionName": "Helper"}
    put(
        store,
        "DeviceTvmBrowserExtensions",
        tenant,
        first,
        extension
        | {
            "ExtensionVersion": "1",
            "ExtensionRisk": "High",
            "InstallationTime": now(),
            "IsActivated": "true",
        },
    )
    permission = {"PermissionId": "tabs", "PermissionName": "Tabs", "PermissionDescription": "Reads tabs"}
    row = extension | permission | {"IsPermissionRequired": "true", "PermissionRisk": "High"}
    store.insert_rows("DeviceTvmBrowserExtensionsKB", tenant, [row])
    put(
        store,
        "DeviceTvmCertificateInfo",
        tenant,
        first,
        {
            "Thumbprint": "ab" * 20,
            "Path": "/etc/ssl/x",
            "KeySize": "2048",
            "ExpirationDate": "2027-01-01T00:00:00Z",
            "IssuedTo": '{"CommonName":"x"}',
            "IssuedBy": '{"CommonName":"x"}',
            "KeyUsage": '["Digital Signature"]',
        },
    )
    put(
        store,
        "DeviceTvmHardwareFirmware",
        tenant,
        first,
        {"ComponentType": "Bios", "Manufacturer": "qemu", "ComponentName": "bios", "ComponentVersion": "1"},
    )
    gathered = {"AdditionalFields": '{"AvMode":"0"}', "Timestamp": now(), "LastSeenTime": now()}
    put(store, "DeviceTvmInfoGathering", tenant, first, gathered)
    put(
        store,
        "DeviceBaselineComplianceAssessment",
        tenant,
        first,
        {
            "ConfigurationId": "1.1.1",
            "ProfileId": "p",
            "IsCompliant": False,
            "IsApplicable": True,
            "RecommendedValue": '["24"]',
            "CurrentValue": '["0"]',
            "Source": '["registry"]',
        },
    )
    return fleet


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_an_export_have_every_property_and_the_devices_group(
    full: Callable[..., dict], name: str
) -> None:
    body = full(f"/api/machines/{name}")
    context = f"{URL}/api/$metadata#Collection(microsoft.windowsDefenderATP.api.{JSON[name].entity.name})"
    assert body["@odata.context"] == context
    rows = [row for row in body["value"] if row["deviceId"] == full.names[DEVICE]]  # type: ignore[attr-defined]
    assert rows
    for row in rows:
        assert set(row) == set(NAMES[name].split()) | GROUP
        assert row["rbacGroupName"] == "Web"
        assert type(row["rbacGroupId"]) is int
        assert row.get("deviceName", row.get("DeviceName")) == "web01", "of the state where rows have no name"
    assert "@odata.nextLink" not in body


def test_facts_of_inventories(full: Callable[..., dict]) -> None:
    rows = full("/api/machines/SoftwareInventoryByMachine")["value"]
    first = [row for row in rows if row["deviceId"] == full.names[DEVICE]]  # type: ignore[attr-defined]
    one, two = sorted(first, key=lambda row: row["softwareVersion"])
    assert (one["numberOfWeaknesses"], one["endOfSupportStatus"], one["endOfSupportDate"]) == (
        2,
        "None",
        None,
    )
    assert (two["endOfSupportStatus"], two["endOfSupportDate"]) == (
        "EOS Version",
        "2026-01-05T08:00:00+00:00",
    )
    assert TEXT_TIME.fullmatch(one["softwareFirstSeenTimestamp"]), (
        "times of export rows are texts without a zone"
    )
    other = full("/api/machines/SoftwareInventoryNoProductCodeByMachine")["value"]
    assert [row["softwareName"] for row in other] == ["tool"]


def test_vulnerabilities_list_software_without_any_once(full: Callable[..., dict]) -> None:
    rows = full("/api/machines/SoftwareVulnerabilitiesByMachine")["value"]
    assert len(rows) == 4
    first = full.names[DEVICE]  # type: ignore[attr-defined]
    mine = {row["cveId"]: row for row in rows if row["deviceId"] == first}
    assert mine[CVE]["id"] == f"{first}_contoso_web_server_1.0_{CVE}"
    assert (mine[CVE]["cvssScore"], mine[CVE]["exploitabilityLevel"]) == (9.8, "ExploitIsPublic")
    assert (mine[CVE]["vulnerabilitySeverityLevel"], mine[CVE]["securityUpdateAvailable"]) == (
        "Critical",
        True,
    )
    assert mine[CVE]["recommendationReference"] == "va-_-contoso-_-web_server"
    assert mine[CVE]["recommendedSecurityUpdateUrl"].endswith("q=KB4540673")
    none = mine[None]
    assert (none["softwareVersion"], none["vulnerabilitySeverityLevel"]) == ("2.0", None)
    assert none["id"] == f"{first}_contoso_web_server_2.0_"
    assert none["exploitabilityLevel"] == "NoExploit"


def test_a_chain_of_pages_stays_on_one_snapshot(api: Api, full: Callable[..., dict]) -> None:
    name = "SoftwareVulnerabilitiesByMachine"
    whole = [row["id"] for row in full(f"/api/machines/{name}")["value"]]
    body = full(f"/api/machines/{name}?pageSize=1")
    seen = [row["id"] for row in body["value"]]
    put(
        api.services.telemetry,
        "DeviceTvmSoftwareVulnerabilities",
        full.tenant,  # type: ignore[attr-defined]
        full.names[DEVICE],  # type: ignore[attr-defined]
        affected("zebra", "1", "CVE-2026-9", "Low"),
    )
    while "@odata.nextLink" in body:
        assert body["@odata.nextLink"].startswith(f"{URL}/api/machines/{name}?pageSize=1&")
        assert "$skiptoken=" in body["@odata.nextLink"]
        body = full(body["@odata.nextLink"].removeprefix(URL))
        seen += [row["id"] for row in body["value"]]
    assert seen == whole
    assert [row["id"] for row in full(f"/api/machines/{name}")["value"]] != whole


def test_top_gives_no_next_link(full: Callable[..., dict]) -> None:
    body = full("/api/machines/SoftwareVulnerabilitiesByMachine?$top=2")
    assert len(body["value"]) == 2
    assert "@odata.nextLink" not in body


def test_changes_are_new_fixed_and_updated(api: Api, fleet: Callable[..., dict]) -> None:
    store, tenant, names = api.services.telemetry, fleet.tenant, fleet.names  # type: ignore[attr-defined]
    table = "DeviceTvmSoftwareVulnerabilities"
    time.sleep(0.01)
    put(store, table, tenant, names[DEVICE], affected("web_server", "1.0", OLD, "High"))
    time.sleep(0.01)
    put(store, table, tenant, names[SECOND])
    body = fleet(f"/api/machines/SoftwareVulnerabilityChangesByMachine?sinceTime={now():%Y-%m-%d}")
    assert body["@odata.context"].endswith("DeltaAssetVulnerability)")
    found = sorted((row["deviceId"] == names[SECOND], row["cveId"], row["status"]) for row in body["value"])
    assert found == [
        (False, OLD, "New"),
        (False, OLD, "Updated"),
        (False, CVE, "Fixed"),
        (False, CVE, "New"),
        (True, CVE, "Fixed"),
        (True, CVE, "New"),
    ]
    for row in body["value"]:
        assert set(row) == set(NAMES["SoftwareVulnerabilitiesByMachine"].split()) | GROUP | {
            "status",
            "eventTimestamp",
            "isOnboarded",
        }
        assert row["id"] == f"{row['deviceId']}_contoso_web_server_1.0_{row['cveId']}"
    later = to_text(now() + timedelta(hours=7))
    assert fleet(f"/api/machines/SoftwareVulnerabilityChangesByMachine?sincetime={later}")["value"] == []


def test_changes_need_a_time_of_the_last_fourteen_days(newcomer: Api) -> None:
    path = "/api/machines/SoftwareVulnerabilityChangesByMachine"
    assert newcomer.error("GET", path) == (400, "MissingRequiredParameter")
    assert newcomer.error("GET", f"{path}?sinceTime=yesterday") == (400, "InvalidInput")
    long_ago = to_text(now() - timedelta(days=15))
    assert newcomer.error("GET", f"{path}?sinceTime={long_ago}") == (400, "InvalidInput")
    recent = (now() - timedelta(days=13)).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    assert newcomer.get(f"{path}?sinceTime={recent}&pageSize=10000")["value"] == []


def test_other_exports_pass_over_a_time(full: Callable[..., dict]) -> None:
    assert full("/api/machines/SoftwareInventoryByMachine?sinceTime=2021-05-19")["value"]


@pytest.mark.parametrize("name", FILES)
def test_files_are_gzip_of_a_json_object_a_line_in_pascal_case(
    api: Api, full: Callable[..., dict], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_page = full(f"/api/machines/{FILES[name].json}")["value"] if FILES[name].json else []
    monkeypatch.setattr(exports, "FILE_ROWS", 1)
    monkeypatch.setattr(exports, "PAGE", 1)
    body = full(f"/api/machines/{name}")
    assert (
        body["@odata.context"] == f"{URL}/api/$metadata#microsoft.windowsDefenderATP.api.ExportFilesResponse"
    )
    assert set(body) == {"@odata.context", "exportFiles", "generatedTime"}
    assert body["generatedTime"].endswith(":00Z"), "the minute that the folder names"
    minute = body["generatedTime"]
    folder = f"{minute[:10]}/{minute[11:16].replace(':', '')}/{FILES[name].kind}/json"
    rows: list[dict[str, Any]] = []
    for link in body["exportFiles"]:
        assert link.startswith(f"{URL}/downloads/exports/{folder}/OrgId=")
        answer = api.http.request("GET", link)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/gzip")
        rows += [orjson.loads(line) for line in gzip.decompress(answer.content).splitlines()]
    assert rows
    assert all(key[0].isupper() for row in rows for key in row)
    if FILES[name].json:
        assert len(rows) == len(by_page)
        assert sorted(row["DeviceId"] for row in rows) == sorted(row["deviceId"] for row in by_page)
    else:
        assert orjson.loads(rows[0]["DeviceGatheredInfo"]) == {"AvMode": "0"}, "itself a JSON text"


def test_links_expire_and_cannot_be_changed(
    api: Api, full: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/machines/SoftwareInventoryExport"
    link = full(path)["exportFiles"][0]
    good = api.http.request("GET", link)
    assert good.status_code == 200
    for old, new in (
        ("sig=", "sig=0"),
        ("SoftwareInventory/", "VaExport/"),
        ("n=0-1", "n=0-2"),
    ):
        assert old in link
        assert api.http.request("GET", link.replace(old, new, 1)).status_code == 403
    expires = parse_qs(urlsplit(link).query)["se"][0]
    later = expires.replace(expires[:4], str(int(expires[:4]) + 1))
    changed = api.http.request("GET", link.replace(expires.replace(":", "%3A"), later.replace(":", "%3A")))
    assert changed.status_code == 403
    seconds = time.time() + 3700
    monkeypatch.setattr("shieldwall.exposure.links.time.time", lambda: seconds)
    over = api.http.request("GET", link)
    assert over.status_code == 403
    assert "Signature not valid in the specified key time frame" in over.text


def test_a_link_is_fetched_ten_times_a_minute(full: Callable[..., dict], api: Api) -> None:
    monthly = full("/api/machines/SoftwareInventoryExport")["exportFiles"]
    other = full("/api/machines/secureConfigurationsAssessmentExport")["exportFiles"]
    for _ in range(10):
        assert api.http.request("GET", monthly[0]).status_code == 200
    wrong = monthly[0].replace("sig=", "sig=0")
    assert api.http.request("GET", wrong).status_code == 403, "who has no link learns nothing of its use"
    refused = api.http.request("GET", monthly[0])
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "TooManyRequests"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert api.http.request("GET", other[0]).status_code == 200, "each link has its own"


def test_hours_of_links(full: Callable[..., dict], api: Api) -> None:
    def hours(name: str, query: str = "") -> float:
        link = full(f"/api/machines/{name}{query}")["exportFiles"][0]
        query_of = parse_qs(urlsplit(link).query)
        return round((parse(query_of["se"][0]) - parse(query_of["st"][0])).total_seconds() / 3600, 1)

    assert hours("SoftwareInventoryExport") == 1
    assert hours("SoftwareInventoryExport", "?sasValidHours=2") == 2
    assert hours("SoftwareInventoryExport", "?$sasValidHours=99") == 6
    assert hours("certificateAssessmentExport") == 3
    assert hours("certificateAssessmentExport", "?sasValidHours=24") == 24
    for wrong in ("0", "x", "-1"):
        path = f"/api/machines/SoftwareInventoryExport?sasValidHours={wrong}"
        assert api.error("GET", path) == (400, "InvalidInput")


def test_nothing_to_export_gives_no_files(newcomer: Api) -> None:
    for name in FILES:
        assert newcomer.get(f"/api/machines/{name}")["exportFiles"] == []
    for name in JSON:
        assert newcomer.get(f"/api/machines/{name}?sinceTime={now():%Y-%m-%d}")["value"] == []


@pytest.mark.parametrize("each", ASSESSMENTS, ids=lambda each: each.kind)
def test_exports_open_for_their_permission_alone(api: Api, each: Any) -> None:
    for name in filter(None, (each.json, each.files)):
        path = f"/api/Machines/{name.upper()}?sinceTime={now():%Y-%m-%d}"
        assert api.call("GET", path, roles=(each.permission,)).status_code == 200
        assert api.error("GET", path, roles=("Machine.Read.All",)) == (403, "Forbidden")


def test_extensions_certificates_and_baselines_as_documented(full: Callable[..., dict]) -> None:
    extension = full("/api/machines/BrowserExtensionsInventoryByMachine")["value"][0]
    assert extension["Permissions"] == [{"id": "tabs", "isRequired": True, "risk": "High"}]
    certificate = full("/api/machines/certificateAssessmentByMachine")["value"][0]
    assert certificate["thumbprint"] == "AB" * 20
    assert (certificate["keySize"], certificate["keyLength"]) == (2048, 2048)
    assert (certificate["notAfter"], certificate["notBefore"]) == (
        "2027-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    )
    assert (certificate["subjectObject"], certificate["isSelfSigned"]) == ({"CommonName": "x"}, True)
    baseline = full("/api/machines/baselineComplianceAssessmentByMachine")["value"][0]
    assert baseline["id"] == f"{full.names[DEVICE]}_p_1.1.1"  # type: ignore[attr-defined]
    assert (baseline["recommendedValue"], baseline["source"]) == (["24"], ["registry"])


def test_devices_that_are_gone_keep_their_rows_without_a_group(api: Api, fleet: Callable[..., dict]) -> None:
    put(api.services.telemetry, "DeviceTvmSoftwareInventory", fleet.tenant, "9" * 40, software("x", "1"))  # type: ignore[attr-defined]
    rows = fleet("/api/machines/SoftwareInventoryByMachine")["value"]
    gone = next(row for row in rows if row["deviceId"] == "9" * 40)
    assert (gone["rbacGroupName"], gone["rbacGroupId"]) == ("Unassigned", 0)


def test_a_file_has_the_devices_of_whom_the_link_was_made_for(api: Api, fleet: Callable[..., dict]) -> None:
    tenant, names = fleet.tenant, fleet.names  # type: ignore[attr-defined]
    for name, group in ((DEVICE, "Web"), (SECOND, "")):
        row = {"Timestamp": now(), "DeviceId": names[name], "MachineGroup": group}
        api.services.telemetry.insert_rows("DeviceInfo", tenant, [row])
    with api.services.database.read(tenant) as session:
        number = session.scalars(select(DeviceGroup.id)).one()
    found = {}
    for reach in (None, DeviceScope(frozenset({number}), frozenset({"Web"})), DeviceScope()):
        file = ExportFile(tenant, "SoftwareInventory", now(), 0, 1, reach)
        link = api.services.export_links.link(URL, file, 1)
        answer = api.http.request("GET", link)
        assert answer.status_code == 200
        lines = gzip.decompress(answer.content).splitlines()
        found[reach] = {orjson.loads(line)["DeviceId"] for line in lines}
        if reach is not None:
            assert api.http.request("GET", re.sub("&g=[^&]*", "", link)).status_code == 403
            assert api.http.request("GET", re.sub("&g=[^&]*", "&g=bm8", link)).status_code == 403
    assert list(found.values()) == [set(names.values()), {names[DEVICE]}, set()]
