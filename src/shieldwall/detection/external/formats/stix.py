"""Sightings in a bundle of STIX 2.1, with the indicators and observed data that they refer to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shieldwall.detection.external.formats.base import Format, ranked
from shieldwall.detection.external.formats.tactics import category
from shieldwall.detection.external.mapping import Mapped, Record, get, join, many, techniques, text
from shieldwall.detection.external.schema import FieldError

Objects = Mapping[str, Mapping[str, Any]]

_COMPARISON = re.compile(r"([\w-]+:[\w.'\-\[\]*]+)\s*=\s*'((?:[^'\\]|\\.){1,2048})'")
"""A path that must equal a value; what else a pattern asks for names no single thing."""
_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256"}
_PATTERN_LIMIT = 20_000


def read(record: Record) -> Iterator[Mapped]:
    items = record.get("objects")
    if not isinstance(items, list):
        raise FieldError("objects", "is no list")
    objects = {text(get(item, "id")): item for item in items if isinstance(item, Mapping)}
    sightings = [item for item in objects.values() if item.get("type") == "sighting"]
    if not sightings:
        raise FieldError("objects", "has no sighting")
    for sighting in sightings:
        yield _sighting(sighting, objects)


def _sighting(sighting: Record, objects: Objects) -> Mapped:
    found = Mapped()
    of = objects.get(text(sighting.get("sighting_of_ref")), {})
    who = objects.get(text(sighting.get("created_by_ref")) or text(of.get("created_by_ref")), {})
    found.put("vendor", who.get("name") or "STIX", "created_by_ref.name")
    found.put("product", "STIX", "")
    found.put("alertId", sighting.get("id"), "id")
    found.put("ruleId", text(sighting.get("sighting_of_ref"))[:64])
    found.put("time", sighting.get("first_seen") or sighting.get("created"), "first_seen")
    found.put("lastTime", sighting.get("last_seen"), "last_seen")
    found.put(
        "title", of.get("name") or f"Sighting of {sighting.get('sighting_of_ref')}", "sighting_of_ref.name"
    )
    found.put("description", join(sighting.get("description"), of.get("description")), "description")
    found.put("eventCount", sighting.get("count") or None, "count")
    found.put("severity", ranked(of.get("confidence"), (0, "Low"), (30, "Medium"), (70, "High")))
    phases = [get(phase, "phase_name") for phase in many(of.get("kill_chain_phases"))]
    found.put("category", category(*phases, *many(of.get("indicator_types"))))
    found.put("techniques", techniques(_techniques(of)))
    if sighting.get("revoked") is True:
        found.put("status", "Resolved")
    _pattern(found, text(of.get("pattern")))
    for where in many(sighting.get("where_sighted_refs"))[:1]:
        found.put("device.name", get(objects.get(text(where), {}), "name"), "where_sighted_refs.name")
    for reference in many(sighting.get("observed_data_refs")):
        observed = objects.get(text(reference), {})
        inner = observed.get("objects")
        scope: Objects = inner if isinstance(inner, Mapping) else objects
        names = list(scope) if isinstance(inner, Mapping) else many(observed.get("object_refs"))
        for name in names[:50]:
            if isinstance(item := scope.get(text(name)), Mapping):
                _observed(found, item, scope)
    return found


def _techniques(of: Record) -> list[Any]:
    return [get(each, "external_id") for each in many(of.get("external_references"))]


def _pattern(found: Mapped, pattern: str) -> None:
    """What the indicator is about, as far as it names single values: they are what is malicious."""
    for path, quoted in _COMPARISON.findall(pattern[:_PATTERN_LIMIT]):
        value = re.sub(r"\\(.)", r"\1", quoted)
        if path in ("ipv4-addr:value", "ipv6-addr:value", "network-traffic:dst_ref.value"):
            found.put("network.destinationAddress", value, "pattern")
        elif path == "domain-name:value":
            found.put("network.domain", value, "pattern")
        elif path == "url:value":
            found.put("network.url", value, "pattern")
        elif path.startswith("file:hashes."):
            kind = path.removeprefix("file:hashes.").strip("'\"").upper()
            if name := _HASHES.get(kind) or _HASHES.get(kind.replace("SHA", "SHA-")):
                found.put(f"files.0.{name}", value, "pattern")


def _observed(found: Mapped, item: Record, scope: Objects) -> None:
    def at(reference: str) -> Mapping[str, Any]:
        return scope.get(text(item.get(reference)), {})

    match item.get("type"):
        case "network-traffic":
            found.put("network.sourceAddress", at("src_ref").get("value"), "src_ref.value")
            found.put("network.sourcePort", item.get("src_port"), "src_port")
            found.put("network.destinationAddress", at("dst_ref").get("value"), "dst_ref.value")
            found.put("network.destinationPort", item.get("dst_port"), "dst_port")
            protocols = [text(name) for name in many(item.get("protocols"))]
            known = [name for name in protocols if name in ("tcp", "udp", "icmp", "sctp")]
            found.put("network.protocol", known[0] if known else None, "protocols")
            found.put("network.startTime", item.get("start"), "start")
        case "domain-name":
            found.put("network.domain", item.get("value"), "value")
        case "url":
            found.put("network.url", item.get("value"), "value")
        case "mac-addr":
            found.put("device.macAddresses.0", item.get("value"), "value")
        case "file":
            files = found.body.get("files", [])
            hashes = item.get("hashes")
            same = (
                {_HASHES.get(kind): value for kind, value in hashes.items()}
                if isinstance(hashes, Mapping)
                else {}
            )
            accused = any(file.get(kind) == value for file in files for kind, value in same.items())
            index = 0 if accused else len(files)
            found.put(f"files.{index}.name", item.get("name"), "name")
            for kind, value in same.items():
                if kind:
                    found.put(f"files.{index}.{kind}", value, "hashes")
            if not accused and index < len(found.body.get("files", [])):
                # Seen beside what the indicator is about, which need not be bad itself.
                found.body["files"][index]["malicious"] = False
        case "process":
            place = f"processes.{len(found.body.get('processes', []))}"
            found.put(f"{place}.processId", item.get("pid"), "pid")
            found.put(f"{place}.commandLine", item.get("command_line"), "command_line")
            found.put(f"{place}.creationTime", item.get("created_time"), "created_time")
            found.put(f"{place}.name", at("image_ref").get("name"), "image_ref.name")
            found.put(f"{place}.parentProcessId", at("parent_ref").get("pid"), "parent_ref.pid")
        case "user-account":
            name = item.get("account_login") or item.get("user_id") or item.get("display_name")
            found.put(f"users.{len(found.body.get('users', []))}.name", name, "account_login")


FORMAT = Format(
    name="stix",
    title="STIX 2.1 sightings",
    recognises=lambda record: record.get("type") == "bundle" and "objects" in record,
    read=read,
    content_types=("application/stix+json", "application/taxii+json"),
)
