"""bin and its like: values rounded down to a multiple of a size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.arithmetic import arithmetic
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dates import floored
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded, coerce
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import EPOCH_TICKS, Value, constant, convert, from_ticks, made, ticks_of

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

NAMED_AFTER_ARGUMENT.update(("bin", "floor", "bin_at", "bin_auto"))


def _size(value: Value) -> str:
    """SQL of a bin's size; NULL unless it is positive."""
    if isinstance(value.constant, int | float):
        return value.sql if value.constant > 0 else "NULL"
    return f"if({value.sql} > 0, {value.sql}, NULL)"


def binned(value: Value, size: Value, call: Call) -> Value:
    """The greatest multiple of ``size`` that is not above ``value``; null for a size that is not positive."""
    if value.type == "dynamic":
        kind = {"timespan": "datetime"}.get(size.type, size.type)
        value = convert(value, kind if kind != "dynamic" else "real", call.at)
    if size.type == "dynamic" or (size.type == "string" and size.is_constant):
        size = convert(size, "timespan" if value.type in ("datetime", "timespan") else value.type, call.at)
    if value.is_null or size.is_null:
        return constant(value.type, None)
    text = _size(size)
    if value.type == "datetime" and size.type == "timespan":
        # Bins are counted from year 1; that matters where their size does not divide a day.
        shift = (
            EPOCH_TICKS % size.constant
            if isinstance(size.constant, int) and size.constant > 0
            else EPOCH_TICKS
        )
        return made("datetime", from_ticks(floored(ticks_of(value.sql), text, shift)), value, size)
    if value.type == size.type == "timespan":
        return made("timespan", f"({floored(value.sql, text)})", value, size)
    if value.type in NUMERIC and size.type in NUMERIC:
        kind = wider(wider(value.type, size.type), "long")
        if kind == "long":
            return made(kind, f"({floored(f'toInt64({value.sql})', text)})", value, size)
        if kind == "decimal":
            ratio = arithmetic("/", value, size, call.at)
            whole = made(kind, f"if({size.sql} > 0, floor({ratio.sql}), NULL)", ratio)
            return arithmetic("*", whole, size, call.at)
        return made(kind, f"(floor({value.sql} / {text}) * {size.sql})", value, size)
    raise KqlError(f"{call.name}() does not take a {value.type} and a {size.type}.", call.at, "SEM0231")


@coded("bin", "floor")
def bin_(binder: Binder, call: Call, args: list[Value]) -> Value:
    value, size = bound(binder, call, 2)
    return binned(value, size, call)


def binned_at(value: Value, size: Value, point: Value, call: Call) -> Value:
    """As `binned`, where one bin begins at ``point``."""
    if value.type == "dynamic":
        value = convert(value, point.type if point.type != "dynamic" else "real", call.at)
    if point.type != value.type and value.type in (*NUMERIC, "datetime", "timespan"):
        point = coerce(point, value.type if value.type not in NUMERIC else "number", call, 2)
    if value.type in ("datetime", "timespan"):
        size = convert(size, "timespan", call.at)
        ticks, start = (
            ticks_of(item.sql) if item.type == "datetime" else item.sql for item in (value, point)
        )
        text = f"{ticks} - positiveModulo({ticks} - {start}, {_size(size)})"
        return made(
            value.type, from_ticks(text) if value.type == "datetime" else f"({text})", value, size, point
        )
    if not {value.type, size.type, point.type} <= {*NUMERIC}:
        raise KqlError(f"{call.name}() does not take a {value.type} and a {size.type}.", call.at, "SEM0231")
    kind = wider(wider(value.type, wider(size.type, point.type)), "long")
    if kind == "long":
        text = f"toInt64({value.sql}) - positiveModulo(toInt64({value.sql}) - {point.sql}, {_size(size)})"
        return made(kind, f"({text})", value, size, point)
    value, size, point = (convert(item, "real", call.at) for item in (value, size, point))
    text = f"{point.sql} + floor(({value.sql} - {point.sql}) / {_size(size)}) * {size.sql}"
    return convert(made("real", f"({text})", value, size, point), kind, call.at)


@coded("bin_at")
def bin_at(binder: Binder, call: Call, args: list[Value]) -> Value:
    value, size, point = bound(binder, call, 3)
    return binned_at(value, size, point, call)


@coded("bin_auto")
def bin_auto(binder: Binder, call: Call, args: list[Value]) -> Value:
    """Bins of the size and from the point that query_bin_auto_size and query_bin_auto_at say."""
    (value,) = bound(binder, call, 1)
    size, point = (binder.option(f"query_bin_auto_{name}") for name in ("size", "at"))
    if size is None:
        raise KqlError("bin_auto() needs 'set query_bin_auto_size=...' in the query.", call.at, "SEM0240")
    return binned(value, size, call) if point is None else binned_at(value, size, point, call)
