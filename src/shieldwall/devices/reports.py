"""What a device says of itself, checked and bounded, on its record and in the hunting tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from shieldwall.devices.models import Device
from shieldwall.errors import ApiError
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

LIST_LIMIT = 256
REPORT_BYTES = 1 << 20
"""Most bytes of a report: a list of installed packages makes nearly all of a large one."""

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")
_TEXTS = {
    "os_platform": 64,
    "os_version": 64,
    "os_distribution": 128,
    "os_architecture": 16,
    "os_processor": 32,
    "agent_version": 64,
}
_ADDRESS_KEYS = ("ipAddress", "macAddress", "type", "operationalStatus")
_USER_KEYS = ("userName", "domainName")
_SENSOR_KEYS = ("mechanism", "misses", "events", "lost", "detail")


def apply_report(device: Device, report: Mapping[str, Any], address: str) -> None:
    """Put a report on the device's record; ApiError 400 names what is wrong. ``address`` is the peer's."""
    for name, limit in _TEXTS.items():
        if name in report:
            setattr(device, name, _text(report, name, limit))
    if "dns_name" in report:
        name = _text(report, "dns_name", 255)
        if not _NAME.fullmatch(name):
            raise _wrong("dns_name")
        device.computer_dns_name = name
    device.version = device.os_version
    build = re.match(r"\d{1,9}", str(report.get("os_build", "")))
    device.os_build = int(build[0]) if build else None
    if "ip_addresses" in report:
        device.ip_addresses = _rows(report, "ip_addresses", _ADDRESS_KEYS)
        up = [row for row in device.ip_addresses if row["operationalStatus"] == "Up"]
        device.last_ip_address = next((str(row["ipAddress"])[:64] for row in up), device.last_ip_address)
    if "logged_on_users" in report:
        device.logged_on_users = _rows(report, "logged_on_users", _USER_KEYS)
    if "sensors" in report:
        device.sensor_health = _sensors(report)
    device.last_external_ip_address = address or device.last_external_ip_address
    device.last_seen = device.last_contact = now()
    device.health_status = "Active" if _senses(device) else "NoSensorData"


def store_reports(store: TelemetryStore, devices: Iterable[Device]) -> None:
    """Let hunts see the reports of a tenant's devices: for each a row of DeviceInfo, and one of
    DeviceNetworkInfo for each adapter."""
    infos: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    tenant_id = ""
    for device in devices:
        tenant_id = device.tenant_id
        info = _info(device)
        infos.append(info)
        networks += _networks(device, info)
    if infos:
        store.insert_rows("DeviceInfo", tenant_id, infos)
    if networks:
        store.insert_rows("DeviceNetworkInfo", tenant_id, networks)


def _info(device: Device) -> dict[str, Any]:
    time = now()
    return {
        "Timestamp": time,
        "DeviceId": device.id,
        "DeviceName": device.computer_dns_name,
        "OSPlatform": device.os_platform,
        "OSVersion": device.os_version or "",
        "OSDistribution": device.os_distribution or "",
        "OSArchitecture": device.os_architecture or "",
        "ClientVersion": device.agent_version or "",
        "PublicIP": device.last_external_ip_address or "",
        "LoggedOnUsers": _json(
            [
                {"UserName": user["userName"], "DomainName": user["domainName"]}
                for user in device.logged_on_users
            ]
        ),
        "MachineGroup": device.group.name if device.group else "",
        "OnboardingStatus": device.onboarding_status,
        "SensorHealthState": device.health_status,
        "ReportId": int(time.timestamp() * 1000),
    }


def _networks(device: Device, info: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    adapters: dict[str, list[dict[str, Any]]] = {}
    for row in device.ip_addresses:
        adapters.setdefault(str(row["macAddress"] or ""), []).append(row)
    for mac, rows in adapters.items():
        yield {
            **{name: info[name] for name in ("Timestamp", "DeviceId", "DeviceName", "ReportId")},
            "MacAddress": mac,
            "NetworkAdapterStatus": str(rows[0]["operationalStatus"] or ""),
            "NetworkAdapterType": str(rows[0]["type"] or ""),
            "IPAddresses": _json([{"IPAddress": row["ipAddress"]} for row in rows]),
        }


def _senses(device: Device) -> bool:
    """Whether at least one sensor runs; a device that has not said yet counts as sensing."""
    return not device.sensor_health or any(
        sensor["mechanism"] not in (None, "", "none") for sensor in device.sensor_health.values()
    )


def _text(report: Mapping[str, Any], name: str, limit: int) -> str:
    value = report[name]
    if not isinstance(value, str) or len(value) > limit or "\x00" in value:
        raise _wrong(name)
    return value


def _rows(report: Mapping[str, Any], name: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = report[name]
    if not isinstance(rows, list) or len(rows) > LIST_LIMIT:
        raise _wrong(name)
    kept = []
    for row in rows:
        if not isinstance(row, dict):
            raise _wrong(name)
        kept.append({key: _short(row.get(key), name) for key in keys})
    return kept


def _sensors(report: Mapping[str, Any]) -> dict[str, Any]:
    sensors = report["sensors"]
    if not isinstance(sensors, dict) or len(sensors) > 64:
        raise _wrong("sensors")
    kept: dict[str, Any] = {}
    for name, health in sensors.items():
        if not isinstance(health, dict) or len(str(name)) > 64:
            raise _wrong("sensors")
        kept[str(name)] = {key: _short(health.get(key), "sensors") for key in _SENSOR_KEYS}
    return kept


def _short(value: Any, name: str) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= 2000 and "\x00" not in value:
        return value
    if isinstance(value, list | dict) and len(text := _json(value)) <= 4000:
        return text
    raise _wrong(name)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _wrong(name: str) -> ApiError:
    return ApiError(400, "InvalidRequestBody", f"{name} of the report is not valid.")
