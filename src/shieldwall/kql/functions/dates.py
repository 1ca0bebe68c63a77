"""Dates and times: the moment of the query, parts of a date, starts and ends of periods, differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.arithmetic import arithmetic
from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import ticks_datetime
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded, coerce, declare, text_constant
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import DAY, Value, constant, convert, from_ticks, made, ticks_of

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

TICKS = {
    "week": 7 * DAY,
    "day": DAY,
    "hour": 36_000_000_000,
    "minute": 600_000_000,
    "second": 10_000_000,
    "millisecond": 10_000,
    "microsecond": 10,
}
"""Parts of a date of the same length always, in ticks. Weeks begin on Sundays."""
SUNDAY = 4 * DAY
"""From the last Sunday before 1970 to 1970, in ticks."""

NAMED_AFTER_ARGUMENT.add("startofday")

declare("""
hourofday(datetime) -> int | toInt32(toHour({0}))
dayofmonth(datetime) -> int | toInt32(toDayOfMonth({0}))
dayofyear(datetime) -> int | toInt32(toDayOfYear({0}))
monthofyear(datetime) -> int | toInt32(toMonth({0}))
getmonth(datetime) -> int | toInt32(toMonth({0}))
getyear(datetime) -> int | toInt32(toYear({0}))
dayofweek(datetime) -> timespan | toInt64(toDayOfWeek({0}) % 7 * 864000000000)
week_of_year(datetime) -> int | toInt32(toISOWeek({0}))
weekofyear(datetime) -> int | toInt32(toISOWeek({0} + toIntervalDay(1)))
""")


def moment(binder: Binder) -> Value:
    """The moment of the query."""
    if "query_now" in binder.compiler.options and (given := binder.option("query_now")) is not None:
        return convert(given, "datetime")
    return constant("datetime", ticks_datetime(binder.compiler.now))


@coded("now")
def now(binder: Binder, call: Call, args: list[Value]) -> Value:
    offset = bound(binder, call, 0, 1)
    if not offset:
        return moment(binder)
    return arithmetic("+", moment(binder), convert(offset[0], "timespan", call.at), call.at)


@coded("ago")
def ago(binder: Binder, call: Call, args: list[Value]) -> Value:
    (span,) = bound(binder, call, 1)
    return arithmetic("-", moment(binder), convert(span, "timespan", call.at), call.at)


def floored(ticks: str, size: int | str, shift: int = 0) -> str:
    """SQL of ticks without what is beyond a multiple of ``size``, counted from ``shift`` before zero."""
    return f"{ticks} - positiveModulo({f'{ticks} + {shift}' if shift else ticks}, {size})"


def _start(part: str, date: str, offset: str) -> str:
    """SQL of the ticks at which a period begins, ``offset`` periods later."""
    ticks = ticks_of(date)
    if part == "day":
        return f"{floored(ticks, DAY)} + {offset} * {DAY}"
    if part == "week":
        return f"{floored(ticks, 7 * DAY, SUNDAY)} + {offset} * {7 * DAY}"
    number = "toDayOfMonth" if part == "month" else "toDayOfYear"
    first = f"{floored(ticks, DAY)} - ({number}({date}) - 1) * {DAY}"
    if offset == "0":
        return first
    add = "addMonths" if part == "month" else "addYears"
    return ticks_of(f"{add}({from_ticks(first)}, {offset})")


@coded(*(f"{edge}of{part}" for edge in ("start", "end") for part in ("day", "week", "month", "year")))
def period(binder: Binder, call: Call, args: list[Value]) -> Value:
    """Where the period of a date begins, or its last tick."""
    date, *more = bound(binder, call, 1, 2)
    values = [coerce(date, "datetime", call, 0), *(coerce(value, "long", call, 1) for value in more)]
    offset = values[1].sql if more else "0"
    edge, _, part = call.name.partition("of")
    if edge == "start":
        ticks = _start(part, values[0].sql, offset)
    else:
        ticks = f"{_start(part, values[0].sql, f'({offset} + 1)' if more else '1')} - 1"
    return made("datetime", from_ticks(ticks), *values)


_PARTS = {
    "year": "toYear({0})",
    "quarter": "toQuarter({0})",
    "month": "toMonth({0})",
    "week_of_year": "toISOWeek({0})",
    "weekofyear": "toISOWeek({0})",
    "day": "toDayOfMonth({0})",
    "dayofyear": "toDayOfYear({0})",
    "hour": "toHour({0})",
    "minute": "toMinute({0})",
    "second": "toSecond({0})",
    "millisecond": "intDiv(positiveModulo(reinterpretAsInt64({0}), 10000000), 10000)",
    "microsecond": "intDiv(positiveModulo(reinterpretAsInt64({0}), 10000000), 10)",
    "nanosecond": "positiveModulo(reinterpretAsInt64({0}), 10000000) * 100",
}


def _part(binder: Binder, call: Call, known: object) -> str:
    name = text_constant(binder.bind(call.args[0]), call, "the part").lower()
    if name not in known:  # type: ignore[operator]
        raise KqlError(f"{call.name}(): '{name}' is no part of a date.", call.at, "SEM0240")
    return name


@coded("datetime_part", "datepart")
def datetime_part(binder: Binder, call: Call, args: list[Value]) -> Value:
    _, date = bound(binder, call, 2)
    part = _part(binder, call, _PARTS)
    date = coerce(date, "datetime", call, 1)
    return made("int", f"toInt32({_PARTS[part].format(date.sql)})", date)


_DIFFERENCES = ("year", "quarter", "month", *TICKS, "nanosecond")


def _count(part: str, date: str) -> str:
    """SQL of how many parts have begun since some moment."""
    if part == "year":
        return f"toInt64(toYear({date}))"
    if part == "quarter":
        return f"(toYear({date}) * 4 + toQuarter({date}))"
    if part == "month":
        return f"(toYear({date}) * 12 + toMonth({date}))"
    ticks = ticks_of(date)
    if part == "nanosecond":
        return f"({ticks} * 100)"
    size = TICKS[part]
    if part == "week":
        ticks = f"({ticks} + {SUNDAY})"
    return f"intDiv({floored(ticks, size)}, {size})"


@coded("datetime_diff")
def datetime_diff(binder: Binder, call: Call, args: list[Value]) -> Value:
    """How often a part of the date begins anew between two moments; negative if the first one is earlier."""
    _, first, second = bound(binder, call, 3)
    part = _part(binder, call, _DIFFERENCES)
    first, second = coerce(first, "datetime", call, 1), coerce(second, "datetime", call, 2)
    return made("long", f"toInt64({_count(part, first.sql)} - {_count(part, second.sql)})", first, second)


@coded("datetime_add")
def datetime_add(binder: Binder, call: Call, args: list[Value]) -> Value:
    _, amount, date = bound(binder, call, 3)
    part = _part(binder, call, _DIFFERENCES)
    amount, date = coerce(amount, "long", call, 1), coerce(date, "datetime", call, 2)
    if part in ("year", "quarter", "month"):
        return made("datetime", f"add{part.capitalize()}s({date.sql}, {amount.sql})", amount, date)
    ticks = f"{amount.sql} * {TICKS[part]}" if part != "nanosecond" else f"intDiv({amount.sql}, 100)"
    return made("datetime", from_ticks(f"{ticks_of(date.sql)} + {ticks}"), amount, date)
