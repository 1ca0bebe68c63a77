"""The body of a request as alerts: one or many, in the format that is named or told by the records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shieldwall.detection.external import schema
from shieldwall.detection.external.formats.base import Format
from shieldwall.detection.external.formats.registry import FORMATS
from shieldwall.detection.external.mapping import Mapped
from shieldwall.detection.external.schema import ExternalAlert, FieldError
from shieldwall.errors import ApiError, bad_request

ITEMS_LIMIT = 500
RECORD_BYTES = 256 << 10
DEPTH = 32
RAW_BYTES = 32 << 10
"""Most bytes of a record that are kept as they came."""

OURS = FORMATS["shieldwall"]


@dataclass(frozen=True)
class Item:
    """One alert that was read, or why it could not be. ``place`` says where in the body it was."""

    place: str
    format: str = ""
    alert: ExternalAlert | None = None
    error: FieldError | None = None
    digest: str = ""
    """Of the content, so that the same content is known again."""
    raw: str = ""


@dataclass(frozen=True)
class _Record:
    place: str
    value: Any = None
    error: FieldError | None = None


def find_format(name: str, content_type: str) -> Format | None:
    """The format that a request names; None where it names none. ApiError 400 for an unknown one."""
    if name:
        found = FORMATS.get(name.strip().lower())
        if found is None:
            raise bad_request(f"format must be one of {', '.join(FORMATS)}.", "InvalidInput")
        return found
    kind = content_type.partition(";")[0].strip().lower()
    return next((each for each in FORMATS.values() if kind in each.content_types), None)


def read(content: bytes, named: Format | None) -> tuple[list[Item], bool]:
    """The alerts of a body in their order, and whether it is a batch.

    A body is one record or a list of them, an object with ``alerts`` or ``records`` (the latter with
    ``format``), JSON lines, or lines of text. ApiError 400 for a body that is none of these or has too many.
    """
    records, batch, named = _records(content, named)
    if len(records) > ITEMS_LIMIT:
        raise _too_many(len(records))
    items: list[Item] = []
    for record in records:
        items += _items(record, named)
        if len(items) > ITEMS_LIMIT:
            raise _too_many(len(items))
    return items, batch or len(items) > 1


def _too_many(count: int) -> ApiError:
    return bad_request(
        f"The batch has {count} alerts, {ITEMS_LIMIT} are allowed.", "MaximumBatchSizeExceeded"
    )


def _records(content: bytes, named: Format | None) -> tuple[list[_Record], bool, Format | None]:
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    if not content:
        raise bad_request("The body is empty.", "InvalidRequestBody")
    if named is not None and named.parse_line is not None and content[:1] not in b"[{":
        return _lines(content, named), b"\n" in content, named
    if content[:1] not in b"[{":
        return _lines(content, named), b"\n" in content, named
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if content[:1] == b"{" and b"\n" in content:
            return _json_lines(content), True, named
        raise bad_request(f"The body is no JSON: {error}.", "InvalidRequestBody") from None
    if isinstance(body, list):
        return _numbered(body), True, named
    if isinstance(body.get("records"), list) and body.keys() <= {"format", "records"}:
        name = body.get("format", "")
        if not isinstance(name, str):
            raise bad_request("format must be a text.", "InvalidRequestBody")
        return _numbered(body["records"]), True, find_format(name, "") or named
    if isinstance(body.get("alerts"), list) and body.keys() == {"alerts"}:
        return _numbered(body["alerts"]), True, named
    return [_Record("", body)], False, named


def _numbered(values: list[Any]) -> list[_Record]:
    return [_Record(f"item {number}", value) for number, value in enumerate(values, 1)]


def _json_lines(content: bytes) -> list[_Record]:
    records = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(_Record(f"line {number}", orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            records.append(_Record(f"line {number}", error=FieldError("", f"is no JSON: {error}")))
    return records


def _lines(content: bytes, named: Format | None) -> list[_Record]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"The body is no UTF-8: byte {error.start}.", "InvalidRequestBody") from None
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return [_Record(f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]


def _items(record: _Record, named: Format | None) -> Iterator[Item]:
    if record.error is not None:
        yield Item(record.place, error=record.error)
        return
    form: Format | None = named
    try:
        raw = _bounded(record.value)
        form = named or _recognised(record.value)
        value = _parsed(record.value, form)
        found = list(_read(form, value))
    except FieldError as error:
        yield Item(record.place, form.name if form else "", error=error)
        return
    for number, each in enumerate(found, 1):
        place = record.place if len(found) == 1 else f"{record.place} sighting {number}".strip()
        try:
            alert = schema.read(each.body)
        except FieldError as error:
            named_error = FieldError(each.name_of(error.field), error.message)
            yield Item(place, form.name, error=named_error)
            continue
        content = raw if len(found) == 1 else _dumped(each.body)
        digest = hashlib.sha256(content).hexdigest()
        yield Item(place, form.name, alert, digest=digest, raw=_cut(raw))


def _read(form: Format, value: Mapping[str, Any]) -> list[Mapped]:
    try:
        return list(form.read(value))
    except FieldError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError):
        raise FieldError("", f"has a value of a type that {form.title} does not have there") from None


def _parsed(value: Any, form: Format) -> Mapping[str, Any]:
    if isinstance(value, str) and form.parse_line is not None:
        return form.parse_line(value)
    if not isinstance(value, dict):
        raise FieldError("", f"is no {'line' if form.parse_line else 'object'} of {form.title}")
    return value


def _recognised(value: Any) -> Format:
    """The one format that a record is of; what no format knows is read as ours, which says what it lacks."""
    if isinstance(value, str):
        head = value[:512]
        found = [form for form in FORMATS.values() if any(mark in head for mark in form.marks)]
    elif isinstance(value, dict):
        found = [form for form in FORMATS.values() if form.recognises(value)]
    else:
        raise FieldError("", "is no alert")
    if len(found) > 1:
        raise FieldError("format", f"could be {' or '.join(form.name for form in found)}: name it")
    if not found and isinstance(value, str):
        raise FieldError("format", f"is not told by the line: name one of {', '.join(FORMATS)}")
    return found[0] if found else OURS


def _bounded(value: Any) -> bytes:
    """The record in one form; FieldError names what is too deep or too large."""
    if isinstance(value, str):
        # What syslog puts before a line differs with the way that it took.
        marks = [mark for form in FORMATS.values() for mark in form.marks if mark in value[:512]]
        content = value[min(map(value.index, marks)) if marks else 0 :].encode()
        if len(content) > RECORD_BYTES:
            raise FieldError("", f"has {len(content)} bytes, {RECORD_BYTES} are allowed")
        return content
    if deep := _too_deep(value):
        raise FieldError(deep, f"is nested more than {DEPTH} levels deep")
    content = _dumped(value)
    if len(content) > RECORD_BYTES:
        fields = value if isinstance(value, dict) else {}
        largest = max(fields, key=lambda name: len(_dumped(fields[name])), default="")
        size = len(_dumped(fields[largest])) if largest else len(content)
        raise FieldError(largest[:200], f"has {size} bytes; a record may have {RECORD_BYTES} in all")
    return content


def _too_deep(value: Any) -> str | None:
    """The top-level field under which a value is nested too deeply."""
    fields = value.items() if isinstance(value, dict) else [("", value)]
    for name, field in fields:
        waiting = [(field, 1)]
        while waiting:
            part, depth = waiting.pop()
            if isinstance(part, dict | list):
                if depth >= DEPTH:
                    return name[:200] or "value"
                below = part.values() if isinstance(part, dict) else part
                waiting.extend((each, depth + 1) for each in below)
    return None


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _cut(raw: bytes) -> str:
    # An escape that the cut goes through must not make an invalid text.
    return raw[:RAW_BYTES].decode(errors="ignore").replace("\x00", "")
