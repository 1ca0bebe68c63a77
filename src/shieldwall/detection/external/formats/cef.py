"""Lines of the Common Event Format, with or without what syslog puts before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shieldwall.detection.external.formats.base import Format, ranked
from shieldwall.detection.external.formats.headed import bounded, digits, header, moment
from shieldwall.detection.external.formats.tactics import category
from shieldwall.detection.external.mapping import Mapped, Record, join, mapped

_KEY = re.compile(r"(?:^|\s)([A-Za-z][\w.\[\]-]*)=")
_ESCAPED = re.compile(r"\\([=\\nr])")
_WORDS = {"unknown": "0", "low": "2", "medium": "5", "high": "8", "very-high": "10"}
HEADER = ("version", "vendor", "product", "productVersion", "signatureId", "name", "severity")


def parse_line(line: str) -> dict[str, str]:
    """The header's fields and the extension's keys, in one record."""
    fields, extension = header(line, "CEF:", len(HEADER))
    record = dict(zip(HEADER, fields, strict=True))
    starts = [each for each in _KEY.finditer(extension) if not _is_escaped(extension, each.end() - 1)]
    for each, after in zip(starts, [*starts[1:], None], strict=True):
        value = extension[each.end() : after.start() if after else len(extension)].strip()
        record[f"ext.{each[1]}"] = _ESCAPED.sub(
            lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), value
        )
    return bounded(record)


def _is_escaped(text: str, position: int) -> bool:
    return position > 0 and text[position - 1] == "\\"


def read(record: Record) -> Iterator[Mapped]:
    steps = ((0, "Informational"), (1, "Low"), (4, "Medium"), (7, "High"))
    found = mapped(
        record,
        {
            "vendor": "vendor",
            "product": "product",
            "sensor": "ext.dvchost | ext.dvc | ext.deviceExternalId",
            "alertId": "ext.externalId",
            "ruleId": "signatureId",
            "time": lambda it: moment(it.get("ext.start") or it.get("ext.rt") or it.get("ext.end")),
            "lastTime": lambda it: moment(it.get("ext.end")),
            "title": "name",
            "description": lambda it: join(it.get("ext.msg"), it.get("ext.reason")),
            "severity": lambda it: ranked(_WORDS.get(it["severity"].lower(), it["severity"]), *steps),
            "category": lambda it: category(it.get("ext.cat"), it.get("name")),
            "eventCount": "ext.cnt",
            "network.sourceAddress": "ext.src | ext.c6a2",
            "network.sourcePort": "ext.spt",
            "network.destinationAddress": "ext.dst | ext.c6a3",
            "network.destinationPort": "ext.dpt",
            "network.translatedSourceAddress": "ext.sourceTranslatedAddress",
            "network.translatedSourcePort": "ext.sourceTranslatedPort",
            "network.protocol": "ext.proto",
            "network.direction": lambda it: {"0": "Inbound", "1": "Outbound"}.get(
                it.get("ext.deviceDirection", "")
            ),
            "network.domain": "ext.destinationDnsDomain | ext.dhost",
            "network.url": "ext.request",
            "device.name": "ext.shost",
            "device.macAddresses.0": "ext.smac",
            "files.0.name": "ext.fname",
            "files.0.path": "ext.filePath",
            "users.0.name": "ext.suser | ext.duser",
            "users.0.domain": "ext.sntdom",
            "processes.0.name": "ext.sproc",
            "processes.0.processId": "ext.spid",
        },
    )
    found.names.setdefault("time", "rt")
    if kind := digits(record.get("ext.fileHash")):
        found.put(f"files.0.{kind}", record["ext.fileHash"], "fileHash")
    found.names = {ours: theirs.removeprefix("ext.") for ours, theirs in found.names.items()}
    yield found


FORMAT = Format(
    name="cef",
    title="CEF lines",
    recognises=lambda record: False,
    read=read,
    content_types=("text/cef", "application/cef"),
    parse_line=parse_line,
    marks=("CEF:0|", "CEF:1|"),
)
