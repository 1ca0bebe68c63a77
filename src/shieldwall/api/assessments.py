"""The assessments of all devices as data: what each export is made of and how its rows look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.orm import Session

from shieldwall.api.answers import Entity
from shieldwall.api.odata.clickhouse import rows_set
from shieldwall.api.odata.fields import EntitySet
from shieldwall.api.rows import Row, timed
from shieldwall.exposure import assessments
from shieldwall.exposure.exemptions import exemptions
from shieldwall.exposure.labels import Label, nobody, read_labels

ROWS_LIMIT = 200_000
"""Most rows that a request may ask for in one page."""
TYPES = "microsoft.windowsDefenderATP.api"
UNSET = "0001-01-01T00:00:00Z"

Shaper = Callable[[Entity, Label], Entity]


@dataclass(frozen=True)
class Assessment:
    """One assessment. ``kind`` is the folder of its files; ``json`` and ``files`` end its paths."""

    kind: str
    permission: str
    sql: str
    entity: EntitySet
    shape: Shaper
    json: str = ""
    files: str = ""
    default_hours: int = 1
    most_hours: int = 6
    parameters: Callable[[Session], Mapping[str, Any]] = lambda _: {}
    """What ``sql`` needs of the state."""


def shaped(assessment: Assessment, session: Session, rows: Sequence[Row]) -> list[Entity]:
    """The rows as they are answered, with what the state knows of their devices."""
    labels = read_labels(session, [row["deviceId"] for row in rows])
    other = nobody(session)
    return [_shaped(assessment, row, labels, other) for row in rows]


def _shaped(assessment: Assessment, row: Row, labels: Mapping[str, Label], other: Label) -> Entity:
    label = labels.get(row["deviceId"], other)
    known = {
        **timed(row),
        "rbacGroupId": label.group_id,
        "rbacGroupName": label.group_name,
        "deviceName": row.get("deviceName") or label.name,
    }
    del known["rowKey"]
    return assessment.shape(known, label)


def pascal(row: Mapping[str, Any]) -> Entity:
    """A row as files have it: each name with a capital."""
    return {f"{name[0].upper()}{name[1:]}": value for name, value in row.items()}


def _plain(row: Entity, _label: Label) -> Entity:
    return row


def _certificate(row: Entity, _label: Label) -> Entity:
    """With the names of the documented table and with those of its sample."""
    times = {"notAfter": row["notAfter"] or UNSET, "notBefore": row["notBefore"] or UNSET}
    return {
        **row,
        **times,
        "expirationDate": times["notAfter"],
        "issueDate": times["notBefore"],
        "subjectObject": _object(row["issuedTo"]),
        "issuerObject": _object(row["issuedBy"]),
        "keyUsage": ", ".join(row["keyUsageArray"]),
        "extendedKeyUsage": ", ".join(row["extendedKeyUsageArray"]),
    }


def _extension(row: Entity, _label: Label) -> Entity:
    permissions = [
        {"id": identifier, "isRequired": str(required).lower() in ("true", "1"), "risk": risk}
        for identifier, required, risk in row.pop("permissions")
    ]
    name = row.pop("deviceName")
    return {**row, "DeviceName": name, "Permissions": permissions}


def _object(text: str) -> Any:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _rows(name: str, columns: str) -> EntitySet:
    return rows_set(name, f"rowKey exact, deviceId lower, {columns}", page_limit=ROWS_LIMIT)


_WEAKNESS = (
    "id exact, deviceName, osPlatform, osVersion, osArchitecture, softwareVendor, softwareName,"
    "softwareVersion, cveId?, cvssScore number?, vulnerabilitySeverityLevel?, recommendedSecurityUpdate?,"
    "recommendedSecurityUpdateId?, recommendedSecurityUpdateUrl?, diskPaths list, registryPaths list,"
    "lastSeenTimestamp, firstSeenTimestamp, exploitabilityLevel, recommendationReference,"
    "securityUpdateAvailable flag, cveMitigationStatus?, productCategory?, endOfSupportStatus,"
    "endOfSupportDate?"
)

CHANGES = Assessment(
    "VaDelta",
    "Vulnerability.Read.All",
    assessments.CHANGES,
    _rows("DeltaAssetVulnerability", f"{_WEAKNESS}, status, eventTimestamp time, isOnboarded flag?"),
    _plain,
    json="SoftwareVulnerabilityChangesByMachine",
)

ASSESSMENTS = (
    Assessment(
        "ScaExport",
        "Vulnerability.Read.All",
        assessments.CONFIGURATIONS,
        _rows(
            "AssetConfiguration",
            "deviceName, osPlatform, osVersion, timestamp, configurationId, configurationCategory,"
            "configurationSubcategory, configurationImpact number, isCompliant flag, isApplicable flag,"
            "isExpectedUserImpact flag, configurationName, recommendationReference",
        ),
        _plain,
        json="SecureConfigurationsAssessmentByMachine",
        files="SecureConfigurationsAssessmentExport",
    ),
    Assessment(
        "SoftwareInventory",
        "Software.Read.All",
        assessments.SOFTWARE,
        _rows(
            "AssetSoftware",
            "deviceName, osPlatform, softwareVendor, softwareName, softwareVersion,"
            "numberOfWeaknesses number, diskPaths list, registryPaths list, softwareFirstSeenTimestamp,"
            "endOfSupportStatus, endOfSupportDate?, softwareTags list, productCategory?",
        ),
        _plain,
        json="SoftwareInventoryByMachine",
        files="SoftwareInventoryExport",
    ),
    Assessment(
        "NonCpeSoftwareInventory",
        "Software.Read.All",
        assessments.OTHER_SOFTWARE,
        _rows(
            "AssetNonCpeSoftware",
            "deviceName, osPlatform, softwareVendor, softwareName, softwareVersion,"
            "softwareLastSeenTimestamp, registryPath?",
        ),
        _plain,
        json="SoftwareInventoryNoProductCodeByMachine",
        files="SoftwareInventoryNonCpeExport",
    ),
    Assessment(
        "VaExport",
        "Vulnerability.Read.All",
        assessments.VULNERABILITIES,
        _rows("AssetVulnerability", _WEAKNESS),
        _plain,
        json="SoftwareVulnerabilitiesByMachine",
        files="SoftwareVulnerabilitiesExport",
    ),
    CHANGES,
    Assessment(
        "BrowserExtensions",
        "Software.Read.All",
        assessments.EXTENSIONS,
        _rows(
            "AssetBrowserExtension",
            "installationTime time?, browserName, extensionId, extensionName, extensionDescription,"
            "extensionVersion, extensionRisk, extensionVendor, isActivated flag, permissions list",
        ),
        _extension,
        json="BrowserExtensionsInventoryByMachine",
        files="browserextensionsinventoryExport",
    ),
    Assessment(
        "InfoGatheringExport",
        "Vulnerability.Read.All",
        assessments.GATHERED,
        _rows(
            "InfoGathering",
            "deviceName, osPlatform, osVersion, timestamp, lastSeenTime?, deviceGatheredInfo",
        ),
        _plain,
        files="InfoGatheringExport",
        most_hours=24,
    ),
    Assessment(
        "CertificateAssessmentExport",
        "Vulnerability.Read.All",
        assessments.CERTIFICATES,
        _rows(
            "AssetCertificateAssessment",
            "thumbprint, path, signatureAlgorithm, keyLength number, keySize number, notAfter time?,"
            "notBefore time?, subjectType, serialNumber, issuedTo, issuedBy, isSelfSigned flag,"
            "keyUsageArray list, extendedKeyUsageArray list",
        ),
        _certificate,
        json="certificateAssessmentByMachine",
        files="certificateAssessmentExport",
        default_hours=3,
        most_hours=24,
    ),
    Assessment(
        "FirmwareHardwareExport",
        "Software.Read.All",
        assessments.HARDWARE,
        _rows(
            "AssetHardwareFirmware",
            "deviceName, componentType, manufacturer, componentName, componentVersion, additionalFields",
        ),
        _plain,
        json="HardwareFirmwareInventoryByMachine",
        files="HardwareFirmwareInventoryExport",
    ),
    Assessment(
        "BaselineAssessmentExport",
        "SecurityBaselinesAssessment.Read.All",
        assessments.BASELINES,
        _rows(
            "AssetBaselineAssessment",
            "id exact, configurationId, profileId, deviceName, osPlatform, osVersion, isApplicable flag,"
            "isCompliant flag?, dataCollectionTimeOffset, complianceCalculationTimeOffset,"
            "recommendedValue list, currentValue list, rawValue list, source list, isExempt flag,"
            "complianceEvaluationDetails?",
        ),
        _plain,
        json="baselineComplianceAssessmentByMachine",
        files="BaselineComplianceAssessmentExport",
        parameters=lambda session: {"exemptions": exemptions(session)},
    ),
)

BY_KIND = {each.kind: each for each in ASSESSMENTS}
