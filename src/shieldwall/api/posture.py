"""Antivirus health, security baselines, firmware and the permissions of browser extensions."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import select
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.lookup import find_device_id
from shieldwall.api.odata.clickhouse import fetch_rows, rows_set
from shieldwall.api.odata.options import read_options
from shieldwall.api.routing import router as new_router
from shieldwall.api.rows import Row, listed, source, timed
from shieldwall.devices.models import DeviceGroup
from shieldwall.exposure import assessments
from shieldwall.exposure.antivirus import ANTIVIRUS
from shieldwall.exposure.exemptions import exemptions
from shieldwall.exposure.labels import NO_GROUPS, UNASSIGNED
from shieldwall.exposure.weaknesses import DEVICE
from shieldwall.identity.principal import Principal

router = new_router("Posture")

MachineReader = Annotated[Principal, Depends(requires("Machine.Read.All"))]
BaselineReader = Annotated[Principal, Depends(requires("SecurityBaselinesAssessment.Read.All"))]
SoftwareReader = Annotated[Principal, Depends(requires("Software.Read.All"))]

ANTIVIRUS_PAGE = 20
"""Devices of a page where nobody asks for more."""
PROFILE_DTO = "Collection(microsoft.windowsDefenderATP.api.PublicBaselineProfileDto)"
UNSET = "0001-01-01T00:00:00Z"

_TIMES = (
    "avEngineUpdateTime",
    "avSignatureUpdateTime",
    "avPlatformUpdateTime",
    "avSignaturePublishTime",
    "avSignatureDataRefreshTime",
    "avModeDataRefreshTime",
)
DEVICE_ANTIVIRUS = rows_set(
    "DeviceAvInfo",
    "id lower, machineId lower, computerDnsName, osKind, osPlatform, osVersion, avMode, avSignatureVersion,"
    "avEngineVersion, avPlatformVersion, lastSeenTime time, quickScanResult, quickScanError,"
    "quickScanTime time?, fullScanResult, fullScanError, fullScanTime time?, dataRefreshTimestamp time,"
    "avIsSignatureUpToDate, avIsEngineUpToDate, avIsPlatformUpToDate, cloudProtectionState?,"
    f"rbacGroupName, rbacGroupId number, {', '.join(f'{name} time?' for name in _TIMES)}",
)
PROFILES = rows_set(
    "BaselineProfiles",
    "id lower, name, description, benchmark, version, operatingSystem, operatingSystemVersion, status flag,"
    "complianceLevel, settingsNumber number, createdBy, lastUpdatedBy?, createdOnTimeOffset time?,"
    "lastUpdateTimeOffset time?, passedDevices number, totalDevices number",
)
CONFIGURATIONS = rows_set(
    "BaselineConfigurations",
    "uniqueId exact, id exact, benchmarkName, benchmarkVersion, name, description, category,"
    "complianceLevels list, cce, rationale?, remediation, recommendedValue list, source list",
)
PERMISSIONS = rows_set(
    "BrowserExtension",
    "key exact, permissionName, description",
    aliases={"id": "key", "name": "permissionName"},
)
FIRMWARE = rows_set("Firmware", "rowKey exact, name, type, vendor, family, version, additionalFields")


@router.get("/api/deviceavinfo", summary="List the antivirus health of devices")
def antivirus(request: Request, principal: MachineReader) -> Response:
    """OData options apply. A page has 20 devices unless `$top` or `pageSize` asks for more."""
    services = services_of(request)
    options = read_options(request.url.query, DEVICE_ANTIVIRUS, ANTIVIRUS_PAGE)
    if options.top is not None and options.page_size == ANTIVIRUS_PAGE:
        options = replace(options, page_size=DEVICE_ANTIVIRUS.page_limit)
    with services.database.read(principal.tenant_id) as session:
        groups = [(row.name, row.id) for row in session.execute(select(DeviceGroup.name, DeviceGroup.id))]
    rows = source(
        ANTIVIRUS,
        groupNames=["", *(name for name, _ in groups)],
        groupIds=[0, *(number for _, number in groups)],
        noGroup=UNASSIGNED if groups else NO_GROUPS,
    )
    page = fetch_rows(services.telemetry, principal.tenant_id, DEVICE_ANTIVIRUS, rows, options)
    items = [timed(row) for row in page.rows]
    return answers.collection(request, "DeviceAvInfo", items, page, options)


@router.get("/api/baselineProfiles", summary="List security baseline profiles")
def profiles(request: Request, principal: BaselineReader) -> Response:
    """OData options apply. Devices that an exception is for pass what they are exempt from."""
    with services_of(request).database.read(principal.tenant_id) as session:
        rows = source(assessments.PROFILES, exemptions=exemptions(session))
    return listed(request, principal, PROFILES, rows, _profile, context=PROFILE_DTO)


@router.get("/api/baselineConfigurations", summary="List what security baselines check")
def configurations(request: Request, principal: BaselineReader) -> Response:
    """OData options apply."""
    rows = source(assessments.BASELINE_CONFIGURATIONS)
    return listed(request, principal, CONFIGURATIONS, rows, _configuration)


@router.get("/api/browserextensions/permissionsinfo", summary="List permissions of browser extensions")
def permissions(request: Request, principal: SoftwareReader) -> Response:
    """OData options apply."""
    return listed(request, principal, PERMISSIONS, source(assessments.PERMISSIONS), dict)


@router.get("/api/firmware", summary="List firmware")
def firmware(request: Request, principal: SoftwareReader) -> Response:
    """OData options apply."""
    return listed(request, principal, FIRMWARE, source(assessments.firmware()), _without_key)


@router.get("/api/machines/{machine_id}/firmware", summary="Firmware of a device")
def device_firmware(machine_id: str, request: Request, principal: SoftwareReader) -> Response:
    with services_of(request).database.read(principal.tenant_id) as session:
        device = find_device_id(session, machine_id)
    return listed(
        request, principal, FIRMWARE, source(assessments.firmware(DEVICE), device=device), _without_key
    )


def _profile(row: Row) -> Entity:
    """With the names of the documented table and with those of its sample."""
    known = timed(row)
    created, updated = known["createdOnTimeOffset"] or UNSET, known["lastUpdateTimeOffset"] or UNSET
    return {
        **known,
        "createdOnTimeOffset": created,
        "lastUpdateTimeOffset": updated,
        "createdOnTimestampUTC": created,
        "lastUpdateTimestampUTC": updated,
        "rbacGroupIdsProfileScope": [],
        "rbacGroupNamesProfileScope": [],
        "deviceTagsProfileScope": [],
    }


def _configuration(row: Row) -> Entity:
    return {**row, "isCustom": False, "assessmentMethod": None}


def _without_key(row: Row) -> Entity:
    return {name: value for name, value in row.items() if name != "rowKey"}
