"""Aggregates that collect values into an array or a bag: make_list, make_set, make_bag and their like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.bags import bag_of, pairs
from shieldwall.kql.functions.dynamics import array_of
from shieldwall.kql.functions.registry import CODED_AGGREGATES, coded, number_constant
from shieldwall.kql.relation import SortKey
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, made, to_dynamic, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

MOST = 1_048_576
"""Members of a collected array, unless the query says less."""


def _arguments(binder: Binder, call: Call, *, conditional: bool) -> tuple[Value, Value | None, int]:
    """What is collected, under which condition, and how much of it at most."""
    values = bound(binder, call, 1 + conditional, 2 + conditional)
    condition = values.pop(1) if conditional else None
    if condition is not None and condition.type != "bool":
        condition = binder.boolean(call.args[1])
    size = number_constant(values[1], call, "the size") if len(values) > 1 else MOST
    if not 0 < size <= MOST:
        raise KqlError(f"{call.name}(): the size must be from 1 to {MOST}.", call.at, "SEM0240")
    return values[0], condition, size


def _named(call: Call, prefix: str, value: Value, text: str, condition: Value | None) -> Value:
    found = made("dynamic", text, value, *([condition] if condition else []))
    found.name = f"{prefix}_{value.name}"
    return found


def _conditions(value: Value, condition: Value | None, *, nulls: bool = False) -> list[str]:
    """SQL of when a value is collected: strings always, others unless they are null."""
    found = [condition.sql] if condition is not None else []
    if not nulls and value.type == "dynamic":
        found.append(f"{value.sql} != ''")
    elif not nulls and value.type != "string":
        found.append(f"isNotNull({value.sql})")
    return found


@coded("make_set", "make_set_if", "makeset", into=CODED_AGGREGATES)
def make_set(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The distinct values in the order of their coming; of arrays, their members."""
    value, condition, size = _arguments(binder, call, conditional=call.name.endswith("_if"))
    if value.type == "dynamic":
        conditions = _conditions(value, condition, nulls=True)
        collected = _call("groupArrayDistinctArray", _members(value, "[]"), conditions)
        text = array_of(f"arraySlice({collected}, 1, {size})")
        return _named(call, "set", value, text, condition)
    found = _call("groupArrayDistinct", value.sql, _conditions(value, condition))
    return _named(call, "set", value, _array_text(value, found, size), condition)


def _members(value: Value, null: str) -> str:
    """SQL of the JSON texts of an array's members, or of the one that a value is by itself."""
    members = f"if(startsWith(x, '['), JSONExtractArrayRaw(x), if(x = '', {null}, [x]))"
    return f"arrayMap(x -> {members}, [{value.sql}])[1]"


def _call(function: str, argument: str, conditions: Sequence[str], parameters: str = "") -> str:
    """SQL of an aggregate over rows that fulfil all conditions."""
    if not conditions:
        return f"{function}{parameters}({argument})"
    return f"{function}If{parameters}({argument}, {' AND '.join(conditions)})"


def _array_text(value: Value, collected: str, size: int) -> str:
    """SQL of a dynamic array of SQL of an array of plain values."""
    if size < MOST:
        collected = f"arraySlice({collected}, 1, {size})"
    if value.type in ("string", "int", "long"):
        return f"toJSONString({collected})"
    return array_of(f"arrayMap(x -> {to_json(Value(value.type, 'x'))}, {collected})")


@coded("make_list", "make_list_if", "makelist", "make_list_with_nulls", into=CODED_AGGREGATES)
def make_list(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All values, in the order of the rows where these are sorted; of arrays, their members."""
    nulls = call.name == "make_list_with_nulls"
    value, condition, size = _arguments(binder, call, conditional=call.name.endswith("_if"))
    order = binder.row.order
    plain = value.type in ("string", "int", "long") and not nulls
    if value.type == "dynamic":
        conditions = _conditions(value, condition, nulls=True)
        found = _in_order(_members(value, "['null']" if nulls else "[]"), conditions, order)
        found = f"arraySlice(arrayFlatten({found}), 1, {size})"
    else:
        conditions = _conditions(value, condition, nulls=nulls)
        found = _in_order(value.sql if plain else to_json(value), conditions, order, size)
        if order:
            found = f"arraySlice({found}, 1, {size})"
    result = _named(call, "list", value, f"toJSONString({found})" if plain else array_of(found), condition)
    result.deps = frozenset().union(result.deps, *(key.deps for key in order))
    return result


def _in_order(item: str, conditions: Sequence[str], order: Sequence[SortKey], size: int = MOST) -> str:
    """SQL of the array of what rows give, sorted as they are."""
    if not order:
        return _call("groupArray", item, conditions, f"({size})")
    descending = order[0].descending
    keys = [_sort_key(key, descending=descending) for key in order]
    collected = _call("groupArray", f"tuple({', '.join(keys)}, {item})", conditions)
    members = ", ".join(f"x.{place + 1}" for place in range(len(keys)))
    sort = "arrayReverseSort" if descending else "arraySort"
    return f"arrayMap(x -> x.{len(keys) + 1}, {sort}(x -> tuple({members}), {collected}))"


def _sort_key(key: SortKey, *, descending: bool) -> str:
    """SQL that sorts as the key does where all is sorted in one direction."""
    text = key.sql
    if key.descending != descending:
        text = _reversed(key)
    null = "isNull" if key.nulls_first == descending else "isNotNull"
    return f"tuple({null}({key.sql}), {text})"


def _reversed(key: SortKey) -> str:
    """SQL of what sorts the other way round."""
    text = key.sql
    if key.type == "datetime":
        return f"-reinterpretAsInt64({text})"
    if key.type in (*NUMERIC, "timespan", "bool"):
        return f"-toFloat64({text})" if key.type == "real" else f"-toInt64({text})"
    # Its bytes, each the other way round; what is longer comes first.
    return f"concat(translate(hex(toString({text})), '0123456789ABCDEF', 'FEDCBA9876543210'), '~')"


@coded("make_bag", "make_bag_if", "make_dictionary", into=CODED_AGGREGATES)
def make_bag(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of the properties of bags; of a key that several have, any."""
    value, condition, size = _arguments(binder, call, conditional=call.name.endswith("_if"))
    value_sql = f"CAST({pairs(to_dynamic(value))} AS Map(String, String))"
    collected = _call("anyMap", value_sql, [condition.sql] if condition is not None else [])
    members = f"arrayZip(mapKeys({collected}), mapValues({collected}))"
    if size < MOST:
        members = f"arraySlice({members}, 1, {size})"
    prefix = "dictionary" if call.name == "make_dictionary" else "bag"
    return _named(call, prefix, value, bag_of(members), condition)
