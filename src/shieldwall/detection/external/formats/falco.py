"""Falco's alerts, as its JSON output has them."""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.detection.external.formats.base import Format
from shieldwall.detection.external.formats.tactics import category
from shieldwall.detection.external.mapping import Mapped, Record, get, join, many, mapped, techniques, text

SEVERITIES = {
    "emergency": "High",
    "alert": "High",
    "critical": "High",
    "error": "Medium",
    "warning": "Medium",
    "notice": "Low",
}


def read(record: Record) -> Iterator[Mapped]:
    found = mapped(
        record,
        {
            "sensor": "hostname",
            "alertId": "uuid",
            "ruleId": lambda it: text(it.get("rule"))[:64],
            "time": "time",
            "title": "rule",
            "description": lambda it: join(it.get("output")),
            "severity": lambda it: SEVERITIES.get(text(it.get("priority")).lower(), "Informational"),
            "category": lambda it: category(*many(it.get("tags"))),
            "techniques": lambda it: techniques(it.get("tags")),
            "device.name": "hostname | output_fields.k8s.node.name",
            # The client opened the connection, whichever end this process is at.
            "network.sourceAddress": "output_fields.fd.cip",
            "network.sourcePort": "output_fields.fd.cport",
            "network.destinationAddress": "output_fields.fd.sip | output_fields.fd.rip",
            "network.destinationPort": "output_fields.fd.sport | output_fields.fd.rport",
            "network.protocol": "output_fields.fd.l4proto",
            "files.0.path": lambda it: _path(text(get(it, "output_fields.fd.name"))),
            "users.0.name": "output_fields.user.name",
            "processes.0.processId": "output_fields.proc.pid",
            "processes.0.name": "output_fields.proc.name",
            "processes.0.path": "output_fields.proc.exepath",
            "processes.0.commandLine": "output_fields.proc.cmdline",
            "processes.0.parentProcessId": "output_fields.proc.ppid",
            "processes.0.parentName": "output_fields.proc.pname",
        },
    )
    found.put("vendor", "Falco")
    found.put("product", "Falco")
    for file in found.body.get("files", ()):
        file["malicious"] = False
    yield found


def _path(name: str) -> str | None:
    """A file's name; of a connection Falco gives its two ends there."""
    return name if name.startswith("/") else None


FORMAT = Format(
    name="falco",
    title="Falco alerts (JSON)",
    recognises=lambda record: "output_fields" in record and "priority" in record and "rule" in record,
    read=read,
)
