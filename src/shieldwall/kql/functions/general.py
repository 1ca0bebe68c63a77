"""Conditions, nulls, and what a query can ask about values and names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.arithmetic import arithmetic
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import as_common, bound, common_type, expect
from shieldwall.kql.functions.registry import coded, text_constant
from shieldwall.kql.operations import compare
from shieldwall.kql.relation import INGESTED, Column, Relation, Select, is_closed
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import NO_COLUMNS, UNKNOWN, Value, constant, convert, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

ORDERED = (*NUMERIC, "datetime", "timespan", "string", "bool", "guid")


@coded("not")
def not_(binder: Binder, call: Call, args: list[Value]) -> Value:
    (value,) = bound(binder, call, 1)
    if value.type == "string":
        raise KqlError("not() takes a bool.", call.at, "SEM0231")
    value = convert(value, "bool", call.at)
    if isinstance(value.constant, bool):
        return constant("bool", not value.constant)
    return made("bool", f"(NOT {value.sql})", value)


@coded("isnull", "isnotnull", "notnull")
def isnull(binder: Binder, call: Call, args: list[Value]) -> Value:
    """A string is never null; a dynamic is when it is empty."""
    (value,) = bound(binder, call, 1)
    negated = call.name != "isnull"
    if value.type == "string":
        return constant("bool", negated)
    if value.is_constant:
        return constant("bool", (value.constant is None) != negated)
    if value.type == "dynamic":
        sign = "!=" if negated else "="
        if value.path:
            return made("bool", f"(JSONType({', '.join((value.json, *value.path))}) {sign} 'Null')", value)
        return made("bool", f"({value.sql} {sign} '')", value)
    return made("bool", f"{'isNotNull' if negated else 'isNull'}({value.sql})", value)


def _chosen(call: Call, conditions: list[Value], values: list[Value], at: int) -> Value:
    """The value of the first condition that holds, or the last one."""
    for condition in conditions:
        if condition.type == "string":
            raise KqlError(f"{call.name}(): a condition must be a bool, not a string.", at, "SEM0231")
    conditions = [convert(condition, "bool", at) for condition in conditions]
    kind, values = as_common(values, at)
    if all(isinstance(condition.constant, bool) for condition in conditions):
        place = next((place for place, item in enumerate(conditions) if item.constant), -1)
        return replace(values[place], name="")
    parts = [item.sql for pair in zip(conditions, values, strict=False) for item in pair]
    name = "if" if len(conditions) == 1 else "multiIf"
    return made(kind, f"{name}({', '.join([*parts, values[-1].sql])})", *conditions, *values)


@coded("iff", "iif")
def iff(binder: Binder, call: Call, args: list[Value]) -> Value:
    condition, *values = bound(binder, call, 3)
    return _chosen(call, [condition], values, call.at)


@coded("case")
def case(binder: Binder, call: Call, args: list[Value]) -> Value:
    values = bound(binder, call, 3, 10_000)
    if len(values) % 2 == 0:
        raise KqlError("case() takes conditions with values, and a last value.", call.at, "SEM0219")
    return _chosen(call, values[:-1:2], [*values[1::2], values[-1]], call.at)


@coded("coalesce")
def coalesce(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The first value that is not null, or not empty if they are strings."""
    values = bound(binder, call, 2, 64)
    kind = common_type(values, dynamic=True)
    if kind == "dynamic" and not any(value.type == "dynamic" for value in values):
        raise KqlError("coalesce(): the arguments have no type in common.", call.at, "SEM0231")
    values = [convert(value, kind, call.at) for value in values]
    if kind in ("string", "dynamic"):
        # Neither of them is ever NULL in SQL: their empty text stands for it.
        parts = ", ".join(f"nullIf({value.sql}, '')" for value in values[:-1])
        return made(kind, f"coalesce({parts}, {values[-1].sql})", *values)
    return made(kind, f"coalesce({', '.join(value.sql for value in values)})", *values)


@coded("max_of", "min_of")
def extreme_of(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The greatest or least value; nulls do not count."""
    kind, values = as_common(bound(binder, call, 2, 64), call.at)
    if kind not in ORDERED:
        raise KqlError(f"{call.name}() does not take {kind} values.", call.at, "SEM0231")
    function = "greatest" if call.name == "max_of" else "least"
    if kind != "decimal" and all(value.is_constant and not value.is_null for value in values):
        return constant(kind, (max if call.name == "max_of" else min)(value.constant for value in values))
    return made(kind, f"{function}({', '.join(value.sql for value in values)})", *values)


@coded("column_ifexists", "columnifexists")
def column_ifexists(binder: Binder, call: Call, args: list[Value]) -> Value:
    """A column by the constant text of its name, else the second argument."""
    expect(call, 2)
    name = text_constant(binder.bind(call.args[0]), call, "the column's name")
    if (found := binder.row.column(name)) is None:
        return replace(binder.bind(call.args[1]), name="")
    return found


@coded("iscolumnexists")
def iscolumnexists(binder: Binder, call: Call, args: list[Value]) -> Value:
    expect(call, 1)
    name = text_constant(binder.bind(call.args[0]), call, "the column's name")
    return constant("bool", binder.row.column(name) is not None)


@coded("toscalar")
def toscalar(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The first value of the first row of a table, or null."""
    expect(call, 1)
    node = call.args[0]
    relation = binder.relation(node)
    if relation is None:
        value = replace(binder.bind(node), name="")
        # What is random is the same in all rows.
        return replace(value, sql=f"(SELECT {value.sql})", window=False) if value.window else value
    return first_value(binder, relation, call.at)


def first_value(binder: Binder, relation: Relation, at: int) -> Value:
    """The first value of the first row of a relation, or null if it has no rows."""
    from shieldwall.kql.operators.rows import limited

    if not is_closed(relation):
        raise KqlError("toscalar() cannot use columns of the row it stands in; use a join.", at, "SEM0100")
    column = relation.columns[0]
    text = binder.compiler.subquery(limited(relation, 1), lambda shown: shown, ordered=True)
    if column.type in ("string", "dynamic"):
        text = f"ifNull({text}, '')"
    return Value(column.type, text)


@coded("ingestion_time")
def ingestion_time(binder: Binder, call: Call, args: list[Value]) -> Value:
    """When a row was stored; null where rows are not of a table."""
    from shieldwall.kql.compiler import INGESTION_TIME

    expect(call, 0)
    if (found := binder.row.column(INGESTION_TIME)) is None:
        return constant("datetime", None)
    return replace(found, name=INGESTED)


@coded("around")
def around(binder: Binder, call: Call, args: list[Value]) -> Value:
    """Whether a value is no further from a center than a distance."""
    value, center, distance = bound(binder, call, 3)
    low, high = (arithmetic(op, center, distance, call.at) for op in "-+")
    inside = [compare(">=", value, low, call.at), compare("<=", value, high, call.at)]
    return made("bool", f"({inside[0].sql} AND {inside[1].sql})", *inside)


@coded("assert")
def assert_(binder: Binder, call: Call, args: list[Value]) -> Value:
    """True, or else the query is refused with the message; the condition must not depend on rows."""
    condition, message = bound(binder, call, 2)
    text = text_constant(message, call, "the message")
    condition = convert(condition, "bool", call.at)
    held = condition.constant
    if held is UNKNOWN:
        if condition.deps or condition.aggregate:
            raise KqlError("assert(): the condition must be constant.", call.at, "SEM0240")
        frame = binder.compiler.fetch(Select([Column("held", "bool", condition.sql)], None))
        held = frame is None or frame.rows[0][0]
    if not held:
        raise KqlError(f"Assertion failed: {text}", call.at)
    return constant("bool", True)


_JSON_KINDS = {
    "Object": "dictionary",
    "Array": "array",
    "String": "string",
    "Int64": "long",
    "UInt64": "long",
    "Double": "double",
    "Bool": "bool",
}


@coded("gettype")
def gettype(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The type of a value; for a dynamic that of what it holds."""
    (value,) = bound(binder, call, 1)
    name = f"type_{value.name}"
    if value.type != "dynamic":
        return Value("string", sql.quote(value.type), NO_COLUMNS, value.type, name)
    kinds = ", ".join(map(sql.quote, _JSON_KINDS)), ", ".join(map(sql.quote, _JSON_KINDS.values()))
    text = f"transform(toString(JSONType({value.sql})), [{kinds[0]}], [{kinds[1]}], 'null')"
    return made("string", text, value, name=name)
