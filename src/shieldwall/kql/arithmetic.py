"""Arithmetic: types and nulls as Kusto has them.

Whole numbers give a long, whose division cuts towards zero; division by zero gives null for whole numbers and
decimals, infinity for reals. A remainder is never negative. A timespan is ticks.
"""

from __future__ import annotations

import math

from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import datetime_ticks, ticks_datetime
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import EPOCH_TICKS, Value, constant, convert, from_ticks, made, ticks_of

_TEMPORAL = ("datetime", "timespan")


def arithmetic(op: str, left: Value, right: Value, at: int) -> Value:
    """``left op right``; op is one of ``+ - * / %``."""
    found: Value | None = None
    if left.type == right.type == "dynamic":
        return _dynamic(op, left, right)
    left, right = _typed(left, right), _typed(right, left)
    if left.type in NUMERIC and right.type in NUMERIC:
        found = _numeric(op, left, right)
    elif left.type in _TEMPORAL or right.type in _TEMPORAL:
        found = _temporal(op, left, right)
    if found is None:
        raise KqlError(f"Operator '{op}' does not take a {left.type} and a {right.type}.", at, "SEM0064")
    return found


def negative(value: Value, at: int) -> Value:
    """``-value``"""
    if value.type == "dynamic":
        return _dynamic("-", constant("long", 0), value)
    if value.type not in (*NUMERIC, "timespan"):
        raise KqlError(f"A {value.type} cannot be negated.", at, "SEM0064")
    if value.is_null:
        return value
    if isinstance(value.constant, int | float):
        return constant(value.type, -value.constant)
    return made(wider(value.type, "long") if value.type in NUMERIC else value.type, f"(-{value.sql})", value)


def _typed(value: Value, other: Value) -> Value:
    """A dynamic as the type of the other operand; a bool as a number."""
    if value.type == "dynamic":
        kind = "long" if other.type in ("int", "bool") else other.type
        return convert(value, kind) if kind in (*NUMERIC, *_TEMPORAL) else value
    return convert(value, "long") if value.type == "bool" else value


def _dynamic(op: str, left: Value, right: Value) -> Value:
    """Both are whatever number they hold, and so is the result."""
    a, b = (convert(value, "real").sql for value in (left, right))
    if op == "%":
        text = f"positiveModulo({a}, nullIf({b}, 0))"
    elif op == "/":
        whole = " AND ".join(f"match({value.sql}, '^-?[0-9]+$')" for value in (left, right))
        text = f"if({whole}, trunc({a} / nullIf({b}, 0)), {a} / nullIf({b}, 0))"
    else:
        text = f"({a} {op} {b})"
    return made("dynamic", f"ifNull(toString({text}), '')", left, right)


def wrapped(number: int) -> int:
    """A whole number as 64 bits hold it."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _nonzero(value: Value) -> str:
    """SQL of a divisor; NULL for zero."""
    return value.sql if isinstance(value.constant, int) and value.constant else f"nullIf({value.sql}, 0)"


def _numeric(op: str, left: Value, right: Value) -> Value:
    kind = wider(wider(left.type, right.type), "long")
    if left.is_null or right.is_null:
        return constant(kind, None)
    if kind == "long":
        return _whole(op, left, right)
    left, right = convert(left, kind), convert(right, kind)
    if kind == "decimal":
        return _decimal(op, left, right)
    a, b = left.constant, right.constant
    if isinstance(a, float) and isinstance(b, float) and op in "+-*":
        return constant(kind, a + b if op == "+" else a - b if op == "-" else a * b)
    if op == "%":
        return made(kind, f"positiveModulo({left.sql}, {right.sql})", left, right)
    return made(kind, f"({left.sql} {op} {right.sql})", left, right)


def _whole(op: str, left: Value, right: Value) -> Value:
    a, b = left.constant, right.constant
    if isinstance(a, int) and isinstance(b, int):
        if op in "/%" and not b:
            return constant("long", None)
        if op == "/":
            result = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        elif op == "%":
            result = a % abs(b)
        else:
            result = a + b if op == "+" else a - b if op == "-" else a * b
        return constant("long", wrapped(result))
    if op == "/":
        return made("long", f"intDivOrZero({left.sql}, {_nonzero(right)})", left, right)
    if op == "%":
        return made("long", f"positiveModulo({left.sql}, {_nonzero(right)})", left, right)
    return made("long", f"({left.sql} {op} {right.sql})", left, right)


def _decimal(op: str, left: Value, right: Value) -> Value:
    """Products and quotients need more digits on the way; null where the result does not fit."""
    if op in "+-":
        return made("decimal", f"({left.sql} {op} {right.sql})", left, right)
    if op == "%":
        text = f"positiveModulo({left.sql}, nullIf({right.sql}, 0))"
        return made("decimal", f"accurateCastOrNull({text}, 'Decimal(38, 17)')", left, right)
    divisor = right.sql if op == "*" else f"nullIf({right.sql}, 0)"
    text = f"toDecimal256({left.sql}, 17) {op} toDecimal256({divisor}, 17)"
    return made("decimal", f"accurateCastOrNull({text}, 'Decimal(38, 17)')", left, right)


def _held_ticks(value: Value) -> int | None:
    """The ticks of a constant, a datetime's since 1970; None if it is not known."""
    if isinstance(value.constant, str):
        return datetime_ticks(value.constant)
    return value.constant if isinstance(value.constant, int) else None


_SHIFTED = {
    ("datetime", "+", "timespan"): "datetime",
    ("datetime", "-", "timespan"): "datetime",
    ("timespan", "+", "datetime"): "datetime",
    ("datetime", "-", "datetime"): "timespan",
    ("timespan", "+", "timespan"): "timespan",
    ("timespan", "-", "timespan"): "timespan",
}


def _temporal(op: str, left: Value, right: Value) -> Value | None:
    if (kind := _SHIFTED.get((left.type, op, right.type))) is not None:
        return _shifted(op, left, right, kind)
    if left.type in _TEMPORAL and right.type in _TEMPORAL and op in "/%":
        # A datetime counts from year 1 here.
        a, b = (value.sql if value.type == "timespan" else since_year_one(value) for value in (left, right))
        if op == "/":
            return made("real", f"({a} / {b})", left, right)
        return made("timespan", f"positiveModulo({a}, nullIf({b}, 0))", left, right)
    if op in "*/%" and left.type == "timespan" and right.type in NUMERIC:
        return _scaled(op, left, right)
    if op == "*" and left.type in NUMERIC and right.type == "timespan":
        return _scaled(op, right, left)
    return None


def since_year_one(value: Value) -> str:
    """SQL of a datetime's ticks since year 1."""
    return f"({ticks_of(value.sql)} + {EPOCH_TICKS})"


def _shifted(op: str, left: Value, right: Value, kind: str) -> Value:
    if left.is_null or right.is_null:
        return constant(kind, None)
    a, b = _held_ticks(left), _held_ticks(right)
    if a is not None and b is not None:
        total = a + b if op == "+" else a - b
        return constant(kind, ticks_datetime(total) if kind == "datetime" else wrapped(total))
    texts = [ticks_of(value.sql) if value.type == "datetime" else value.sql for value in (left, right)]
    text = f" {op} ".join(texts)
    return made(kind, from_ticks(text) if kind == "datetime" else f"({text})", left, right)


def _scaled(op: str, span: Value, factor: Value) -> Value:
    """A timespan times, divided by or modulo a number."""
    if span.is_null or factor.is_null:
        return constant("timespan", None)
    a, b = span.constant, factor.constant
    if op == "%":
        return made(
            "timespan", f"positiveModulo({span.sql}, nullIf({convert(factor, 'long').sql}, 0))", span, factor
        )
    if isinstance(a, int) and isinstance(b, int | float) and (b or op == "*") and math.isfinite(b):
        if isinstance(b, int) and op == "*":
            return constant("timespan", wrapped(a * b))
        scaled = a * b if op == "*" else a / b
        return constant("timespan", wrapped(round(scaled)) if math.isfinite(scaled) else None)
    if factor.type in ("int", "long"):
        text = (
            f"({span.sql} * {factor.sql})" if op == "*" else f"intDivOrZero({span.sql}, {_nonzero(factor)})"
        )
        return made("timespan", text, span, factor)
    text = f"round({span.sql} {op} {convert(factor, 'real').sql})"
    return made("timespan", f"accurateCastOrNull({text}, 'Int64')", span, factor)
