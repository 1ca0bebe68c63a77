"""Lines of the Log Event Extended Format, 1.0 and 2.0, with or without what syslog puts before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shieldwall.detection.external.formats.base import Format, ranked
from shieldwall.detection.external.formats.headed import bounded, digits, header, moment
from shieldwall.detection.external.formats.tactics import category
from shieldwall.detection.external.mapping import Mapped, Record, join, mapped
from shieldwall.detection.external.schema import FieldError

HEADER = ("vendor", "product", "productVersion", "eventId")
_DELIMITER = re.compile(r"(?:0?x|\\x)([0-9A-Fa-f]{1,4})")


def parse_line(line: str) -> dict[str, str]:
    """The header's fields and the keys behind it, in one record."""
    second = "LEEF:2.0|" in line
    fields, rest = header(line, "LEEF:2.0|" if second else "LEEF:1.0|", len(HEADER))
    delimiter = "\t"
    if second:
        named, bar, behind = rest.partition("|")
        # The delimiter may be left out, and the bar with it.
        if bar and "=" not in named:
            delimiter, rest = _delimiter(named), behind
    record = dict(zip(HEADER, fields, strict=True))
    for part in rest.split(delimiter):
        key, equals, value = part.partition("=")
        if equals and key.strip():
            record[f"ext.{key.strip()}"] = value.strip()
    return bounded(record)


def _delimiter(named: str) -> str:
    if found := _DELIMITER.fullmatch(named):
        return chr(int(found[1], 16))
    if len(named) > 1:
        raise FieldError("DelimiterCharacter", "is more than one character")
    return named or "\t"


def read(record: Record) -> Iterator[Mapped]:
    steps = ((0, "Informational"), (1, "Low"), (4, "Medium"), (7, "High"))
    found = mapped(
        record,
        {
            "vendor": "vendor",
            "product": "product",
            "sensor": "ext.devName | ext.identHostName",
            "alertId": "ext.externalId | ext.eventUid",
            "ruleId": "eventId",
            "time": lambda it: moment(it.get("ext.devTime")),
            "title": "ext.name | ext.eventName | eventId",
            "description": lambda it: join(it.get("ext.msg"), it.get("ext.reason")),
            "severity": lambda it: ranked(it.get("ext.sev"), *steps),
            "category": lambda it: category(it.get("ext.cat"), it.get("eventId")),
            "network.sourceAddress": "ext.src",
            "network.sourcePort": "ext.srcPort",
            "network.destinationAddress": "ext.dst",
            "network.destinationPort": "ext.dstPort",
            "network.translatedSourceAddress": "ext.srcPostNAT",
            "network.translatedSourcePort": "ext.srcPostNATPort",
            "network.protocol": "ext.proto",
            "network.domain": "ext.domainName | ext.dnsQuery",
            "network.url": "ext.url",
            "device.name": "ext.srcHostName | ext.identHostName",
            "device.macAddresses.0": "ext.srcMAC | ext.identMAC",
            "files.0.name": "ext.fileName",
            "files.0.path": "ext.filePath",
            "users.0.name": "ext.usrName | ext.accountName",
            "users.0.domain": "ext.domain",
        },
    )
    found.names.setdefault("time", "devTime")
    if kind := digits(record.get("ext.fileHash")):
        found.put(f"files.0.{kind}", record["ext.fileHash"], "fileHash")
    found.names = {ours: theirs.removeprefix("ext.") for ours, theirs in found.names.items()}
    yield found


FORMAT = Format(
    name="leef",
    title="LEEF lines",
    recognises=lambda record: False,
    read=read,
    content_types=("text/leef", "application/leef"),
    parse_line=parse_line,
    marks=("LEEF:1.0|", "LEEF:2.0|"),
)
