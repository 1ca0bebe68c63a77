"""What devices of a tenant of its own have installed and lack, stored as agents' reports are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shieldwall.exposure.snapshots import store_snapshot
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from tests.api.conftest import DEVICE, SECOND

CVE, OLD, FREE = "CVE-2026-1111", "CVE-2025-2222", "CVE-2020-3333"
PUBLISHED = datetime(2026, 1, 5, 8, tzinfo=UTC)
UPDATED = datetime(2026, 2, 5, 8, 30, 0, 500000, tzinfo=UTC)


def software(name: str, version: str, vendor: str = "contoso", **more: Any) -> dict[str, Any]:
    row = {"SoftwareVendor": vendor, "SoftwareName": name, "SoftwareVersion": version, "OSPlatform": "Linux"}
    return row | {"ProductCodeCpe": f"cpe:2.3:a:{vendor}:{name}:{version}"} | more


def affected(
    name: str, version: str, cve: str, severity: str, update: str = "", **more: Any
) -> dict[str, Any]:
    row = {
        "SoftwareVendor": "contoso",
        "SoftwareName": name,
        "SoftwareVersion": version,
        "CveId": cve,
        "VulnerabilitySeverityLevel": severity,
        "RecommendedSecurityUpdate": f"Update {update}" if update else "",
        "RecommendedSecurityUpdateId": update,
        "OSPlatform": "Linux",
    }
    return row | more


def check(scid: str, compliant: bool, impact: float, applicable: bool = True) -> dict[str, Any]:
    return {
        "ConfigurationId": scid,
        "ConfigurationCategory": "Security controls",
        "ConfigurationSubcategory": "Antivirus",
        "ConfigurationImpact": impact,
        "IsCompliant": compliant,
        "IsApplicable": applicable,
        "IsExpectedUserImpact": False,
        "OSPlatform": "Linux",
        "Timestamp": now(),
    }


def put(store: TelemetryStore, table: str, tenant: str, device: str, *rows: dict[str, Any]) -> None:
    store_snapshot(store, table, tenant, device, rows)


def fill(store: TelemetryStore, tenant: str, names: Mapping[str, str]) -> None:
    """The first device has two versions of a server and a tool, the second one has the server.

    ``names`` are the ids of the two devices in this tenant.
    """
    first, second = names[DEVICE], names[SECOND]
    put(
        store,
        "DeviceTvmSoftwareInventory",
        tenant,
        first,
        software("web_server", "1.0"),
        software("web_server", "2.0", EndOfSupportStatus="EOS Version", EndOfSupportDate=PUBLISHED),
        software("tool", "3", ProductCodeCpe=""),
    )
    put(store, "DeviceTvmSoftwareInventory", tenant, second, software("web_server", "1.0"))
    put(
        store,
        "DeviceTvmSoftwareVulnerabilities",
        tenant,
        first,
        affected("web_server", "1.0", CVE, "Critical", "KB4540673", CveTags='["ZeroDay"]'),
        affected("web_server", "1.0", OLD, "Low"),
    )
    put(
        store,
        "DeviceTvmSoftwareVulnerabilities",
        tenant,
        second,
        affected("web_server", "1.0", CVE, "Critical", "KB4540673"),
    )
    store.insert_rows(
        "DeviceTvmSoftwareVulnerabilitiesKB",
        tenant,
        [
            {
                "CveId": cve,
                "CvssScore": score,
                "IsExploitAvailable": exploit,
                "VulnerabilitySeverityLevel": severity,
                "PublishedDate": PUBLISHED,
                "LastModifiedTime": UPDATED,
                "VulnerabilityDescription": f"About {cve}",
            }
            for cve, score, exploit, severity in (
                (CVE, "9.8", True, "Critical"),
                (OLD, "3", False, "Low"),
                (FREE, "7.5", False, "High"),
            )
        ],
    )
    put(
        store,
        "DeviceTvmSecureConfigurationAssessment",
        tenant,
        first,
        check("scid-1", False, 8),
        check("scid-2", True, 5),
        check("scid-3", False, 9, applicable=False),
    )
    put(store, "DeviceTvmSecureConfigurationAssessment", tenant, second, check("scid-1", True, 8))
    store.insert_rows(
        "DeviceTvmSecureConfigurationAssessmentKB",
        tenant,
        [
            {
                "ConfigurationId": "scid-1",
                "ConfigurationName": "Turn on protection",
                "ConfigurationImpact": 8.0,
            }
        ],
    )


def fill_baselines(store: TelemetryStore, tenant: str, *devices: str) -> None:
    """One profile with two settings, of which each device keeps to the second."""
    store.insert_rows(
        "DeviceBaselineComplianceAssessmentKB",
        tenant,
        [
            {
                "ConfigurationId": f"ccid-{number}",
                "ConfigurationName": f"Setting {number}",
                "ConfigurationBenchmark": "CIS 2.0",
            }
            for number in (1, 2)
        ],
    )
    store.insert_rows(
        "DeviceBaselineComplianceProfiles",
        tenant,
        [{"ProfileId": "profile-1", "ProfileName": "Servers", "BaseBenchmark": "CIS", "Status": True}],
    )
    for device in devices:
        rows = [
            {
                "ConfigurationId": f"ccid-{number}",
                "ProfileId": "profile-1",
                "IsApplicable": True,
                "IsCompliant": number == 2,
                "IsExempt": False,
            }
            for number in (1, 2)
        ]
        put(store, "DeviceBaselineComplianceAssessment", tenant, device, *rows)
