"""Software, vulnerabilities, recommendations and scores over the newest snapshots of the devices."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.api.inventories import CVE, FREE, OLD, affected, put, software

WEB = "contoso-_-web_server"
SOFTWARE_KEYS = """
id name vendor weaknesses publicExploit activeAlert exposedMachines installedMachines impactScore isNormalized
category tags distributions
"""
VULNERABILITY_KEYS = """
id name description severity cvssV3 cvssVector exposedMachines publishedOn updatedOn firstDetected
patchFirstAvailable publicExploit exploitVerified exploitInKit exploitTypes exploitUris cveSupportability tags
epss status
"""
RECOMMENDATION_KEYS = """
id productName recommendationName weaknesses vendor recommendedVersion recommendedVendor recommendedProgram
recommendationCategory subCategory severityScore publicExploit activeAlert associatedThreats remediationType
status configScoreImpact exposureImpact totalMachineCount exposedMachinesCount nonProductivityImpactedAssets
relatedComponent hasUnpatchableCve tags exposedCriticalDevices
"""


def ids(body: dict) -> list[str]:
    return [item["id"] for item in body["value"]]


def test_software_has_every_property_and_the_organisations_counts(fleet: Callable[..., dict]) -> None:
    body = fleet("/api/Software")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Software"
    assert ids(body) == ["contoso-_-tool", WEB]
    tool, web = body["value"]
    assert set(web) == set(SOFTWARE_KEYS.split())
    assert (web["name"], web["vendor"], web["weaknesses"]) == ("web_server", "contoso", 2)
    assert (web["exposedMachines"], web["installedMachines"], web["publicExploit"]) == (2, 2, True)
    assert (web["isNormalized"], tool["isNormalized"]) == (True, False), (
        "normalized is what has a product code"
    )
    assert (tool["weaknesses"], tool["impactScore"], web["impactScore"] > 0) == (0, 0, True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("$filter=name eq 'WEB_SERVER'", [WEB]),
        ("$filter=vendor eq 'contoso' and weaknesses gt 1", [WEB]),
        ("$filter=startswith(name,'to') or contains(id,'nothing')", ["contoso-_-tool"]),
        ("$filter=endswith(name,'SERVER')", [WEB]),
        ("$filter=name in ('tool','x')", ["contoso-_-tool"]),
        ("$filter=weaknesses eq '2'", [WEB]),
        ("$filter=publicExploit", [WEB]),
        ("$filter=not publicExploit", ["contoso-_-tool"]),
        ("$filter=publicExploit eq false", ["contoso-_-tool"]),
        ("$filter=impactScore gt 1.5", [WEB]),
        ("$filter=contains(name,'%25')", []),
        ("$filter=name eq 'o''x'", []),
        ("$orderby=weaknesses desc", [WEB, "contoso-_-tool"]),
        ("$skip=1", [WEB]),
        ("name=TOOL", ["contoso-_-tool"]),
        ("vendor=contoso&id=contoso-_-web_server", [WEB]),
    ],
)
def test_options_of_software(fleet: Callable[..., dict], query: str, found: list[str]) -> None:
    assert ids(fleet(f"/api/software?{query}")) == found


def test_pages_of_rows_follow_one_another(fleet: Callable[..., dict]) -> None:
    for order in ("", "&$orderby=firstDetected", "&$orderby=updatedOn desc,cvssV3 desc"):
        path, seen = f"/api/vulnerabilities?pageSize=1&$count=true{order}", []
        while path:
            body = fleet(path)
            assert (body["@odata.count"], len(body["value"])) == (3, 1)
            seen += ids(body)
            path = body.get("@odata.nextLink", "").removeprefix(URL)
        assert sorted(seen) == [FREE, OLD, CVE]
        assert seen == ids(fleet(f"/api/vulnerabilities?{order}"))
    assert seen[0] == CVE


def test_one_piece_of_software_and_what_belongs_to_it(fleet: Callable[..., dict]) -> None:
    for name in (WEB, WEB.upper()):
        body = fleet(f"/api/Software/{name}")
        assert (body["@odata.context"], body["id"]) == (f"{URL}/api/$metadata#Software/$entity", WEB)
    versions = fleet(f"/api/Software/{WEB}/distributions")
    assert versions["@odata.context"] == f"{URL}/api/$metadata#Distributions"
    assert versions["value"] == [
        {"version": "1.0", "installations": 2, "vulnerabilities": 2},
        {"version": "2.0", "installations": 1, "vulnerabilities": 0},
    ]
    devices = fleet("/api/Software/contoso-_-tool/machineReferences")
    assert devices["@odata.context"] == f"{URL}/api/$metadata#MachineReferences"
    assert devices["value"] == [
        {
            "id": fleet.names[DEVICE],  # type: ignore[attr-defined]
            "computerDnsName": "web01",
            "osPlatform": "Linux",
            "rbacGroupName": "Web",
            "rbacGroupId": devices["value"][0]["rbacGroupId"],
            "assetCriticalityLevel": None,
            "tags": [],
        }
    ]
    names = {
        row["id"]: row["rbacGroupName"] for row in fleet(f"/api/Software/{WEB}/machineReferences")["value"]
    }
    assert names[fleet.names[SECOND]] == "Unassigned"  # type: ignore[attr-defined]
    weak = fleet(f"/api/Software/{WEB}/vulnerabilities")
    assert weak["@odata.context"].endswith(
        "#Collection(Analytics.Contracts.PublicAPI.PublicVulnerabilityDto)"
    )
    assert ids(weak) == [OLD, CVE]


def test_missing_updates_are_numbers_of_articles(fleet: Callable[..., dict]) -> None:
    for path, missed in (
        (f"/api/Software/{WEB}/getmissingkbs", 2),
        ("/api/machines/{device}/getmissingkbs", 1),
    ):
        body = fleet(path)
        context = "#Collection(microsoft.windowsDefenderATP.api.PublicProductFixDto)"
        assert body["@odata.context"].endswith(context)
        assert body["value"] == [
            {
                "id": "4540673",
                "name": "Update KB4540673",
                "osBuild": None,
                "productsNames": ["web_server"],
                "url": "https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB4540673",
                "machineMissedOn": missed,
                "cveAddressed": 1,
            }
        ]


def test_a_vulnerability_has_every_property(fleet: Callable[..., dict]) -> None:
    body = fleet(f"/api/Vulnerabilities/{CVE.lower()}")
    assert body.pop("@odata.context") == f"{URL}/api/$metadata#Vulnerabilities/$entity"
    assert list(body) == VULNERABILITY_KEYS.split()
    assert (body["name"], body["severity"], body["cvssV3"], body["exposedMachines"]) == (
        CVE,
        "Critical",
        9.8,
        2,
    )
    assert (body["publishedOn"], body["updatedOn"]) == ("2026-01-05T08:00:00Z", "2026-02-05T08:30:00.5Z")
    assert (body["publicExploit"], body["tags"], body["cveSupportability"]) == (
        True,
        ["ZeroDay"],
        "Supported",
    )
    assert body["firstDetected"] is not None
    free = fleet(f"/api/vulnerabilities/{FREE}")
    assert (free["exposedMachines"], free["firstDetected"]) == (0, None)
    assert free["cveSupportability"] == "NotSupported", "in its spelling without a blank"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("severity eq 'high'", [FREE]),
        ("cvssV3 ge 7", [FREE, CVE]),
        ("cvssV3 eq '7.5'", [FREE]),
        ("publishedOn ge 2026-01-05T08:00:00Z and exposedMachines gt 0", [OLD, CVE]),
        ("updatedOn+gt+2026-02-05T08:30:00.4Z", [FREE, OLD, CVE]),
        ("updatedOn gt 2026-02-05T08:30:00.5Z", []),
        ("firstDetected eq null", [FREE]),
        ("date(updatedOn) eq 2026-02-05", [FREE, OLD, CVE]),
        ("year(publishedOn) eq 2025", []),
        ("contains(description, 'ABOUT cve-2025')", [OLD]),
        ("id eq 'CVE-2026-1111'", [CVE]),
    ],
)
def test_filters_of_vulnerabilities(fleet: Callable[..., dict], text: str, found: list[str]) -> None:
    assert ids(fleet(f"/api/vulnerabilities?$filter={text}")) == found


def test_vulnerabilities_by_device(fleet: Callable[..., dict]) -> None:
    first = fleet.names[DEVICE]  # type: ignore[attr-defined]
    body = fleet(f"/api/vulnerabilities/machinesVulnerabilities?$filter=machineId eq '{first}'")
    context = "#Collection(microsoft.windowsDefenderATP.api.PublicAssetVulnerabilityDto)"
    assert body["@odata.context"].endswith(context)
    rows = {row["cveId"]: row for row in body["value"]}
    assert rows[OLD]["id"] == f"{first}-_-{OLD}-_-contoso-_-web_server-_-1.0-_-", "the last part may be empty"
    assert rows[CVE] == {
        "id": f"{first}-_-{CVE}-_-contoso-_-web_server-_-1.0-_-4540673",
        "cveId": CVE,
        "machineId": first,
        "fixingKbId": "4540673",
        "productName": "web_server",
        "productVendor": "contoso",
        "productVersion": "1.0",
        "severity": "Critical",
    }
    assert len(fleet("/api/vulnerabilities/machinesVulnerabilities?$filter=fixingKbId eq null")["value"]) == 1
    assert ids(fleet(f"/api/vulnerabilities/{OLD}/machineReferences")) == [first]
    assert ids(fleet("/api/machines/{second}/vulnerabilities")) == [CVE]
    assert ids(fleet("/api/machines/{second}/software")) == [WEB]


def test_only_the_newest_snapshot_of_a_device_counts(api: Api, fleet: Callable[..., dict]) -> None:
    first, tenant = fleet.names[DEVICE], fleet.tenant  # type: ignore[attr-defined]
    put(api.services.telemetry, "DeviceTvmSoftwareVulnerabilities", tenant, first)
    assert ids(fleet("/api/machines/{device}/vulnerabilities")) == []
    assert ids(fleet("/api/machines/{second}/vulnerabilities")) == [CVE]
    put(api.services.telemetry, "DeviceTvmSoftwareInventory", tenant, first, software("other", "1"))
    assert ids(fleet("/api/machines/{device}/software")) == ["contoso-_-other"]
    assert ids(fleet("/api/Software")) == ["contoso-_-other", WEB]


def test_recommendations_to_update_and_to_configure(fleet: Callable[..., dict]) -> None:
    body = fleet("/api/recommendations")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Recommendations"
    sca, va = body["value"]
    assert set(va) == set(sca) == set(RECOMMENDATION_KEYS.split())
    assert (sca["id"], va["id"]) == ("sca-_-scid-1", f"va-_-{WEB}")
    assert (va["recommendationName"], va["remediationType"], va["status"]) == (
        "Update Web Server",
        "Update",
        "Active",
    )
    assert (va["recommendationCategory"], va["severityScore"], va["configScoreImpact"]) == (
        "Application",
        0,
        0,
    )
    assert (va["weaknesses"], va["exposedMachinesCount"], va["hasUnpatchableCve"]) == (2, 2, True)
    assert (sca["recommendationCategory"], sca["remediationType"]) == (
        "SecurityControls",
        "ConfigurationChange",
    )
    assert (sca["recommendationName"], sca["severityScore"], sca["configScoreImpact"]) == (
        "Turn on protection",
        8,
        4,
    )
    assert (sca["totalMachineCount"], sca["exposedMachinesCount"]) == (2, 1)
    assert ids(fleet("/api/recommendations?$filter=remediationType eq 'Update'")) == [va["id"]]
    one = fleet(f"/api/recommendations/{va['id']}")
    assert one["@odata.context"] == f"{URL}/api/$metadata#Recommendations/$entity"
    product = fleet(f"/api/recommendations/{va['id']}/software")
    assert product["@odata.context"] == f"{URL}/api/$metadata#Analytics.Contracts.PublicAPI.PublicProductDto"
    assert product["id"] == WEB, "one object and no list"
    assert ids(fleet(f"/api/recommendations/{va['id']}/vulnerabilities")) == [OLD, CVE]
    assert ids(fleet(f"/api/recommendations/{sca['id']}/vulnerabilities")) == []
    first = fleet.names[DEVICE]  # type: ignore[attr-defined]
    assert ids(fleet(f"/api/recommendations/{sca['id']}/machineReferences")) == [first]
    assert len(ids(fleet(f"/api/recommendations/{va['id']}/machineReferences"))) == 2
    assert ids(fleet("/api/machines/{second}/recommendations")) == [va["id"]]


def test_taking_a_product_off_takes_its_impact_off_the_score(api: Api, fleet: Callable[..., dict]) -> None:
    before = fleet("/api/exposureScore")
    assert before["@odata.context"] == f"{URL}/api/$metadata#ExposureScore/$entity"
    assert set(before) == {"@odata.context", "time", "score"}
    assert 0 < before["score"] < 100
    tenant, names = fleet.tenant, fleet.names  # type: ignore[attr-defined]
    put(
        api.services.telemetry,
        "DeviceTvmSoftwareVulnerabilities",
        tenant,
        names[DEVICE],
        affected("web_server", "1.0", CVE, "Critical"),
        affected("tool", "3", OLD, "Low"),
    )
    impact = {row["name"]: row["impactScore"] for row in fleet("/api/Software")["value"]}
    score = fleet("/api/exposureScore")["score"]
    for each in names.values():
        rest = [affected("tool", "3", OLD, "Low")] if each == names[DEVICE] else []
        put(api.services.telemetry, "DeviceTvmSoftwareVulnerabilities", tenant, each, *rest)
    assert fleet("/api/exposureScore")["score"] == pytest.approx(score - impact["web_server"])


def test_scores_by_group_name_the_group_and_its_number(fleet: Callable[..., dict]) -> None:
    body = fleet("/api/exposureScore/ByMachineGroups")
    assert body["@odata.context"] == f"{URL}/api/$metadata#ExposureScore"
    unassigned, web = body["value"]
    assert (unassigned["rbacGroupName"], unassigned["rbacGroupId"]) == ("Unassigned", 0)
    assert web["rbacGroupName"] == "Web"
    assert type(web["rbacGroupId"]) is int
    whole = fleet("/api/exposureScore")["score"]
    assert whole == pytest.approx((unassigned["score"] + web["score"]) / 2)


def test_the_configuration_score_is_points(fleet: Callable[..., dict]) -> None:
    body = fleet("/api/configurationScore")
    assert body["@odata.context"] == f"{URL}/api/$metadata#ConfigurationScore/$entity"
    assert body["score"] == 9, "half of 8, and 5; what does not apply gives nothing"


def test_a_tenant_without_inventories_has_empty_lists_and_scores(newcomer: Api) -> None:
    for path in ("Software", "vulnerabilities", "recommendations", "vulnerabilities/machinesVulnerabilities"):
        assert newcomer.get(f"/api/{path}")["value"] == []
    for path in ("Software", "vulnerabilities", "recommendations"):
        assert newcomer.call("GET", f"/api/{path}/$count").text == "0"
    assert newcomer.get("/api/exposureScore")["score"] == 0
    assert newcomer.get("/api/configurationScore")["score"] == 0
    assert newcomer.get("/api/exposureScore/ByMachineGroups")["value"] == []


UNKNOWN = [
    f"/api/{path}{end}"
    for path, ends in {
        "Software/a-_-b": ("", "/distributions", "/machineReferences", "/vulnerabilities", "/getmissingkbs"),
        "vulnerabilities/CVE-1-1": ("", "/machineReferences"),
        "recommendations/va-_-a-_-b": ("", "/software", "/machineReferences", "/vulnerabilities"),
        "machines/nobody": ("/software", "/vulnerabilities", "/recommendations", "/getmissingkbs"),
    }.items()
    for end in ends
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_unknown_ids_are_404(api: Api, path: str) -> None:
    assert api.error("GET", path) == (404, "ResourceNotFound")
    assert api.error("GET", path, roles=("Alert.Read.All",)) == (403, "Forbidden")


def test_wrong_options_are_refused(api: Api) -> None:
    for query in (
        "$filter=nothing eq 1",
        "$filter=weaknesses eq 'x'",
        "$orderby=tags",
        "$expand=x",
        "$top=10001",
    ):
        assert api.error("GET", f"/api/Software?{query}") == (400, "ODataError")


HOSTILE = (
    "a\\b",
    "tab\tnew\nline",
    "o'brien",
    'say "x"',
    "{until:String}",
    "100%_",
    "%",
    "\\",
    "ünïcödé",
    "a;b--",
)


def test_texts_of_filters_stay_texts(api: Api, fleet: Callable[..., dict]) -> None:
    rows = [software(name, "1") for name in HOSTILE]
    put(api.services.telemetry, "DeviceTvmSoftwareInventory", fleet.tenant, fleet.names[DEVICE], *rows)  # type: ignore[attr-defined]
    for name in HOSTILE:
        doubled = name.replace("'", "''")
        for text in (f"name eq '{doubled}'", f"name in ('{doubled}')"):
            found = fleet(f"/api/Software?$filter={quote(text)}")["value"]
            assert [row["name"] for row in found] == [name]
        for function in ("contains", "startswith", "endswith"):
            found = fleet(f"/api/Software?$filter={quote(f'''{function}(name,'{doubled}')''')}")["value"]
            assert name in [row["name"] for row in found]
            wanted = {"contains": str.__contains__, "startswith": str.startswith, "endswith": str.endswith}
            assert len(found) == sum(bool(wanted[function](other, name)) for other in HOSTILE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("publishedOn gt 0001-01-01T00:00:00Z", 3),
        ("publishedOn lt 9999-12-31T00:00:00Z", 3),
        ("publishedOn eq 1677-01-01T00:00:00Z", 0),
        ("date(publishedOn) lt 1800-01-01", 0),
        ("cvssV3 lt 9007199254740993", 3),
        ("cvssV3 gt -1e9", 3),
    ],
)
def test_values_beyond_all_rows(fleet: Callable[..., dict], text: str, found: int) -> None:
    assert len(fleet(f"/api/vulnerabilities?$filter={quote(text)}")["value"]) == found


def test_a_token_of_another_query_is_refused(api: Api, fleet: Callable[..., dict]) -> None:
    link = fleet("/api/vulnerabilities?pageSize=1")["@odata.nextLink"].removeprefix(URL)
    token = link.partition("$skiptoken=")[2]
    for path in (f"/api/vulnerabilities?$orderby=cvssV3&$skiptoken={token}", "/api/Software?$skiptoken=x"):
        assert api.error("GET", path) == (400, "ODataError")
