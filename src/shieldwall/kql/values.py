"""Typed scalar values: SQL with a Kusto type, and conversions between the types."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shieldwall.kql import literals, sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.reading import BOUNDS, bounded, constant_from_text, from_text
from shieldwall.kql.relation import Column
from shieldwall.kql.types import NUMERIC


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
"""What ``constant`` is of a value that differs from row to row."""
NO_COLUMNS: frozenset[Column] = frozenset()
MAX_CHEAP = 400
"""Characters of SQL that are not worth a column."""


@dataclass(slots=True)
class Value:
    """SQL of a Kusto type. A string or dynamic is never NULL in it; an empty dynamic is null."""

    type: str
    sql: str
    deps: frozenset[Column] = NO_COLUMNS
    constant: Any = UNKNOWN
    name: str = ""
    """What a column made of it is called when nothing else says."""
    refers: bool = False
    """Whether it is what the name of a column stands for."""
    indexed: bool = False
    aggregate: bool = False
    window: bool = False
    json: str = ""
    """For a dynamic: SQL of unchecked JSON text that its members may be read from directly."""
    path: tuple[str, ...] = ()
    """For a dynamic: where in ``json`` it lies, as arguments of the JSON functions."""
    string: str = ""
    """For a dynamic: SQL of the string that it holds, if it is known to hold one or null."""
    reader: Callable[[str], Value | None] | None = None
    """For a dynamic: gives a member by SQL of its key or place, as `member` does, without reading JSON."""
    where: str = ""
    """For a bool: SQL that may stand for it where null counts as false."""
    held: tuple[str, str] = ("", "")
    """For a bool that says no more than that one text holds another, whatever its case: SQL of the two."""
    parts: tuple[Value, ...] = ()
    """The values of a call that gives several columns."""

    @property
    def condition(self) -> str:
        return self.where or self.sql

    @property
    def is_column(self) -> bool:
        """Whether it is just a column."""
        return len(self.deps) == 1 and self.sql.endswith("`") and "(" not in self.sql.split("`")[0]

    @property
    def is_cheap(self) -> bool:
        """Whether it may as well be written again as read from a column."""
        read = self.json or self.reader or self.string
        return self.is_constant or (bool(read) and len(self.sql) < MAX_CHEAP)

    def sortable(self) -> Value:
        """A dynamic as what it sorts by."""
        return to_string(self)

    @property
    def is_constant(self) -> bool:
        return self.constant is not UNKNOWN

    @property
    def is_null(self) -> bool:
        return self.constant is None


def constant(kind: str, value: Any) -> Value:
    return Value(kind, sql.literal(kind, value), NO_COLUMNS, value)


def made(kind: str, text: str, *of: Value, **more: Any) -> Value:
    """A value computed from others."""
    deps = of[0].deps if len(of) == 1 else frozenset().union(*(value.deps for value in of))
    return Value(
        kind,
        text,
        deps,
        aggregate=any(value.aggregate for value in of),
        window=any(value.window for value in of),
        **more,
    )


def to_string(value: Value) -> Value:
    """As ``tostring`` writes it; empty for null."""
    kind = value.type
    if kind == "string":
        return value
    if kind == "dynamic":
        if value.string:
            return made("string", value.string, value)
        if value.path:
            return made("string", f"JSONExtractString({', '.join((value.json, *value.path))})", value)
        return made("string", f"JSONExtractString({value.sql})", value)
    if value.is_null:
        return constant("string", "")
    if value.is_constant and (held := _constant_text(kind, value.constant)) is not None:
        return constant("string", held)
    if kind == "datetime":
        text = f"concat(replaceOne(toString({value.sql}), ' ', 'T'), 'Z')"
    elif kind == "timespan":
        text = timespan_text(value.sql)
    elif kind == "bool":
        text = f"if({value.sql}, 'True', 'False')"
        return made("string", f"if(isNull({value.sql}), '', {text})", value)
    elif kind == "real":
        text = real_text(value.sql)
    else:
        text = f"toString({value.sql})"
    return made("string", f"ifNull({text}, '')", value)


def _constant_text(kind: str, held: Any) -> str | None:
    """How ``tostring`` writes a constant; None if that is left to ClickHouse."""
    if kind == "datetime":
        return f"{held[:10]}T{held[11:]}Z"
    if kind == "timespan":
        return literals.timespan_text(held)
    if kind == "real":
        return repr(held) if 1e-4 <= abs(held) < 1e15 else None
    return None if kind == "decimal" else str(held)


def real_text(text: str) -> str:
    """A real as Kusto writes it: whole numbers with ``.0``."""
    plain = f"toString({text})"
    return (
        f"multiIf(isNaN({text}), 'NaN', isInfinite({text}), if({text} > 0, 'Infinity', '-Infinity'), "
        f"match({plain}, '[.eE]'), {plain}, concat({plain}, '.0'))"
    )


def timespan_text(text: str) -> str:
    """``[-][d.]hh:mm:ss[.fffffff]`` of ticks."""
    ticks = f"abs({text})"
    day = f"if({ticks} >= 864000000000, concat(toString(intDiv({ticks}, 864000000000)), '.'), '')"

    def part(size: int, modulus: int) -> str:
        return f"leftPad(toString(intDiv({ticks}, {size}) % {modulus}), 2, '0')"

    fraction = f"if({ticks} % 10000000 != 0, concat('.', leftPad(toString({ticks} % 10000000), 7, '0')), '')"
    return (
        f"concat(if({text} < 0, '-', ''), {day}, {part(36_000_000_000, 24)}, ':', "
        f"{part(600_000_000, 60)}, ':', {part(10_000_000, 60)}, {fraction})"
    )


def to_json(value: Value) -> str:
    """SQL of the JSON text of a value, ``null`` for null."""
    kind = value.type
    if kind == "dynamic":
        text = to_dynamic(value).sql
        return text if value.is_constant and value.constant else f"if({text} = '', 'null', {text})"
    if value.is_null:
        return "'null'"
    if kind in ("string", "guid"):
        inner = value.sql if kind == "string" else f"toString({value.sql})"
        return f"toJSONString({inner})" if kind == "string" else f"ifNull(toJSONString({inner}), 'null')"
    if kind == "bool":
        return f"multiIf(isNull({value.sql}), 'null', {value.sql}, 'true', 'false')"
    if kind in ("datetime", "timespan"):
        return f"if(isNull({value.sql}), 'null', concat('\"', {to_string(value).sql}, '\"'))"
    if kind == "real":
        return (
            f"multiIf(isNull({value.sql}), 'null', isNaN({value.sql}), '\"NaN\"', isInfinite({value.sql}), "
            f"if({value.sql} > 0, '\"Infinity\"', '\"-Infinity\"'), assumeNotNull({real_text(value.sql)}))"
        )
    return f"ifNull(toString({value.sql}), 'null')"


def to_dynamic(value: Value) -> Value:
    """Any value as a dynamic."""
    if value.type == "dynamic":
        return value
    if value.is_null:
        return constant("dynamic", None)
    text = to_json(value)
    return made("dynamic", text if value.type == "string" else f"if({text} = 'null', '', {text})", value)


def member(value: Value, index: str) -> Value:
    """A member of a dynamic by SQL of its key or of its position, from 1, or negative from the end."""
    if value.reader is not None and (found := value.reader(index)) is not None:
        return found
    json, path = (value.json, (*value.path, index)) if value.json else (value.sql, (index,))
    raw = f"JSONExtractRaw({', '.join((json, *path))})"
    return made("dynamic", f"if({raw} = 'null', '', {raw})", value, json=json, path=path)


def _held(item: Any) -> tuple[str, Any]:
    """The type and value of what a dynamic holds."""
    kind = _JSON_TYPES.get(type(item), "")
    if kind == "long" and bounded(kind, item) is None:
        kind = "real"
    return kind, item


_JSON_TYPES = {str: "string", bool: "bool", int: "long", float: "real"}


def _constant_as(kind: str, have: str, held: Any) -> Any:
    """A constant of type ``have`` as one of ``kind``, or UNKNOWN if that is left to ClickHouse."""
    if have == "dynamic":
        have, held = _held(json.loads(held))
    if have == "string":
        return constant_from_text(kind, held)
    if have not in ("int", "long", "real", "bool", "timespan") or (
        have == "real" and not math.isfinite(held)
    ):
        return UNKNOWN
    if kind in BOUNDS:
        return bounded(kind, int(held))
    if kind == "real":
        return float(held)
    if kind == "bool" and have != "timespan":
        return held != 0
    if kind == "timespan" and have != "bool":
        ticks = held * DAY if have == "real" else held
        return bounded("long", round(ticks)) if math.isfinite(ticks) else None
    return UNKNOWN


def convert(value: Value, kind: str, at: int = 0) -> Value:
    """As ``toint``, ``tostring`` and their like convert: NULL where it cannot be."""
    have = value.type
    if have == kind:
        return value
    if kind == "string":
        return to_string(value)
    if kind == "dynamic":
        return to_dynamic(value)
    if value.is_null:
        return constant(kind, None)
    if value.is_constant and (held := _constant_as(kind, have, value.constant)) is not UNKNOWN:
        return constant(kind, held)
    if have == "dynamic":
        text = to_string(value).sql
        if kind in BOUNDS:
            size = "Int32" if kind == "int" else "Int64"
            cut = f"accurateCastOrNull(trunc(toFloat64OrNull({text})), '{size}')"
            return made(kind, f"coalesce(to{size}OrNull({text}), {cut})", value)
        return made(kind, from_text(kind, text), value)
    if have == "string":
        return made(kind, from_text(kind, value.sql), value)
    if (converted := _between(kind, have, value.sql)) is None:
        raise KqlError(f"A {have} cannot become a {kind}.", at)
    return made(kind, converted, value)


def _between(kind: str, have: str, text: str) -> str | None:
    """SQL of a value as another type, neither of them text; None if that makes no sense."""
    number = have in (*NUMERIC, "bool")
    if kind in BOUNDS:
        size = "Int32" if kind == "int" else "Int64"
        if have == "real":
            return f"accurateCastOrNull(trunc({text}), '{size}')"
        if have == "decimal":
            return f"to{size}OrNull(toString(trunc({text})))"
        if have == "datetime":
            text, have = f"({ticks_of(text)} + {EPOCH_TICKS})", "long"
        if have in ("long", "timespan", "bool", "int"):
            if kind == "int" and have in ("long", "timespan"):
                return f"accurateCastOrNull({text}, 'Int32')"
            return f"to{size}({text})" if have == "bool" else text
    if kind in ("real", "decimal") and (number or have in ("timespan", "datetime")):
        text = f"({ticks_of(text)} + {EPOCH_TICKS})" if have == "datetime" else text
        return f"toFloat64({text})" if kind == "real" else f"toDecimal128OrNull(toString({text}), 17)"
    if kind == "bool" and number:
        return f"({text} != 0)"
    if kind == "timespan" and number:
        if have in ("real", "decimal"):
            return f"accurateCastOrNull(round(toFloat64({text}) * {DAY}), 'Int64')"
        return f"toInt64({text})"
    if kind == "datetime" and have in ("int", "long"):
        return from_ticks(f"({text} - {EPOCH_TICKS})")
    return None


def wire_text(value: Value) -> str:
    """SQL of a value as results show it: datetimes as ISO 8601, timespans as clock, dynamics as JSON text."""
    kind, text = value.type, value.sql
    if kind == "datetime":
        return f"concat(replaceOne(toString({text}), ' ', 'T'), 'Z')"
    if kind == "timespan":
        return timespan_text(text)
    if kind == "bool":
        return f"CAST({text} AS Nullable(Bool))"
    if kind in ("guid", "decimal"):
        return f"toString({text})"
    if kind == "dynamic":
        return f"nullIf({text}, '')"
    return text


EPOCH_TICKS = 621355968000000000
"""Ticks from year 1 to 1970."""
DAY = 864_000_000_000
"""Ticks."""


def ticks_of(text: str) -> str:
    """Ticks since 1970 of SQL of a datetime."""
    return f"reinterpretAsInt64({text})"


def from_ticks(text: str) -> str:
    """The datetime that lies SQL of ticks after 1970."""
    return f"reinterpret(toInt64({text}), 'DateTime64(7, \\'UTC\\')')"
