"""CEF and LEEF: a line with a header of fields between bars, then keys with values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shieldwall.detection.external.mapping import text
from shieldwall.detection.external.schema import FieldError

KEYS_LIMIT = 500
_TIMES = (
    "%b %d %Y %H:%M:%S",
    "%b %d %Y %H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
)
_ZONE = re.compile(r"\s+(UTC|GMT|Z)$")


def header(line: str, mark: str, count: int) -> tuple[list[str], str]:
    """The ``count`` fields behind ``mark``, whatever stands before it, and the rest of the line."""
    start = line.find(mark)
    if start < 0:
        raise FieldError("", f"has no {mark}")
    fields: list[str] = []
    current: list[str] = []
    letters = iter(range(start + len(mark), len(line)))
    for position in letters:
        letter = line[position]
        if letter == "\\" and line[position + 1 : position + 2] in ("|", "\\"):
            current.append(line[position + 1])
            next(letters)
        elif letter == "|":
            fields.append("".join(current).strip())
            current = []
            if len(fields) == count:
                return fields, line[position + 1 :]
        else:
            current.append(letter)
    raise FieldError("", f"has {len(fields)} of the {count} fields of its header")


def moment(value: Any) -> Any:
    """A time in one of the formats that such lines have; as it is where it is another."""
    plain = _ZONE.sub("", text(value))
    if plain.isdecimal() and len(plain) < 17:
        return int(plain)
    for form in _TIMES:
        try:
            return datetime.strptime(plain, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return plain or None


def digits(value: Any) -> str:
    """The kind of a hash by its length; ``""`` for what is none."""
    found = text(value).strip().lower()
    if not re.fullmatch("[0-9a-f]+", found):
        return ""
    return {32: "md5", 40: "sha1", 64: "sha256"}.get(len(found), "")


def bounded(found: Mapping[str, str]) -> dict[str, str]:
    if len(found) > KEYS_LIMIT:
        raise FieldError("", f"has {len(found)} keys, {KEYS_LIMIT} are allowed")
    return dict(found)
