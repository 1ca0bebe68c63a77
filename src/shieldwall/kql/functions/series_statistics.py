"""Series functions that give numbers: statistics, sums, products of vectors. All in SQL."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded
from shieldwall.kql.functions.series_elementwise import numbers, over_series, series_of
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, convert, made, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_KNOWN = "arrayMap(x -> assumeNotNull(x), arrayFilter(x -> isNotNull(x), a))"
_SINGLE = {
    "series_sum": f"arraySum({_KNOWN})",
    "series_product": f"if(empty({_KNOWN}), 1., arrayProduct({_KNOWN}))",
    "series_magnitude": f"sqrt(arraySum(x -> x * x, {_KNOWN}))",
}


def _of_numbers(values: list[Value], body: str) -> str:
    """SQL of a real made of the points ``a``, and ``b`` of a second series; NULL of what is no array."""
    names = "ab"[: len(values)]
    given = ", ".join(f"[{numbers(name)}]" for name in "st"[: len(values)])
    return over_series(values, f"arrayMap(({', '.join(names)}) -> toNullable({body}), {given})[1]", "NULL")


@coded(*_SINGLE)
def series_single(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The sum, the product or the length as a vector; what is no number does not count."""
    value = series_of(bound(binder, call, 1)[0], call)
    return made("real", _of_numbers([value], f"toFloat64({_SINGLE[call.name]})"), value)


_SHORTER = "least(length(a), length(b))"
_PAIRS = (
    f"arrayFilter(p -> isNotNull(p.1) AND isNotNull(p.2), "
    f"arrayZip(arrayResize(a, {_SHORTER}), arrayResize(b, {_SHORTER})))"
)
"""SQL of the points of two series that are numbers in both; the longer one is cut."""


@coded("series_dot_product")
def series_dot_product(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The sum of the products; a number stands for a series of it. Null if a series is empty."""
    values = bound(binder, call, 2)
    single = [value.type in NUMERIC for value in values]
    if all(single):
        raise KqlError(f"{call.name}() takes a dynamic array.", call.at, "SEM0231")
    if any(single):
        other = convert(values[single.index(True)], "real")
        series = series_of(values[single.index(False)], call)
        total = f"arraySum(arrayMap(x -> x * {other.sql}, {_KNOWN}))"
        return made("real", _of_numbers([series], f"if(empty(a), NULL, {total})"), *values)
    pair = [series_of(value, call) for value in values]
    total = f"arraySum(arrayMap(p -> assumeNotNull(p.1) * assumeNotNull(p.2), {_PAIRS}))"
    return made("real", _of_numbers(pair, f"if(empty(a) OR empty(b), NULL, {total})"), *values)


@coded("series_cosine_similarity")
def series_cosine_similarity(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The cosine of the angle between two vectors, whose lengths may be given. Null if one is empty."""
    values = bound(binder, call, 2, 4)
    pair = [series_of(value, call) for value in values[:2]]
    lengths = [f"sqrt(arraySum(p -> p.{place} * p.{place}, c))" for place in (1, 2)]
    for place, value in enumerate(values[2:]):
        lengths[place] = convert(value, "real", call.at).sql
    dot = "arraySum(p -> p.1 * p.2, c)"
    known = f"arrayMap(p -> (assumeNotNull(p.1), assumeNotNull(p.2)), {_PAIRS})"
    cosine = f"arrayMap(c -> {dot} / ({lengths[0]} * {lengths[1]}), [{known}])[1]"
    return made("real", _of_numbers(pair, f"if(empty(a) OR empty(b), NULL, {cosine})"), *values)


@coded("series_pearson_correlation")
def series_pearson_correlation(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Null if the series are not of one length or if a point is no number."""
    values = bound(binder, call, 2)
    pair = [series_of(value, call) for value in values]
    wrong = "length(a) != length(b) OR empty(a) OR has(a, NULL) OR has(b, NULL)"
    known = [f"arrayMap(x -> assumeNotNull(x), {name})" for name in "ab"]
    # Of nothing, unless all is well: ClickHouse refuses arrays of different lengths.
    checked = ", ".join(f"if({wrong}, [], {text})" for text in known)
    found = f"if({wrong}, NULL, arrayReduce('corrStable', {checked}))"
    return made("real", _of_numbers(pair, found), *values)


_STATISTICS = {
    "min": ("real", "arrayMin(k)"),
    "min_idx": ("long", "toInt64(indexOf(a, arrayMin(k))) - 1"),
    "max": ("real", "arrayMax(k)"),
    "max_idx": ("long", "toInt64(indexOf(a, arrayMax(k))) - 1"),
    "avg": ("real", "arrayAvg(k)"),
    "stdev": ("real", "if(length(k) = 1, 0., arrayReduce('stddevSampStable', k))"),
    "variance": ("real", "if(length(k) = 1, 0., arrayReduce('varSampStable', k))"),
    "sum": ("real", "arraySum(k)"),
    "len": ("long", "toInt64(length(a))"),
}
_COLUMNS = tuple(_STATISTICS)[:7]


def _of_known(value: Value, body: str, otherwise: str, *, ignored: bool) -> str:
    """SQL of what is made of the finite points ``k`` of a series, all of whose points are ``a``.

    ``otherwise`` stands where there are none, or where others are there too, unless those are ``ignored``.
    """
    finite = "arrayMap(x -> assumeNotNull(x), arrayFilter(x -> isNotNull(x) AND isFinite(x), a))"
    known = "notEmpty(k)" if ignored else "notEmpty(k) AND length(k) = length(a)"
    inner = f"arrayMap(k -> if({known}, {body}, {otherwise}), [{finite}])[1]"
    return over_series([value], f"arrayMap(a -> {inner}, [{numbers('s')}])[1]", otherwise)


def _bound_series(binder: Binder, call: Call) -> tuple[Value, str, bool]:
    """The series, its name, and whether what is no finite number does not count."""
    value, *ignored = bound(binder, call, 1, 2)
    if ignored and not ignored[0].is_constant:
        raise KqlError(f"{call.name}(): whether to ignore numbers must be constant.", call.at, "SEM0240")
    flag = bool(ignored and convert(ignored[0], "bool", call.at).constant)
    return series_of(value, call), value.name, flag


@coded("series_stats")
def series_stats(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Statistics of a series, a column each."""
    value, name, ignored = _bound_series(binder, call)
    parts: list[Value] = []
    for statistic in _COLUMNS:
        kind, body = _STATISTICS[statistic]
        part = made(kind, _of_known(value, body, "NULL", ignored=ignored), value)
        part.name = f"{call.name}_{name}_{statistic}"
        parts.append(part)
    return replace(parts[0], parts=tuple(parts))


@coded("series_stats_dynamic")
def series_stats_dynamic(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Statistics of a series in a bag; null if there are none."""
    value, _name, ignored = _bound_series(binder, call)
    members = [
        f"{sql.quote(json.dumps(name) + ':')}, assumeNotNull({to_json(Value(kind, body))})"
        for name, (kind, body) in _STATISTICS.items()
    ]
    separated = ", ',', ".join(members)
    body = f"concat('{{', {separated}, '}}')"
    return made("dynamic", _of_known(value, body, "''", ignored=ignored), value)
