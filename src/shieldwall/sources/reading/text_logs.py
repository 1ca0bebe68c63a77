"""Logs that are text: Zeek's tab-separated files, records of auditd, and events written as XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import orjson

AUDIT = re.compile(rb"(?:node=(\S+) )?type=(\S+) msg=audit\((\d+\.\d+):(\d+)\): ?(.*)", re.DOTALL)
_PAIR = re.compile(rb"([\w-]+)=(\"[^\"]*\"|'[^']*'|\S*)")
_HEX_FIELDS = frozenset({"proctitle", "cmd", "exe", "comm", "name", "cwd", "key", "acct", "data"})
"""Fields of auditd whose text is hexadecimal where it is not quoted."""
_HEX = re.compile(rb"(?:[0-9A-F]{2})+")


class BadLog(ValueError):
    """The text is not what its beginning says."""


def zeek(lines: Iterable[bytes], path: str = "") -> Iterator[bytes]:
    """Zeek's TSV as its JSON writer would write it, with ``_path``."""
    separator, empty, unset, inner = b"\t", b"(empty)", b"-", b","
    fields: list[str] = []
    readers: list[Callable[[bytes], Any]] = []
    for line in lines:
        line = line.rstrip(b"\r\n")
        if line.startswith(b"#"):
            key, _, rest = line[1:].partition(b" " if line.startswith(b"#separator") else separator)
            if key == b"separator":
                separator = rest.strip().decode("unicode_escape").encode("latin-1")
            elif key == b"set_separator":
                inner = rest
            elif key == b"empty_field":
                empty = rest
            elif key == b"unset_field":
                unset = rest
            elif key == b"path":
                path = rest.decode("utf-8", "replace")
            elif key == b"fields":
                fields = [name.decode("utf-8", "replace") for name in rest.split(separator)]
            elif key == b"types":
                readers = [
                    _zeek_type(kind.decode("utf-8", "replace"), empty, inner)
                    for kind in rest.split(separator)
                ]
            continue
        if not line:
            continue
        values = line.split(separator)
        if len(values) != len(fields) or len(readers) != len(fields):
            # Told as it is, so that it is rejected with its text.
            yield line
            continue
        record: dict[str, Any] = {"_path": path}
        for name, read, value in zip(fields, readers, values, strict=True):
            if value != unset:
                record[name] = read(value)
        yield orjson.dumps(record)


def _zeek_type(kind: str, empty: bytes, inner: bytes) -> Callable[[bytes], Any]:
    if kind.startswith(("set[", "vector[")):
        element = _zeek_type(kind.partition("[")[2].rstrip("]"), empty, inner)
        return lambda value: [] if value == empty else [element(part) for part in value.split(inner)]
    if kind in ("count", "int", "port"):
        return lambda value: int(value) if value.lstrip(b"-").isdigit() else _zeek_text(value)
    if kind == "bool":
        return lambda value: value == b"T"
    if kind == "time":
        # As text: a number would lose its last digits.
        return lambda value: value.decode("ascii", "replace")
    if kind in ("double", "interval"):
        return _zeek_number
    return lambda value: "" if value == empty else _zeek_text(value)


def _zeek_number(value: bytes) -> Any:
    try:
        return float(value)
    except ValueError:
        return _zeek_text(value)


def _zeek_text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return (
        re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text) if "\\x" in text else text
    )


def auditd(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Records of auditd as JSON, one for each. What an event's other records say of an execution is put on
    its SYSCALL record too: ``argv``, ``cwd`` and ``paths``."""
    event: list[dict[str, Any]] = []
    serial = b""
    for line in lines:
        line = line.strip()
        found = AUDIT.fullmatch(line)
        if found is None:
            if line:
                yield line
            continue
        node, kind, time, number, rest = found.groups()
        if number + time != serial:
            yield from _audit_event(event)
            event, serial = [], number + time
        record: dict[str, Any] = {
            "type": kind.decode("utf-8", "replace"),
            "time": time.decode(),
            "serial": int(number),
        }
        if node:
            record["node"] = node.decode("utf-8", "replace")
        event.append(record | _audit_fields(rest))
        if len(event) > 10_000:
            yield from _audit_event(event)
            event = []
    yield from _audit_event(event)


def _audit_fields(rest: bytes) -> dict[str, str]:
    """Keys with their values, the enriched ones behind the group separator too."""
    fields: dict[str, str] = {}
    for key, value in _PAIR.findall(rest.replace(b"\x1d", b" ")):
        name = key.decode()
        if value[:1] in (b'"', b"'"):
            text = value[1:-1]
            if name == "msg":
                fields = _audit_fields(text) | fields
                continue
        elif name in _HEX_FIELDS and len(value) > 3 and _HEX.fullmatch(value):
            text = bytes.fromhex(value.decode()).rstrip(b"\0").replace(b"\0", b" ")
        else:
            text = value
        fields[name] = text.decode("utf-8", "replace")
    return fields


def _audit_event(event: list[dict[str, Any]]) -> Iterator[bytes]:
    call = next((record for record in event if record["type"] == "SYSCALL"), None)
    if call is not None:
        for record in event:
            if record["type"] == "EXECVE":
                call["argv"] = " ".join(
                    _argument(record, number) for number in range(min(_count(record), 10_000))
                )
            elif record["type"] == "CWD":
                call["cwd"] = record.get("cwd", "")
            elif record["type"] == "PROCTITLE":
                call["proctitle"] = record.get("proctitle", "")
            elif record["type"] == "PATH":
                call.setdefault("paths", []).append(record.get("name", ""))
            elif record["type"] == "SOCKADDR":
                call |= {key: value for key, value in record.items() if key in ("saddr", "laddr", "lport")}
    yield from map(orjson.dumps, event)


def _count(record: Mapping[str, str]) -> int:
    return int(record["argc"]) if record.get("argc", "").isdigit() else 0


def _argument(record: Mapping[str, str], number: int) -> str:
    """An argument of EXECVE, which is hexadecimal where it has a blank or quote in it."""
    text = str(record.get(f"a{number}", ""))
    if len(text) > 3 and re.fullmatch(r"(?:[0-9A-F]{2})+", text):
        return bytes.fromhex(text).decode("utf-8", "replace")
    return text


def xml_events(lines: Iterable[bytes]) -> Iterator[bytes]:
    """``<Event>`` elements, one or several a line and behind whatever syslog puts before them, in the shape
    that the evtx package gives records."""
    waiting = b""
    for line in lines:
        waiting = (waiting + b" " + line if waiting else line).strip()
        while (start := waiting.find(b"<Event")) >= 0 and (end := waiting.find(b"</Event>", start)) >= 0:
            if waiting.startswith(b"<Events", start):
                waiting = waiting[start + 7 :]
                continue
            yield _event(waiting[start : end + 8])
            waiting = waiting[end + 8 :]
        if waiting and b"<Event" not in waiting:
            waiting = b""
        elif len(waiting) > 1 << 20:
            yield waiting[:4096]
            waiting = b""


def _event(text: bytes) -> bytes:
    """One element; text that is none is told as it is. Any document type, and so any entity, is refused."""
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        return text
    try:
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError:
        return text
    found: dict[str, Any] = {}
    for part in root:
        name = _tag(part)
        if name == "EventData":
            found[name] = {
                child.get("Name") or f"Data{place}": child.text or "" for place, child in enumerate(part)
            }
        else:
            found[name] = _element(part, 0)
    return orjson.dumps({"Event": found})


def _element(element: ElementTree.Element, depth: int) -> Any:
    if depth > 20:
        return ""
    attributes = {key.partition("}")[2] or key: value for key, value in element.attrib.items()}
    inner = {_tag(child): _element(child, depth + 1) for child in element}
    text = (element.text or "").strip()
    if not attributes and not inner:
        return text
    return ({"#attributes": attributes} if attributes else {}) | inner | ({"#text": text} if text else {})


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
