"""EVTX files made for tests and benchmarks: chunks of records, their binary XML without templates."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

CHUNK = 65536
_NS = "http://schemas.microsoft.com/win/2004/08/events/event"
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Made:
    """One record to be written."""

    event: int
    fields: Mapping[str, str]
    time: datetime
    channel: str = "Microsoft-Windows-Sysmon/Operational"
    host: str = "PC1.corp.example"
    provider: str = "Microsoft-Windows-Sysmon"


@dataclass
class _Chunk:
    """A chunk that is being filled; names are written where they come first, and referred to after."""

    data: bytearray = field(default_factory=lambda: bytearray(512))
    names: dict[str, int] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    last_offset: int = 0


def write(path: Path, records: Iterable[Made]) -> int:
    """Write an EVTX file; how many records it has."""
    chunks: list[bytes] = []
    chunk = _Chunk(first=1)
    number = 0
    for record in records:
        number += 1
        before = (len(chunk.data), dict(chunk.names))
        _record(chunk, number, record)
        if len(chunk.data) > CHUNK:
            del chunk.data[before[0] :]
            chunk.names = before[1]
            chunks.append(_closed(chunk))
            chunk = _Chunk(first=number)
            _record(chunk, number, record)
        chunk.last = number
    chunks.append(_closed(chunk))
    header = bytearray(4096)
    struct.pack_into(
        "<8sQQQIHHHH", header, 0, b"ElfFile\0", 0, len(chunks) - 1, number + 1, 128, 1, 3, 4096, len(chunks)
    )
    struct.pack_into("<I", header, 124, zlib.crc32(header[:120]))
    path.write_bytes(bytes(header) + b"".join(chunks))
    return number


def _closed(chunk: _Chunk) -> bytes:
    used = len(chunk.data)
    data = chunk.data + bytes(CHUNK - used)
    struct.pack_into("<8sQQQQIII", data, 0, b"ElfChnk\0", chunk.first, chunk.last, chunk.first, chunk.last,
                     128, chunk.last_offset, used)  # fmt: skip
    struct.pack_into("<I", data, 52, zlib.crc32(data[512:used]))
    struct.pack_into("<I", data, 124, zlib.crc32(bytes(data[:120]) + bytes(data[128:512])))
    return bytes(data)


def _record(chunk: _Chunk, number: int, record: Made) -> None:
    start = chunk.last_offset = len(chunk.data)
    ticks = (record.time - _EPOCH) // timedelta(microseconds=1) * 10
    chunk.data += struct.pack("<IIQQ", 0x2A2A, 0, number, ticks) + b"\x0f\x01\x01\x00"
    system = [
        ("Provider", {"Name": record.provider}, ""),
        ("EventID", {}, str(record.event)),
        ("Level", {}, "4"),
        ("TimeCreated", {"SystemTime": record.time.isoformat().replace("+00:00", "Z")}, ""),
        ("EventRecordID", {}, str(number)),
        ("Channel", {}, record.channel),
        ("Computer", {}, record.host),
    ]
    data = [("Data", {"Name": name}, value) for name, value in record.fields.items()]
    event = _open(chunk, "Event", {"xmlns": _NS})
    for name, children in (("System", system), ("EventData", data)):
        part = _open(chunk, name, {})
        for child, attributes, text in children:
            element = _open(chunk, child, attributes)
            if text:
                chunk.data += b"\x05\x01" + _text(text)
            _end(chunk, element)
        _end(chunk, part)
    _end(chunk, event)
    chunk.data += b"\x00"
    chunk.data += bytes(-(len(chunk.data) - start + 4) % 8)
    size = len(chunk.data) - start + 4
    chunk.data += struct.pack("<I", size)
    struct.pack_into("<I", chunk.data, start + 4, size)


def _open(chunk: _Chunk, name: str, attributes: Mapping[str, str]) -> int:
    """Begin an element; answers where its size is to be written."""
    chunk.data.append(0x41 if attributes else 0x01)
    place = len(chunk.data)
    chunk.data += bytes(4)
    _name(chunk, name)
    if attributes:
        list_place = len(chunk.data)
        chunk.data += bytes(4)
        for left, (key, value) in zip(reversed(range(len(attributes))), attributes.items(), strict=True):
            chunk.data += b"\x46" if left else b"\x06"
            _name(chunk, key)
            chunk.data += b"\x05\x01" + _text(value)
        struct.pack_into("<I", chunk.data, list_place, len(chunk.data) - list_place - 4)
    chunk.data += b"\x02"
    return place


def _end(chunk: _Chunk, place: int) -> None:
    chunk.data += b"\x04"
    struct.pack_into("<I", chunk.data, place, len(chunk.data) - place - 4)


def _name(chunk: _Chunk, name: str) -> None:
    known = chunk.names.get(name)
    if known is not None:
        chunk.data += struct.pack("<I", known)
        return
    offset = chunk.names[name] = len(chunk.data) + 4
    value = 0
    for letter in name:
        value = (value * 65599 + ord(letter)) & 0xFFFFFFFF
    chunk.data += (
        struct.pack("<IIHH", offset, 0, value & 0xFFFF, len(name)) + name.encode("utf-16-le") + b"\0\0"
    )


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text.encode("utf-16-le")) // 2) + text.encode("utf-16-le")
