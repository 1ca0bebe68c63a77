"""Values that stand for many: hll for counts of distinct values, tdigest for percentiles.

An hll is an array of the least hashes of the values: exact up to `KEPT` of them, an estimate beyond.
A tdigest is an array of two: the distinct values in order, and how often each is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.aggregates import named
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dynamics import array_of, is_array
from shieldwall.kql.functions.registry import CODED_AGGREGATES, coded
from shieldwall.kql.syntax import Call, TypeOf
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, convert, from_ticks, made, to_dynamic, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

KEPT = 4096
_HASHES = "Array(UInt64)"
_DIGEST = "Tuple(Array(Float64), Array(UInt64))"


def _least(hashes: str) -> str:
    """SQL of an hll of SQL of an array of hashes."""
    return f"toJSONString(arraySlice(arraySort(arrayDistinct({hashes})), 1, {KEPT}))"


@coded("hll", "hll_if", into=CODED_AGGREGATES)
def hll(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = bound(binder, call, 1 + call.name.endswith("if"), 2 + call.name.endswith("if"))
    condition = convert(values[1], "bool", call.at) if call.name.endswith("if") else None
    found = f"groupUniqArray({_hash(values[0])})"
    if condition is not None:
        found = f"groupUniqArrayIf({_hash(values[0])}, {condition.sql})"
    text = f"replaceOne({_least(found)}, '[]', '')"
    return named(call, text, "dynamic", values[0], *([condition] if condition else []))


def _hash(value: Value) -> str:
    """SQL of a hash that is the same for the same value, however wide the number is in ClickHouse."""
    if value.type == "dynamic":
        return f"sipHash64(nullIf({value.sql}, ''))"
    if value.type in ("int", "long", "bool"):
        return f"sipHash64(toInt64({value.sql}))"
    return f"sipHash64({value.sql})"


@coded("hll_merge", into=CODED_AGGREGATES)
def hll_merge_rows(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    found = _least(f"groupUniqArrayArray(JSONExtract({value.sql}, '{_HASHES}'))")
    return named(call, found, "dynamic", value)


@coded("hll_merge")
def hll_merge(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = [to_dynamic(value) for value in bound(binder, call, 2, 16)]
    hashes = ", ".join(f"JSONExtract({value.sql}, '{_HASHES}')" for value in values)
    found = made("dynamic", _least(f"arrayConcat({hashes})"), *values)
    found.name = "hll_merged_result"
    return found


@coded("dcount_hll")
def dcount_hll(binder: Binder, call: Call, _: list[Value]) -> Value:
    """How many distinct values an hll stands for."""
    value = to_dynamic(*bound(binder, call, 1))
    hashes = f"JSONExtract({value.sql}, '{_HASHES}')"
    estimate = f"toInt64(round({KEPT - 1} * pow(2, 64) / a[{KEPT}]))"
    text = f"arrayMap(a -> if(length(a) < {KEPT}, toInt64(length(a)), {estimate}), [{hashes}])[1]"
    found = made("long", f"if({is_array(value)}, {text}, NULL)", value)
    found.name = f"{call.name}_{value.name}"
    return found


@coded("hll_isvalid")
def hll_isvalid(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    text = f"JSONLength({value.sql}) = length(JSONExtract({value.sql}, '{_HASHES}'))"
    return made("bool", f"({is_array(value)} AND {text})", value)


@coded("tdigest", into=CODED_AGGREGATES)
def tdigest(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A tdigest of values, each counted once or as often as its weight says."""
    value, *weights = bound(binder, call, 1, 2)
    number = _number(value, call)
    weight = (
        f"toUInt64(greatest(ifNull({convert(weights[0], 'long').sql}, 0), 0))" if weights else "toUInt64(1)"
    )
    text = f"sumMapIf([assumeNotNull({number})], [{weight}], isNotNull({number}))"
    return named(call, f"replaceOne(toJSONString({text}), '[[],[]]', '')", "dynamic", value, *weights)


def _number(value: Value, call: Call) -> str:
    """SQL of a value as a real; times as ticks."""
    if value.type == "datetime":
        return f"toFloat64(reinterpretAsInt64({value.sql}))"
    if value.type not in (*NUMERIC, "timespan", "dynamic", "bool"):
        raise KqlError(f"{call.name}() does not take a {value.type}.", call.at, "SEM0231")
    return convert(value, "real", call.at).sql


def _digest(value: Value) -> str:
    return f"JSONExtract({value.sql}, '{_DIGEST}')"


@coded("tdigest_merge", "merge_tdigest", "merge_tdigests", into=CODED_AGGREGATES)
def tdigest_merge_rows(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    text = f"toJSONString(sumMap({_digest(value)}.1, {_digest(value)}.2))"
    return named(call, text, "dynamic", value, prefix="merge_tdigests")


@coded("tdigest_merge", "merge_tdigest", "merge_tdigests")
def tdigest_merge(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = [to_dynamic(value) for value in bound(binder, call, 2, 16)]
    digests = ", ".join(map(_digest, values))
    of = "arrayReduce('sumMap', arrayMap(x -> x.1, a), arrayMap(x -> x.2, a))"
    text = f"toJSONString(arrayMap(a -> {of}, [[{digests}]])[1])"
    found = made("dynamic", text, *values)
    found.name = "tdigests_merge_result"
    return found


@coded("tdigest_isvalid")
def tdigest_isvalid(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    return made("bool", f"(length({_digest(value)}.1) > 0)", value)


def _at(percent: str) -> str:
    """SQL of the value of the nearest rank in a digest ``a``; NULL of an empty one."""
    rank = f"ceil(least(greatest({percent}, 0), 100) / 100 * arraySum(a.2))"
    place = f"arrayFirstIndex(x -> x >= greatest({rank}, 1), arrayCumSum(a.2))"
    return f"if(empty(a.1), NULL, a.1[{place}])"


@coded("percentile_tdigest")
def percentile_tdigest(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The value below which lie so many percent of those in a tdigest, as the type asked for."""
    nodes = list(call.args)
    kind = binder.type_of(nodes.pop()) if nodes and isinstance(nodes[-1], TypeOf) else "dynamic"
    value, percent = bound(binder, Call(call.at, call.name, nodes), 2)
    value, percent = to_dynamic(value), convert(percent, "real", call.at)
    text = f"arrayMap(a -> {_at(percent.sql)}, [{_digest(value)}])[1]"
    found = _typed(made("real", text, value, percent), kind, call)
    found.name = f"{call.name}_{value.name}"
    return found


def _typed(value: Value, kind: str, call: Call) -> Value:
    if kind == "dynamic":
        return made("dynamic", f"ifNull(toJSONString({value.sql}), '')", value)
    if kind in ("datetime", "timespan"):
        ticks = f"toInt64({value.sql})"
        return made(kind, from_ticks(ticks) if kind == "datetime" else ticks, value)
    return convert(value, kind, call.at)


@coded("percentiles_array_tdigest")
def percentiles_array_tdigest(binder: Binder, call: Call, _: list[Value]) -> Value:
    value, *percents = bound(binder, call, 2, 10_000)
    value = to_dynamic(value)
    if len(percents) == 1 and percents[0].type == "dynamic" and isinstance(percents[0].constant, str):
        given = json.loads(percents[0].constant or "0")
        if not isinstance(given, list) or not all(isinstance(item, int | float) for item in given):
            raise KqlError(f"{call.name}() takes percentages, or an array of them.", call.at, "SEM0240")
        texts = [str(float(item)) for item in given]
    else:
        texts = [convert(percent, "real", call.at).sql for percent in percents]
    members = ", ".join(to_json(Value("real", _at(text))) for text in texts)
    text = f"arrayMap(a -> {array_of(f'[{members}]')}, [{_digest(value)}])[1]"
    found = made("dynamic", text, value, *percents)
    found.name = f"percentile_tdigest_{value.name}"
    return found


@coded("rank_tdigest", "percentrank_tdigest")
def rank_tdigest(binder: Binder, call: Call, _: list[Value]) -> Value:
    """How many values of a tdigest are not greater than a value, or how many percent."""
    digest, value = bound(binder, call, 2)
    digest = to_dynamic(digest)
    rank = f"arraySum((x, w) -> if(x <= {_number(value, call)}, w, 0), a.1, a.2)"
    if call.name == "percentrank_tdigest":
        rank = f"{rank} / arraySum(a.2) * 100"
    text = f"arrayMap(a -> if(empty(a.1), NULL, toFloat64({rank})), [{_digest(digest)}])[1]"
    return made("real", text, digest, value)
