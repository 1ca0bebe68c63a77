"""Zeek's notices, as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.detection.external.formats.base import Format
from shieldwall.detection.external.mapping import Mapped, Record, get, join, mapped, text

CATEGORIES = {
    "scan": "Discovery",
    "bruteforc": "CredentialAccess",
    "guess": "CredentialAccess",
    "malwarehash": "Malware",
    "intel": "CommandAndControl",
    "exfil": "Exfiltration",
    "exploit": "Exploit",
    "sql": "Exploit",
}
SEVERE = ("malwarehash", "intel", "exploit")


def read(record: Record) -> Iterator[Mapped]:
    found = mapped(
        record,
        {
            "sensor": "peer_descr | _system_name | peer_name",
            "time": "ts",
            "title": "note",
            "ruleId": lambda it: text(it.get("note"))[:64],
            "description": lambda it: join(it.get("msg"), it.get("sub")),
            "category": lambda it: next(
                (ours for theirs, ours in CATEGORIES.items() if theirs in _note(it)), None
            ),
            "severity": lambda it: "High" if any(word in _note(it) for word in SEVERE) else "Medium",
            "eventCount": "n",
            "network.sourceAddress": "id.orig_h | src",
            "network.sourcePort": "id.orig_p",
            "network.destinationAddress": "id.resp_h | dst",
            "network.destinationPort": "id.resp_p | p",
            "network.protocol": "proto",
        },
    )
    found.put("vendor", "Zeek")
    found.put("product", "Zeek")
    if not found.body.get("eventCount"):
        found.body.pop("eventCount", None)
    # Zeek's script that looks hashes up tells the hash in its text alone.
    for word in text(get(record, "msg")).replace(",", " ").split() if "malwarehash" in _note(record) else ():
        size = {32: "md5", 40: "sha1", 64: "sha256"}.get(len(word))
        if size and all(letter in "0123456789abcdefABCDEF" for letter in word):
            found.put(f"files.0.{size}", word, "msg")
    yield found


def _note(record: Record) -> str:
    return text(record.get("note")).lower().replace("_", "")


FORMAT = Format(
    name="zeek",
    title="Zeek notices (JSON)",
    recognises=lambda record: "ts" in record and "note" in record,
    read=read,
)
