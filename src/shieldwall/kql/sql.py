"""Writing ClickHouse SQL: the only place where a value or a name becomes text of a statement."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from zlib import crc32

from shieldwall.kql.types import SQL_TYPES

_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"})


def quote(text: str) -> str:
    """A string literal."""
    return f"'{text.translate(_ESCAPES)}'"


@lru_cache(8192)
def name(text: str) -> str:
    """An identifier."""
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def ref(column: str, alias: str = "q") -> str:
    """A column of the relation ``alias``."""
    return f"{alias}.{name(column)}"


def null(kind: str) -> str:
    """The null of a type; a string has none, and is empty."""
    return "''" if kind in ("string", "dynamic") else f"CAST(NULL AS {SQL_TYPES[kind]})"


def literal(kind: str, value: Any) -> str:
    """A value of a Kusto type: as Python's own, ticks for timespan, text for datetime, guid and dynamic."""
    if value is None:
        return null(kind)
    if kind in ("string", "dynamic"):
        return quote(value)
    if kind == "bool":
        return "true" if value else "false"
    if kind in ("int", "long", "timespan"):
        return f"toInt64('{value}')" if abs(value) > 1 << 62 else (f"({value})" if value < 0 else str(value))
    if kind == "real":
        if math.isnan(value) or math.isinf(value):
            return "nan" if math.isnan(value) else ("inf" if value > 0 else "(-inf)")
        text = repr(float(value))
        return f"({text})" if value < 0 else text
    if kind == "datetime":
        return f"toDateTime64({quote(value)}, 7, 'UTC')"
    if kind == "guid":
        return f"toUUID({quote(value)})"
    return f"toDecimal128OrNull({quote(str(value))}, 17)"


def once(text: str, body: Callable[[str], str]) -> str:
    """SQL that names a text several times: what ``body`` makes of it. A call in it is computed once."""
    if "(" not in text:
        return body(text)
    bound = f"v{crc32(text.encode()):x}"
    return f"arrayMap({bound} -> {body(bound)}, [{text}])[1]"
