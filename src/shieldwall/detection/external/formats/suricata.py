"""Suricata's EVE alerts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shieldwall.detection.external.formats.base import Format, ranked
from shieldwall.detection.external.mapping import (
    Mapped,
    Record,
    first,
    get,
    join,
    many,
    mapped,
    techniques,
    text,
)
from shieldwall.detection.external.schema import FieldError

CATEGORIES = {
    "command and control": "CommandAndControl",
    "domain observed used for c2": "CommandAndControl",
    "trojan": "Malware",
    "malware": "Malware",
    "crypto currency mining": "Malware",
    "exploit kit": "Exploit",
    "privilege gain": "Exploit",
    "web application attack": "Exploit",
    "executable code": "Exploit",
    "credential theft": "CredentialAccess",
    "default username": "CredentialAccess",
    "network scan": "Discovery",
    "information leak": "Discovery",
    "exfiltration": "Exfiltration",
    "social engineering": "InitialAccess",
}
"""Words of Suricata's classifications, the telling ones first."""


def read(record: Record) -> Iterator[Mapped]:
    if record.get("event_type") != "alert":
        raise FieldError("event_type", f"is {text(record.get('event_type'))[:40]!r}; only alerts are taken")
    found = mapped(
        record,
        {
            "sensor": "sensor_name | host",
            "alertId": _identity,
            "ruleId": "alert.signature_id",
            "time": "timestamp",
            "title": "alert.signature",
            "description": lambda it: join(
                get(it, "alert.category"), get(it, "alert.action") == "blocked" and "Blocked by the sensor."
            ),
            "category": lambda it: _category(text(get(it, "alert.category")).lower()),
            "techniques": lambda it: techniques(get(it, "alert.metadata.mitre_technique_id")),
            "threatName": lambda it: first(get(it, "alert.metadata.malware_family")),
            "network.protocol": "proto",
            "network.startTime": "flow.start",
            "network.domain": "dns.query.0.rrname | dns.queries.0.rrname | dns.rrname | http.hostname",
            "network.url": _url,
            "network.sni": "tls.sni",
            "network.ja3": "tls.ja3.hash",
        },
    )
    found.put("vendor", "OISF")
    found.put("product", "Suricata")
    steps = ((1, "High"), (2, "Medium"), (3, "Low"), (4, "Informational"))
    found.put("severity", ranked(get(record, "alert.severity"), *steps))
    # The flow tells who opened the connection, the packet only who sent it.
    flow = get(record, "flow") if get(record, "flow.src_ip") else None
    ends = [("src_ip", "source"), ("dest_ip", "destination")]
    if flow is None and record.get("direction") == "to_client":
        ends = [("dest_ip", "source"), ("src_ip", "destination")]
    for name, end in ends:
        port = name.replace("_ip", "_port")
        where, prefix = (flow, "flow.") if flow is not None else (record, "")
        found.put(f"network.{end}Address", where.get(name), prefix + name)
        found.put(f"network.{end}Port", where.get(port), prefix + port)
    for file in (many(record.get("files")) or many(record.get("fileinfo")))[:10]:
        at = f"files.{len(found.body.get('files', []))}"
        for ours, theirs in (("name", "filename"), ("sha256", "sha256"), ("sha1", "sha1"), ("md5", "md5")):
            found.put(f"{at}.{ours}", get(file, theirs), f"files.{theirs}")
    yield found


def _identity(record: Record) -> str | None:
    """One signature in one flow is one alert, however many packets it fires on."""
    if not record.get("flow_id"):
        return None
    flow = (record.get("host"), record["flow_id"], get(record, "flow.start"))
    rule = (get(record, "alert.gid"), get(record, "alert.signature_id"))
    return "/".join(text(part) for part in (*flow, *rule))


def _category(words: str) -> str | None:
    return next((ours for theirs, ours in CATEGORIES.items() if theirs in words), None)


def _url(record: Record) -> Any:
    url, host = text(get(record, "http.url")), text(get(record, "http.hostname"))
    return url if "://" in url or not host else f"http://{host}{url}"


FORMAT = Format(
    name="suricata",
    title="Suricata EVE",
    recognises=lambda record: "event_type" in record and "src_ip" in record,
    read=read,
)
