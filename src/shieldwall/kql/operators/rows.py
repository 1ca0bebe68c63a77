"""Operators that choose and order rows: where, take, sort, top, distinct and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators.columns import extended, listed
from shieldwall.kql.operators.joins import pushed
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.sources import constant_rows
from shieldwall.kql.relation import Condition, Relation, Select, SortKey, Union, is_hidden, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Binary, Expr, Named, Operator, Ordered
from shieldwall.kql.values import Value

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


@operator("where")
def where(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    parts = [part for part in conjuncts(node.parts["predicate"]) if not pushed(compiler, relation, part, env)]
    for part in parts:
        relation = _where(compiler, relation, part, env)
    return relation


def _where(compiler: Compiler, relation: Relation, node: Expr, env: Environment) -> Relation:
    def work(binder: Binder) -> Value:
        return binder.boolean(node)

    if isinstance(relation, Union):
        # Conditions on each leg find what its table's indexes know.
        bound = [compiler.bind_into(leg, env, work, inline=True) for leg in relation.legs]
        if not any(value.window for _, value in bound):
            for leg, value in bound:
                leg.where.append(Condition(value.condition, value.deps))
            relation.legs = [leg for leg, _ in bound]
            return relation
    select, value = compiler.bind_into(relation, env, work, inline=True)
    select.where.append(Condition(value.condition, value.deps))
    return select


def conjuncts(node: Expr) -> list[Expr]:
    """What ``and`` joins."""
    found: list[Expr] = []
    while isinstance(node, Binary) and node.op == "and":
        found.append(node.right)
        node = node.left
    return [node, *reversed(found)]


def row_count(compiler: Compiler, node: Expr, env: Environment) -> int:
    """A constant number of rows."""
    count = Binder(compiler, env).constant(node, "long")
    if count < 0:
        raise KqlError("The number of rows cannot be negative.", node.at)
    return int(count)


def limited(relation: Relation, count: int) -> Select:
    """The first rows."""
    if isinstance(relation, Select) and not relation.limit_by:
        if relation.limit is None:
            relation.limit = count
            return relation
        if relation.limit <= count:
            return relation
    select = over(relation)
    select.limit = count
    return select


@operator("take")
def take(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return limited(relation, row_count(compiler, node.parts["count"], env))


@operator("sample")
def sample(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    select = over(relation)
    select.order = [SortKey("rand()", frozenset(), False, False)]
    return limited(select, row_count(compiler, node.parts["count"], env))


@operator("sample-distinct")
def sample_distinct(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    only = Operator(node.at, "distinct", {"items": [node.parts["of"]]})
    return limited(distinct(compiler, relation, only, env), row_count(compiler, node.parts["count"], env))


def sort_keys(compiler: Compiler, relation: Relation, keys: list[Ordered], env: Environment) -> Select:
    """The relation in order."""

    def work(binder: Binder) -> list[Value]:
        return [binder.bind(key.value.value if isinstance(key.value, Named) else key.value) for key in keys]

    select, values = compiler.bind_into(relation, env, work, inline=True)
    select.order = []
    for key, value in zip(keys, values, strict=True):
        if value.type == "dynamic":
            value = value.sortable()
        nulls_first = key.nulls == "first" if key.nulls else not key.descending
        select.order.append(SortKey(value.sql, value.deps, key.descending, nulls_first, value.type))
    return select


@operator("sort")
def sort(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return sort_keys(compiler, relation, node.parts["by"], env)


@operator("top")
def top(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    count = row_count(compiler, node.parts["count"], env)
    return limited(sort_keys(compiler, relation, node.parts["by"], env), count)


@operator("distinct")
def distinct(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    select, columns = compiler.bind_into(relation, env, lambda binder: listed(binder, node.parts["items"]))
    select.columns = columns
    select.order = []
    select.distinct = True
    return select


@operator("serialize")
def serialize(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return extended(compiler, relation, node.parts["items"], env)


@operator("consume")
def consume(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return constant_rows([("Column1", "string")], [])


@operator("render")
def render(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    compiler.chart = {"kind": node.parts["chart"], "properties": node.parts["options"]}
    return relation


@operator("getschema")
def getschema(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    shown = [column for column in relation.columns if not is_hidden(column.name)]
    if node.parts.get("kind") == "csl":
        listed = ",".join(f"{column.name}:{column.type}" for column in shown)
        return constant_rows([("Schema", "string")], [[listed]])
    rows = [
        [column.name, place, f"System.{_CLR[column.type]}", column.type] for place, column in enumerate(shown)
    ]
    return constant_rows(
        [
            ("ColumnName", "string"),
            ("ColumnOrdinal", "int"),
            ("DataType", "string"),
            ("ColumnType", "string"),
        ],
        rows,
    )


_CLR = {
    "string": "String",
    "bool": "SByte",
    "int": "Int32",
    "long": "Int64",
    "real": "Double",
    "decimal": "Data.SqlTypes.SqlDecimal",
    "datetime": "DateTime",
    "timespan": "TimeSpan",
    "guid": "Guid",
    "dynamic": "Object",
}
