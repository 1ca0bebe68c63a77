"""Dates and timespans made of numbers."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import SECOND, ticks_datetime
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import DAY, Value, constant, convert, from_ticks, made, ticks_of

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

HOUR, MINUTE = 36_000_000_000, 600_000_000
"""Ticks."""
YEARS = (-62_135_596_800, 253_402_300_799)
"""The first and the last second there are, since 1970."""


@coded("make_datetime")
def make_datetime(binder: Binder, call: Call, args: list[Value]) -> Value:
    """Of year, month, day, and hour, minute and second, which may have a fraction; null if there is none."""
    values = bound(binder, call, 1, 6)
    if len(values) == 1:
        found = convert(values[0], "datetime", call.at)
        found.name = values[0].name
        return found
    if len(values) == 2:
        raise KqlError("make_datetime() takes a year, a month and a day.", call.at, "SEM0219")
    kinds = ("long", "long", "long", "long", "long", "real")
    values = [
        coerce(value, kind, call, n) for n, (value, kind) in enumerate(zip(values, kinds, strict=False))
    ]
    if all(value.is_constant for value in values):
        return constant("datetime", _datetime([value.constant for value in values]))
    texts = [value.sql for value in values] + ["0"] * (6 - len(values))
    year, month, day, hour, minute, second = texts
    limits = zip(texts[:5], ((1, 9999), (1, 12), (1, 31), (0, 23), (0, 59)), strict=True)
    inside = " AND ".join(f"{text} BETWEEN {low} AND {high}" for text, (low, high) in limits)
    date = ", '-', ".join(
        f"leftPad(toString({text}), {width}, '0')" for text, width in ((year, 4), (month, 2), (day, 2))
    )
    start = ticks_of(f"parseDateTime64BestEffortOrNull(concat({date}), 7, 'UTC')")
    # A second that is none is made null before it becomes a whole number.
    rest = f"toInt64(round(if({second} >= 0 AND {second} < 60, {second}, NULL) * {SECOND}))"
    ticks = f"{start} + {hour} * {HOUR} + {minute} * {MINUTE} + {rest}"
    return made("datetime", from_ticks(f"if({inside}, {ticks}, NULL)"), *values)


def _datetime(parts: list[float | None]) -> str | None:
    """The constant of these parts."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    year, month, day, hour, minute, second = (*known, 0, 0, 0)[:6]
    try:
        start = datetime(int(year), int(month), int(day), int(hour), int(minute))
    except (ValueError, OverflowError):
        return None
    if not 0 <= second < 60:
        return None
    span = start - datetime(1970, 1, 1)
    return ticks_datetime((span.days * 86400 + span.seconds) * SECOND + round(second * SECOND))


@coded("make_timespan")
def make_timespan(binder: Binder, call: Call, args: list[Value]) -> Value:
    """Of hours and minutes, and seconds, and before all of them days."""
    values = bound(binder, call, 1, 4)
    if len(values) == 1:
        found = convert(values[0], "timespan", call.at)
        found.name = values[0].name
        return found
    units = (DAY, HOUR, MINUTE, SECOND)[-4 if len(values) == 4 else -3 :]
    parts: list[Value] = []
    for number, (value, unit) in enumerate(zip(values, units, strict=False)):
        seconds = unit == SECOND
        part = coerce(value, "real" if seconds else "long", call, number)
        text = f"{part.sql} * {unit}"
        parts.append(
            made("timespan", f"accurateCastOrNull(round({text}), 'Int64')" if seconds else text, part)
        )
    amounts = [convert(value, "real").constant for value in values]
    if all(isinstance(amount, float) and math.isfinite(amount) for amount in amounts):
        return constant(
            "timespan", sum(round(amount * unit) for amount, unit in zip(amounts, units, strict=False))
        )
    return made("timespan", f"({' + '.join(part.sql for part in parts)})", *values)


_UNIX = {"seconds": SECOND, "milliseconds": 10_000, "microseconds": 10, "nanoseconds": 0}
"""Ticks; a nanosecond is less than one."""


@coded(*(f"unixtime_{unit}_todatetime" for unit in _UNIX))
def unixtime(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The datetime so long after 1970; null if it is beyond all years."""
    (value,) = bound(binder, call, 1)
    value = coerce(value, "number", call, 0)
    if value.type == "decimal":
        value = convert(value, "real")
    if value.is_null:
        return constant("datetime", None)
    ticks = _UNIX[call.name.split("_")[1]]
    least, most = -(1 << 63), (1 << 63) - 1
    if ticks:
        least, most = (second * SECOND // ticks for second in YEARS)
    held = value.constant
    if isinstance(held, int | float):
        if not least <= held <= most:
            return constant("datetime", None)
        return constant("datetime", ticks_datetime(round(held * ticks) if ticks else int(held) // 100))
    inside = sql.once(
        value.sql, lambda text: f"if({text} BETWEEN {least} AND {most}, {_scaled(text, ticks, value)}, NULL)"
    )
    return made("datetime", from_ticks(inside), value)


def _scaled(text: str, ticks: int, value: Value) -> str:
    """SQL of a number of units as ticks."""
    if value.type == "real":
        return f"toInt64(round({text} * {ticks}))" if ticks else f"toInt64(floor({text} / 100))"
    return f"{text} * {ticks}" if ticks else f"intDiv({text}, 100)"
