"""Mathematics: rounding, powers and logarithms, trigonometry, bits, random numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded, coerce, declare
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import NO_COLUMNS, Value, constant, convert, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

NAMED_AFTER_ARGUMENT.update(
    (
        *("round", "ceiling", "abs", "pow", "sqrt", "exp", "exp2", "exp10", "log", "log2", "log10"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "rand", "gamma", "loggamma", "erf", "erfc"),
        *("binary_and", "binary_or", "binary_xor", "binary_not", "binary_shift_left", "binary_shift_right"),
        "bitset_count_ones",
    )
)

declare("""
abs(long) -> long | toInt64(abs({0}))
abs(int) -> long | toInt64(abs({0}))
abs(decimal) -> decimal | abs({0})
abs(real) -> real | abs({0})
abs(timespan) -> timespan | toInt64(abs({0}))
ceiling(int) -> int | {0}
ceiling(long) -> long | {0}
ceiling(decimal) -> decimal | accurateCastOrNull(ceil({0}), 'Decimal(38, 17)')
ceiling(real) -> real | ceil({0})
sign(real) -> real | toFloat64(sign({0}))
sqrt(real) -> real | if({0} < 0, NULL, sqrt({0}))
exp(real) -> real | exp({0})
exp2(real) -> real | exp2({0})
exp10(real) -> real | exp10({0})
log(real) -> real | if({0} < 0, NULL, log({0}))
log2(real) -> real | if({0} < 0, NULL, log2({0}))
log10(real) -> real | if({0} < 0, NULL, log10({0}))
pow(real, real) -> real | pow({0}, {1})
sin(real) -> real | sin({0})
cos(real) -> real | cos({0})
tan(real) -> real | tan({0})
cot(real) -> real | (1 / tan({0}))
asin(real) -> real | if(abs({0}) > 1, NULL, asin({0}))
acos(real) -> real | if(abs({0}) > 1, NULL, acos({0}))
atan(real) -> real | atan({0})
atan2(real, real) -> real | atan2({0}, {1})
degrees(real) -> real | degrees({0})
radians(real) -> real | radians({0})
gamma(real) -> real | tgamma({0})
loggamma(real) -> real | lgamma({0})
erf(real) -> real | erf({0})
erfc(real) -> real | erfc({0})
isnan(real) -> bool | ifNull(isNaN({0}), false)
isinf(real) -> bool | ifNull(isInfinite({0}), false)
isfinite(real) -> bool | ifNull(isFinite({0}), false)
binary_and(long, long) -> long | bitAnd(toInt64({0}), toInt64({1}))
binary_or(long, long) -> long | bitOr(toInt64({0}), toInt64({1}))
binary_xor(long, long) -> long | bitXor(toInt64({0}), toInt64({1}))
binary_not(long) -> long | bitNot(toInt64({0}))
binary_shift_left(long, long) -> long | if({1} < 0, NULL, bitShiftLeft(toInt64({0}), toUInt8({1} % 64)))
binary_shift_right(long, long) -> long | if({1} < 0, NULL, bitShiftRight(toInt64({0}), toUInt8({1} % 64)))
bitset_count_ones(long) -> long | toInt64(bitCount(toInt64({0})))
""")


@coded("pi")
def pi(binder: Binder, call: Call, args: list[Value]) -> Value:
    bound(binder, call, 0)
    return constant("real", math.pi)


@coded("round")
def round_(binder: Binder, call: Call, args: list[Value]) -> Value:
    """To a number of digits behind the point, or before it if it is negative; halves go away from zero."""
    value, *more = bound(binder, call, 1, 2)
    value = coerce(value, "number", call, 0)
    digits = coerce(more[0], "long", call, 1) if more else constant("long", 0)
    if value.is_null or digits.is_null:
        return constant(value.type, None)
    if value.type == "decimal":
        if not isinstance(digits.constant, int):
            raise KqlError("round(): the digits of a decimal must be a constant.", call.at, "SEM0240")
        return made("decimal", f"round({value.sql}, {min(max(digits.constant, -20), 17)})", value)
    power = f"exp10({digits.sql})"
    if isinstance(digits.constant, int):
        if value.type != "real" and digits.constant >= 0:
            return made(value.type, value.sql, value)
        if abs(digits.constant) > 300:
            digits = constant("long", 300 if digits.constant > 0 else -300)
        power = sql.literal("real", 10.0**digits.constant)
    rounded = f"(sign({value.sql}) * floor(abs({value.sql}) * {power} + 0.5) / {power})"
    if value.type == "real":
        return made("real", rounded, value, digits)
    kind = "Int32" if value.type == "int" else "Int64"
    return made(value.type, f"accurateCastOrNull({rounded}, '{kind}')", value, digits)


@coded("rand")
def rand(binder: Binder, call: Call, args: list[Value]) -> Value:
    """From 0 up to 1, or a whole number below the argument."""
    values = bound(binder, call, 0, 1)
    # An argument tells calls from each other, which ClickHouse would take for one.
    text = f"randCanonical({binder.compiler.serial()})"
    # Like a window, it must not be computed again elsewhere.
    number = Value("real", text, NO_COLUMNS, window=True)
    if not values or values[0].constant in (0, 1):
        return number
    limit = convert(values[0], "long", call.at)
    return made("real", f"floor({text} * {limit.sql})", number, limit)


@coded("new_guid")
def new_guid(binder: Binder, call: Call, args: list[Value]) -> Value:
    bound(binder, call, 0)
    return Value("guid", f"generateUUIDv4({binder.compiler.serial()})", NO_COLUMNS, window=True)
