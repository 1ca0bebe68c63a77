"""Arrays that are made of a rule: range and repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.arrays import whole
from shieldwall.kql.functions.dynamics import array_of
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.lexer import TICKS
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, constant, convert, from_ticks, made, ticks_of, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

MOST = 1_048_576
"""Members of an array that range or repeat makes."""


@coded("range")
def range_(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Numbers, times or timespans from one to another, by steps of 1 or an hour."""
    start, stop, *steps = bound(binder, call, 2, 3)
    kind = start.type if start.type != "dynamic" else stop.type if stop.type != "dynamic" else "long"
    start, stop = convert(start, kind, call.at), stop if stop.type != "dynamic" else convert(stop, kind)
    if kind in ("datetime", "timespan"):
        step = convert(steps[0], "timespan", call.at) if steps else constant("timespan", TICKS["h"])
        stop = convert(stop, kind, call.at)
    elif kind in NUMERIC and stop.type in NUMERIC:
        step = coerce(steps[0], "number", call, 2) if steps else constant("long", 1)
        if {"real", "decimal"} & {kind, stop.type, step.type}:
            kind = "real"
            start, stop, step = (convert(value, "real", call.at) for value in (start, stop, step))
    else:
        raise KqlError(f"range() does not go from a {start.type} to a {stop.type}.", call.at, "SEM0231")
    first, last = (ticks_of(v.sql) if kind == "datetime" else v.sql for v in (start, stop))
    # The members are counted in floating point: a long's difference may be too long for a long.
    count = f"floor((toFloat64({last}) - toFloat64({first})) / toFloat64(nullIf({step.sql}, 0))) + 1"
    places = f"range(toUInt32(greatest(least(ifNull({count}, 0), {MOST}), 0)))"
    member = f"assumeNotNull({first}) + i * assumeNotNull({step.sql})"
    if kind in ("int", "long"):
        text = f"toJSONString(arrayMap(i -> toInt64({member}), {places}))"
    else:
        value = Value(kind, from_ticks(member) if kind == "datetime" else f"({member})")
        if kind == "timespan":
            value.sql = f"toInt64({member})"
        text = array_of(f"arrayMap(i -> {to_json(value)}, {places})")
    known = f"isNull({first}) OR isNull({last}) OR isNull(nullIf({step.sql}, 0))"
    return made("dynamic", f"if({known}, '', {text})", start, stop, step)


@coded("repeat")
def repeat(binder: Binder, call: Call, _: list[Value]) -> Value:
    """An array with a value so many times; null for a negative number."""
    value, count = bound(binder, call, 2)
    number = whole(count, call)
    text = array_of(f"arrayWithConstant(toUInt32(greatest(least({number}, {MOST}), 0)), {to_json(value)})")
    found = made("dynamic", f"if({number} < 0, '', {text})", value, count)
    found.name = f"repeat_{value.name}"
    return found
