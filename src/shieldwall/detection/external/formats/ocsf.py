"""OCSF detection findings (class 2004)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shieldwall.detection.external.formats.base import Format
from shieldwall.detection.external.formats.tactics import category
from shieldwall.detection.external.mapping import Mapped, Record, get, join, many, mapped, techniques, text
from shieldwall.detection.external.schema import FieldError

CLASS = 2004
SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "High", 6: "High"}
STATUSES = {1: "New", 2: "InProgress", 3: "Resolved", 4: "Resolved"}
"""New, in progress, suppressed, resolved."""
CLOSED = 3
"""The activity of a finding that is closed."""
HASHES = {1: "md5", 2: "sha1", 3: "sha256"}
DIRECTIONS = {1: "Inbound", 2: "Outbound", 3: "Lateral"}
PROCESS = {
    "processId": "pid",
    "name": "name",
    "path": "file.path",
    "commandLine": "cmd_line",
    "creationTime": "created_time",
    "parentProcessId": "parent_process.pid",
    "parentName": "parent_process.name",
}


def read(record: Record) -> Iterator[Mapped]:
    if record.get("class_uid") != CLASS:
        raise FieldError("class_uid", f"is not {CLASS}, a detection finding")
    found = mapped(
        record,
        {
            "vendor": "metadata.product.vendor_name",
            "product": "metadata.product.name",
            "sensor": "metadata.log_provider | metadata.loggers.0.name",
            "alertId": "finding_info.uid",
            "ruleId": "finding_info.analytic.uid",
            "time": "finding_info.first_seen_time | time",
            "lastTime": "finding_info.last_seen_time",
            "title": "finding_info.title | message",
            "description": lambda it: join(get(it, "finding_info.desc") or it.get("message")),
            "recommendedAction": "remediation.desc",
            "severity": lambda it: SEVERITIES.get(it.get("severity_id", 0)),
            "status": _status,
            "eventCount": "count",
            "techniques": lambda it: techniques([get(each, "technique.uid") for each in _attacks(it)]),
            "category": lambda it: category(
                *(text(get(each, "tactic.uid")) for each in _attacks(it)),
                *many(get(it, "finding_info.types")),
            ),
            "threatName": "malware.0.name",
        },
    )
    # A closed finding may be the only one that comes of it.
    _device(
        found, next((each for each in (record.get("device"), *many(record.get("resources"))) if each), None)
    )
    for evidence in many(record.get("evidences"))[:20]:
        _evidence(found, evidence)
    yield found


def _status(record: Record) -> str | None:
    return "Resolved" if record.get("activity_id") == CLOSED else STATUSES.get(record.get("status_id", 0))


def _attacks(record: Record) -> list[Any]:
    return many(get(record, "finding_info.attacks")) + many(record.get("attacks"))


def _device(found: Mapped, device: Any) -> None:
    if not isinstance(device, Mapping) or "device" in found.body:
        return
    found.put("device.name", get(device, "hostname") or get(device, "name"), "device.hostname")
    found.put("device.id", device.get("uid"), "device.uid")
    found.put("device.addresses.0", device.get("ip"), "device.ip")
    found.put("device.macAddresses.0", device.get("mac"), "device.mac")


def _evidence(found: Mapped, evidence: Any) -> None:
    _device(found, get(evidence, "device"))
    if "sourceAddress" not in found.body.get("network", {}):
        for ours, theirs in (
            ("sourceAddress", "src_endpoint.ip"),
            ("sourcePort", "src_endpoint.port"),
            ("destinationAddress", "dst_endpoint.ip"),
            ("destinationPort", "dst_endpoint.port"),
            ("protocol", "connection_info.protocol_name"),
            ("url", "url.url_string"),
            ("sni", "tls.sni"),
            ("domain", "query.hostname"),
        ):
            found.put(f"network.{ours}", get(evidence, theirs), f"evidences.{theirs}")
        direction = get(evidence, "connection_info.direction_id")
        found.put("network.direction", DIRECTIONS.get(direction))
    if isinstance(file := get(evidence, "file"), Mapping):
        at = f"files.{len(found.body.get('files', []))}"
        found.put(f"{at}.name", file.get("name"), "evidences.file.name")
        found.put(f"{at}.path", file.get("path"), "evidences.file.path")
        _hashes(found, at, file)
    process = get(evidence, "process") or get(evidence, "actor.process")
    if isinstance(process, Mapping):
        at = f"processes.{len(found.body.get('processes', []))}"
        for ours, theirs in PROCESS.items():
            found.put(f"{at}.{ours}", get(process, theirs), f"evidences.process.{theirs}")
        _hashes(found, at, get(process, "file"))
    user = get(evidence, "user.name") or get(evidence, "actor.user.name")
    found.put(f"users.{len(found.body.get('users', []))}.name", user, "evidences.user.name")


def _hashes(found: Mapped, at: str, file: Any) -> None:
    for each in many(get(file, "hashes"))[:10]:
        if kind := HASHES.get(get(each, "algorithm_id") or 0):
            found.put(f"{at}.{kind}", get(each, "value"), "evidences.file.hashes.value")


FORMAT = Format(
    name="ocsf",
    title="OCSF detection findings",
    recognises=lambda record: "class_uid" in record and "finding_info" in record,
    read=read,
)
