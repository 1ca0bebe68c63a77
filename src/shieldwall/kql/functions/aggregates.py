"""Aggregates that give one number or value: counts, sums, averages, extremes, spread. Nulls do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import AGGREGATES, CODED_AGGREGATES, coded, declare
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, convert, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

# Of no values a sum and a spread are 0, an average is not a number, and other results are null.
declare(
    """
countif(bool) -> long | toInt64(countIf({0}))
stdev(number) -> real | ifNull(nullIf(stddevSampStable({0}), nan), 0)
stdevif(number, bool) -> real | ifNull(nullIf(stddevSampStableIf({0}, {1}), nan), 0)
stdevp(number) -> real | ifNull(nullIf(stddevPopStable({0}), nan), 0)
stdevpif(number, bool) -> real | ifNull(nullIf(stddevPopStableIf({0}, {1}), nan), 0)
variance(number) -> real | ifNull(nullIf(varSampStable({0}), nan), 0)
varianceif(number, bool) -> real | ifNull(nullIf(varSampStableIf({0}, {1}), nan), 0)
variancep(number) -> real | ifNull(nullIf(varPopStable({0}), nan), 0)
variancepif(number, bool) -> real | ifNull(nullIf(varPopStableIf({0}, {1}), nan), 0)
covariance(number, number) -> real | ifNull(nullIf(covarSampStable({0}, {1}), nan), 0)
covarianceif(number, number, bool) -> real | ifNull(nullIf(covarSampStableIf({0}, {1}, {2}), nan), 0)
covariancep(number, number) -> real | ifNull(nullIf(covarPopStable({0}, {1}), nan), 0)
covariancepif(number, number, bool) -> real | ifNull(nullIf(covarPopStableIf({0}, {1}, {2}), nan), 0)
""",
    AGGREGATES,
)


@coded("count", "cnt", into=CODED_AGGREGATES)
def count(binder: Binder, call: Call, _: list[Value]) -> Value:
    """How many rows there are; of a condition, where it holds."""
    values = bound(binder, call, 0, 1)
    if values and values[0].type == "bool":
        return named(call, f"toInt64(countIf({values[0].sql}))", "long", *values)
    found = made("long", "toInt64(count())", *values) if values else Value("long", "toInt64(count())")
    found.name = f"{call.name}_{values[0].name if values else ''}"
    return found


def arguments(binder: Binder, call: Call, least: int, most: int) -> list[Value]:
    """The arguments of an aggregate; the second is a condition if the name ends in ``if``."""
    values = bound(binder, call, least, most)
    if call.name.endswith("if"):
        values[1] = convert(values[1], "bool", call.at)
    return values


def conditional(function: str, value: str, condition: Value | None) -> str:
    """SQL of an aggregate, over the rows that fulfil a condition if there is one."""
    return f"{function}If({value}, {condition.sql})" if condition else f"{function}({value})"


def named(call: Call, text: str, kind: str, *values: Value, prefix: str = "") -> Value:
    """The value of an aggregate that is called after its own name and its first argument's."""
    found = made(kind, text, *values)
    found.name = f"{prefix or call.name}_{values[0].name}"
    return found


@coded("dcount", "dcountif", "count_distinct", "count_distinctif", into=CODED_AGGREGATES)
def dcount(binder: Binder, call: Call, _: list[Value]) -> Value:
    """How many distinct values there are; dcount estimates beyond some ten thousands of them."""
    least = 1 + call.name.endswith("if")
    value, *others = arguments(binder, call, least, least + call.name.startswith("dcount"))
    condition = others[0] if call.name.endswith("if") else None
    text = f"nullIf({value.sql}, '')" if value.type == "dynamic" else value.sql
    function, precision = ("uniqCombined64", "(20)") if call.name.startswith("dcount") else ("uniqExact", "")
    if condition is None:
        return named(call, f"toInt64(ifNull({function}{precision}({text}), 0))", "long", value)
    text = f"toInt64(ifNull({function}If{precision}({text}, {condition.sql}), 0))"
    return named(call, text, "long", value, condition)


@coded("sum", "sumif", into=CODED_AGGREGATES)
def sum_(binder: Binder, call: Call, _: list[Value]) -> Value:
    value, *condition = arguments(binder, call, *(2, 2) if call.name == "sumif" else (1, 1))
    value = _number(value, call, "timespan")
    kind = "long" if value.type == "int" else value.type
    text = f"ifNull({conditional('sum', value.sql, condition[0] if condition else None)}, 0)"
    return named(call, text, kind, value, *condition)


def _number(value: Value, call: Call, *others: str) -> Value:
    """A number, or a value of one of the other types. A dynamic is read as a real."""
    if value.type in (*NUMERIC, *others):
        return value
    if value.type == "dynamic" or value.is_null:
        found = convert(value, "real")
        found.name = value.name
        return found
    if value.type == "bool":
        found = convert(value, "long")
        found.name = value.name
        return found
    raise KqlError(f"{call.name}() does not take a {value.type}.", call.at, "SEM0231")


@coded("avg", "avgif", into=CODED_AGGREGATES)
def avg(binder: Binder, call: Call, _: list[Value]) -> Value:
    value, *condition = arguments(binder, call, *(2, 2) if call.name == "avgif" else (1, 1))
    value = _number(value, call, "timespan", "datetime")
    test = condition[0] if condition else None
    if value.type == "datetime":
        mean = conditional("avg", f"reinterpretAsInt64({value.sql})", test)
        text = f"reinterpret(accurateCastOrNull({mean}, 'Int64'), 'DateTime64(7, \\'UTC\\')')"
    elif value.type == "timespan":
        text = f"accurateCastOrNull(round({conditional('avg', value.sql, test)}), 'Int64')"
    elif value.type == "decimal":
        text = f"toDecimal128OrNull(toString({conditional('avg', value.sql, test)}), 17)"
    else:
        text = f"ifNull({conditional('avg', value.sql, test)}, nan)"
    kind = value.type if value.type in ("datetime", "timespan", "decimal") else "real"
    return named(call, text, kind, value, *condition)


@coded("min", "max", "minif", "maxif", into=CODED_AGGREGATES)
def extreme(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The least or the greatest value."""
    least = 1 + call.name.endswith("if")
    value, *condition = arguments(binder, call, least, least)
    if value.type == "dynamic":
        value = _number(value, call)
    text = value.sql if value.type in ("string", "bool") else f"toNullable({value.sql})"
    text = conditional(call.name[:3], text, condition[0] if condition else None)
    return named(call, text, value.type, value, *condition)


@coded("binary_all_and", "binary_all_or", "binary_all_xor", into=CODED_AGGREGATES)
def binary_all(binder: Binder, call: Call, _: list[Value]) -> Value:
    (value,) = bound(binder, call, 1)
    number = convert(value, "long", call.at)
    text = f"groupBit{call.name.rpartition('_')[2].title()}({number.sql})"
    kind = "int" if value.type == "int" else "long"
    found = made(kind, f"if(count({number.sql}) = 0, NULL, {text})", value)
    found.name = value.name
    return found
