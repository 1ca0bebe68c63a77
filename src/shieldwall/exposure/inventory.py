"""What a device has installed, as its report tells, in the software inventory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shieldwall.devices.models import Device
from shieldwall.errors import ApiError
from shieldwall.exposure.snapshots import store_snapshot
from shieldwall.telemetry.store import TelemetryStore

PACKAGES_LIMIT = 5000
TEXT_LIMIT = 200

Package = tuple[str, str, str]
"""Name, version and architecture."""


def read_packages(report: Mapping[str, Any]) -> list[Package] | None:
    """The packages of a report, None where it tells of none; ApiError 400 for what is no list of them."""
    if "software" not in report:
        return None
    given = report["software"]
    if not isinstance(given, list) or len(given) > PACKAGES_LIMIT:
        raise _wrong()
    return [_package(item) for item in given]


def store_packages(store: TelemetryStore, device: Device, packages: list[Package]) -> None:
    """Replace the device's inventory. What a distribution packages is of the distribution as its vendor."""
    common = {
        "DeviceName": device.computer_dns_name,
        "OSPlatform": device.os_platform,
        "OSVersion": device.os_version or "",
        "OSArchitecture": device.os_processor or "",
        "SoftwareVendor": (device.os_distribution or device.os_platform).lower(),
    }
    versions = dict.fromkeys((name.lower(), version) for name, version, _ in packages)
    rows = [{**common, "SoftwareName": name, "SoftwareVersion": version} for name, version in versions]
    store_snapshot(store, "DeviceTvmSoftwareInventory", device.tenant_id, device.id, rows)


def _package(item: Any) -> Package:
    if not isinstance(item, list) or len(item) != 3:
        raise _wrong()
    name, version, architecture = item
    for text in item:
        if not isinstance(text, str) or len(text) > TEXT_LIMIT or "\x00" in text:
            raise _wrong()
    if not name:
        raise _wrong()
    return name, version, architecture


def _wrong() -> ApiError:
    return ApiError(400, "InvalidRequestBody", "software of the report is not valid.")
