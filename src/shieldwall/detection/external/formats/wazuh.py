"""Wazuh's alerts, as its `alerts.json` has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shieldwall.detection.external.formats.base import Format, ranked
from shieldwall.detection.external.formats.tactics import category
from shieldwall.detection.external.mapping import Mapped, Record, get, join, many, mapped, techniques, text

MANAGER = "000"
"""The agent that stands for the manager itself."""


def read(record: Record) -> Iterator[Mapped]:
    steps = ((0, "Informational"), (4, "Low"), (8, "Medium"), (12, "High"))
    found = mapped(
        record,
        {
            "sensor": "manager.name",
            "alertId": "id",
            "ruleId": "rule.id",
            "time": "timestamp | @timestamp",
            "title": "rule.description",
            "description": lambda it: join(it.get("full_log"), it.get("location")),
            "severity": lambda it: ranked(get(it, "rule.level"), *steps),
            "category": lambda it: category(
                *many(get(it, "rule.mitre.tactic")), *many(get(it, "rule.groups"))
            ),
            "techniques": lambda it: techniques(get(it, "rule.mitre.id")),
            "device.name": "agent.name | predecoder.hostname",
            "device.addresses.0": lambda it: _own_address(it),
            "network.sourceAddress": "data.srcip | data.src_ip | data.win.eventdata.sourceIp",
            "network.sourcePort": "data.srcport | data.src_port | data.win.eventdata.sourcePort",
            "network.destinationAddress": "data.dstip | data.dest_ip | data.win.eventdata.destinationIp",
            "network.destinationPort": "data.dstport | data.dest_port | data.win.eventdata.destinationPort",
            "network.protocol": "data.protocol | data.proto | data.win.eventdata.protocol",
            "network.url": "data.url",
            "files.0.path": "syscheck.path | data.virustotal.source.file",
            "files.0.sha256": "syscheck.sha256_after",
            "files.0.sha1": "syscheck.sha1_after | data.virustotal.sha1",
            "files.0.md5": "syscheck.md5_after | data.virustotal.md5",
            "users.0.name": "data.dstuser | data.srcuser | data.win.eventdata.targetUserName",
            "processes.0.processId": "data.win.eventdata.processId | data.audit.pid",
            "processes.0.path": "data.win.eventdata.image | data.audit.exe",
            "processes.0.commandLine": "data.win.eventdata.commandLine | data.audit.command",
        },
    )
    found.put("vendor", "Wazuh")
    found.put("product", "Wazuh")
    _accuse(found, record)
    yield found


def _own_address(record: Record) -> Any:
    address = get(record, "agent.ip")
    return address if text(address) not in ("", "any") and get(record, "agent.id") != MANAGER else None


def _accuse(found: Mapped, record: Record) -> None:
    """A changed file is not a bad one: only what VirusTotal knows is."""
    bad = text(get(record, "data.virustotal.malicious")) == "1"
    for file in found.body.get("files", ()):
        file["malicious"] = bad


FORMAT = Format(
    name="wazuh",
    title="Wazuh alerts",
    recognises=lambda record: (
        isinstance(record.get("rule"), dict)
        and "level" in record["rule"]
        and isinstance(record.get("agent"), dict)
    ),
    read=read,
)
