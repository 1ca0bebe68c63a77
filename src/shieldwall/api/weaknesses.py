"""Software, vulnerabilities and recommendations, of the organisation and of one device."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.lookup import find_device_id
from shieldwall.api.odata.clickhouse import rows_set
from shieldwall.api.odata.options import read_query
from shieldwall.api.routing import router as new_router
from shieldwall.api.rows import Row, counted, is_text, listed, one, references, source, timed
from shieldwall.errors import not_found
from shieldwall.exposure import configurations, weaknesses
from shieldwall.exposure.weaknesses import CVE, DEVICE, PRODUCT
from shieldwall.identity.principal import Principal

router = new_router("Vulnerability management")

SoftwareReader = Annotated[Principal, Depends(requires("Software.Read.All"))]
# As documented, though their neighbours are for people as well.
FixReader = Annotated[Principal, Depends(requires("Software.Read.All", delegated=()))]
AdvisedReader = Annotated[
    Principal, Depends(requires("Software.Read.All", delegated=("SecurityRecommendation.Read",)))
]
VulnerabilityReader = Annotated[Principal, Depends(requires("Vulnerability.Read.All"))]
AdviceReader = Annotated[Principal, Depends(requires("SecurityRecommendation.Read.All"))]

VULNERABILITY_DTO = "Collection(Analytics.Contracts.PublicAPI.PublicVulnerabilityDto)"
PRODUCT_DTO = "Analytics.Contracts.PublicAPI.PublicProductDto"
FIX_DTO = "Collection(microsoft.windowsDefenderATP.api.PublicProductFixDto)"
LINK_DTO = "Collection(microsoft.windowsDefenderATP.api.PublicAssetVulnerabilityDto)"
UNSET = "0001-01-01T00:00:00Z"
"""How a time that there must be, and that nobody knows, is written."""

SOFTWARE = rows_set(
    "Software",
    "id exact, name, vendor, weaknesses number, publicExploit flag, activeAlert flag, exposedMachines number,"
    "installedMachines number, impactScore number, isNormalized flag",
)
DISTRIBUTIONS = rows_set("Distributions", "version exact, installations number, vulnerabilities number")
FIXES = rows_set(
    "MissingKbs", "id exact, name, productsNames list, machineMissedOn number, cveAddressed number"
)
VULNERABILITIES = rows_set(
    "Vulnerabilities",
    "id exact, name, description, severity, cvssV3 number, exposedMachines number, publishedOn time?,"
    "updatedOn time?, firstDetected time?, publicExploit flag, tags list",
    page_limit=8000,
)
LINKS = rows_set(
    "MachinesVulnerabilities",
    "id exact, cveId, machineId lower, fixingKbId?, productName, productVendor, productVersion, severity",
)
RECOMMENDATIONS = rows_set(
    "Recommendations",
    "id exact, productName, recommendationName, weaknesses number, vendor, recommendedVersion,"
    "recommendedVendor, recommendedProgram, recommendationCategory, subCategory, severityScore number,"
    "publicExploit flag, activeAlert flag, remediationType, status, configScoreImpact number,"
    "exposureImpact number, totalMachineCount number, exposedMachinesCount number,"
    "nonProductivityImpactedAssets number, relatedComponent, hasUnpatchableCve flag",
)


@router.get("/api/Software", summary="List software")
def list_software(request: Request, principal: SoftwareReader) -> Response:
    """OData options apply. `id`, `name` and `vendor` may be given as plain options too."""
    plain = {name.lower(): value for name, value in read_query(request.url.query)}
    where = [is_text(SOFTWARE, name, plain[name]) for name in ("id", "name", "vendor") if plain.get(name)]
    return listed(request, principal, SOFTWARE, source(weaknesses.SOFTWARE), software, *where)


@router.get("/api/Software/$count", summary="Count software")
def count_software(request: Request, principal: SoftwareReader) -> Response:
    return counted(request, principal, SOFTWARE, source(weaknesses.SOFTWARE))


@router.get("/api/Software/{software_id}", summary="Get software")
def get_software(software_id: str, request: Request, principal: SoftwareReader) -> Response:
    return answers.entity(request, "Software", software(_software(request, principal, software_id)))


@router.get("/api/Software/{software_id}/distributions", summary="Versions of software")
def distributions(software_id: str, request: Request, principal: SoftwareReader) -> Response:
    """Each version with its installations and vulnerabilities."""
    product = _software(request, principal, software_id)["id"]
    rows = source(weaknesses.DISTRIBUTIONS, product=product)
    return listed(request, principal, DISTRIBUTIONS, rows, dict)


@router.get("/api/Software/{software_id}/machineReferences", summary="Devices with software")
def software_devices(software_id: str, request: Request, principal: SoftwareReader) -> Response:
    product = _software(request, principal, software_id)["id"]
    return references(request, principal, source(weaknesses.devices_with_product(), product=product))


@router.get("/api/Software/{software_id}/vulnerabilities", summary="Vulnerabilities of software")
def software_vulnerabilities(software_id: str, request: Request, principal: VulnerabilityReader) -> Response:
    product = _software(request, principal, software_id)["id"]
    return _vulnerabilities(request, principal, PRODUCT, product=product)


@router.get("/api/Software/{software_id}/getmissingkbs", summary="Updates missing for software")
def software_fixes(software_id: str, request: Request, principal: SoftwareReader) -> Response:
    product = _software(request, principal, software_id)["id"]
    return _fixes(request, principal, PRODUCT, product=product)


@router.get("/api/vulnerabilities", summary="List vulnerabilities")
def list_vulnerabilities(request: Request, principal: VulnerabilityReader) -> Response:
    """OData options apply; a page has at most 8,000. Those that no device has are listed too."""
    rows = source(weaknesses.VULNERABILITIES)
    return listed(request, principal, VULNERABILITIES, rows, vulnerability)


@router.get("/api/vulnerabilities/$count", summary="Count vulnerabilities")
def count_vulnerabilities(request: Request, principal: VulnerabilityReader) -> Response:
    return counted(request, principal, VULNERABILITIES, source(weaknesses.VULNERABILITIES))


@router.get("/api/vulnerabilities/machinesVulnerabilities", summary="List vulnerabilities by device")
def list_links(request: Request, principal: VulnerabilityReader) -> Response:
    """One row for each device, software version and vulnerability. OData options apply."""
    return listed(request, principal, LINKS, source(weaknesses.LINKS), dict, context=LINK_DTO)


@router.get("/api/vulnerabilities/{cve_id}", summary="Get a vulnerability")
def get_vulnerability(cve_id: str, request: Request, principal: VulnerabilityReader) -> Response:
    row = _vulnerability(request, principal, cve_id)
    return answers.entity(request, "Vulnerabilities", vulnerability(row))


@router.get("/api/vulnerabilities/{cve_id}/machineReferences", summary="Devices with a vulnerability")
def vulnerability_devices(cve_id: str, request: Request, principal: VulnerabilityReader) -> Response:
    cve = _vulnerability(request, principal, cve_id)["id"]
    return references(request, principal, source(weaknesses.devices_affected(CVE), cve=cve))


@router.get("/api/machines/{machine_id}/software", summary="Software of a device")
def device_software(machine_id: str, request: Request, principal: SoftwareReader) -> Response:
    """The counts are of the whole organisation."""
    device = _device(request, principal, machine_id)
    rows = source(weaknesses.software_of_device(), device=device)
    return listed(request, principal, SOFTWARE, rows, software)


@router.get("/api/machines/{machine_id}/vulnerabilities", summary="Vulnerabilities of a device")
def device_vulnerabilities(machine_id: str, request: Request, principal: VulnerabilityReader) -> Response:
    """The counts are of the whole organisation."""
    return _vulnerabilities(request, principal, DEVICE, device=_device(request, principal, machine_id))


@router.get("/api/machines/{machine_id}/recommendations", summary="Recommendations for a device")
def device_recommendations(machine_id: str, request: Request, principal: AdviceReader) -> Response:
    """The counts are of the whole organisation."""
    device = _device(request, principal, machine_id)
    rows = source(configurations.recommendations_of_device(), device=device)
    return listed(request, principal, RECOMMENDATIONS, rows, recommendation)


@router.get("/api/machines/{machine_id}/getmissingkbs", summary="Updates missing on a device")
def device_fixes(machine_id: str, request: Request, principal: FixReader) -> Response:
    return _fixes(request, principal, DEVICE, device=_device(request, principal, machine_id))


@router.get("/api/recommendations", summary="List recommendations")
def list_recommendations(request: Request, principal: AdviceReader) -> Response:
    """OData options apply."""
    rows = source(configurations.RECOMMENDATIONS)
    return listed(request, principal, RECOMMENDATIONS, rows, recommendation)


@router.get("/api/recommendations/$count", summary="Count recommendations")
def count_recommendations(request: Request, principal: AdviceReader) -> Response:
    return counted(request, principal, RECOMMENDATIONS, source(configurations.RECOMMENDATIONS))


@router.get("/api/recommendations/{advice_id}", summary="Get a recommendation")
def get_recommendation(advice_id: str, request: Request, principal: AdviceReader) -> Response:
    row = _recommendation(request, principal, advice_id)
    return answers.entity(request, "Recommendations", recommendation(row))


@router.get("/api/recommendations/{advice_id}/software", summary="Software of a recommendation")
def recommendation_software(advice_id: str, request: Request, principal: AdvisedReader) -> Response:
    """One piece of software; a recommendation to configure has none."""
    product = _product(_recommendation(request, principal, advice_id)["id"])
    if product is None:
        raise not_found("Software of recommendation", advice_id[:100])
    return answers.value(request, PRODUCT_DTO, software(_software(request, principal, product)))


@router.get("/api/recommendations/{advice_id}/machineReferences", summary="Devices of a recommendation")
def recommendation_devices(advice_id: str, request: Request, principal: AdviceReader) -> Response:
    identifier = _recommendation(request, principal, advice_id)["id"]
    product = _product(identifier)
    if product is None:
        configuration = identifier.removeprefix("sca-_-")
        rows = source(configurations.devices_failing(), configuration=configuration)
    else:
        rows = source(weaknesses.devices_affected(PRODUCT), product=product)
    return references(request, principal, rows)


@router.get("/api/recommendations/{advice_id}/vulnerabilities", summary="Vulnerabilities of a recommendation")
def recommendation_vulnerabilities(
    advice_id: str, request: Request, principal: VulnerabilityReader
) -> Response:
    product = _product(_recommendation(request, principal, advice_id)["id"])
    return _vulnerabilities(request, principal, PRODUCT, product=product or "")


def software(row: Row) -> Entity:
    return {**row, "category": None, "tags": [], "distributions": None}


def vulnerability(row: Row) -> Entity:
    known = timed(row)
    return {
        "id": known["id"],
        "name": known["name"],
        "description": known["description"],
        "severity": known["severity"],
        "cvssV3": known["cvssV3"],
        "cvssVector": None,
        "exposedMachines": known["exposedMachines"],
        "publishedOn": known["publishedOn"] or UNSET,
        "updatedOn": known["updatedOn"] or UNSET,
        "firstDetected": known["firstDetected"],
        "patchFirstAvailable": None,
        "publicExploit": known["publicExploit"],
        "exploitVerified": False,
        "exploitInKit": False,
        "exploitTypes": [],
        "exploitUris": [],
        "cveSupportability": "Supported" if known["exposedMachines"] else "NotSupported",
        "tags": known["tags"],
        "epss": 0.0,
        "status": "Active",
    }


def recommendation(row: Row) -> Entity:
    return {**row, "associatedThreats": [], "tags": [], "exposedCriticalDevices": 0}


def _software(request: Request, principal: Principal, identifier: str) -> Row:
    return one(request, principal, SOFTWARE, source(weaknesses.SOFTWARE), "Software", identifier)


def _vulnerability(request: Request, principal: Principal, identifier: str) -> Row:
    rows = source(weaknesses.VULNERABILITIES)
    return one(request, principal, VULNERABILITIES, rows, "Vulnerability", identifier)


def _recommendation(request: Request, principal: Principal, identifier: str) -> Row:
    rows = source(configurations.RECOMMENDATIONS)
    return one(request, principal, RECOMMENDATIONS, rows, "Recommendation", identifier)


def _product(identifier: str) -> str | None:
    """The software that a recommendation is to update."""
    return identifier.removeprefix("va-_-") if identifier.startswith("va-_-") else None


def _vulnerabilities(request: Request, principal: Principal, where: str, **parameters: str) -> Response:
    rows = source(weaknesses.vulnerabilities_of(where), **parameters)
    return listed(request, principal, VULNERABILITIES, rows, vulnerability, context=VULNERABILITY_DTO)


def _fixes(request: Request, principal: Principal, where: str, **parameters: str) -> Response:
    def shape(row: Row) -> Entity:
        address = f"https://catalog.update.microsoft.com/v7/site/Search.aspx?q=KB{row['id']}"
        return {
            "id": row["id"],
            "name": row["name"],
            "osBuild": None,
            "productsNames": row["productsNames"],
            "url": address,
            "machineMissedOn": row["machineMissedOn"],
            "cveAddressed": row["cveAddressed"],
        }

    rows = source(weaknesses.missing_updates(where), **parameters)
    return listed(request, principal, FIXES, rows, shape, context=FIX_DTO)


def _device(request: Request, principal: Principal, identifier: str) -> str:
    with services_of(request).database.read(principal.tenant_id) as session:
        return find_device_id(session, identifier)
