"""summarize and count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators.columns import Names, column_of, named_values
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import Column, Relation, Select
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Expr, Named, Operator
from shieldwall.kql.values import Value

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

Item = tuple[str, Value, bool]
"""Name, value, and whether the query gives the name."""


def grouped(
    compiler: Compiler, relation: Relation, aggregates: list[Expr], by: list[Expr], env: Environment
) -> Select:
    """The relation summarized: the keys' columns first, then those of the aggregates."""

    def work(binder: Binder) -> tuple[list[Item], list[Item]]:
        keyed = binder.plain()
        keys = [
            (name, value, isinstance(node, Named)) for node in by for name, value in named_values(keyed, node)
        ]
        binder.grouped_by = [value for _, value, _ in keys]
        values = [
            (name, value, isinstance(node, Named))
            for node in aggregates
            for name, value in _aggregated(binder, node)
        ]
        return keys, values

    select, (keys, values) = compiler.bind_into(relation, env, work, aggregates=True)
    names = Names()
    names.taken |= {name for name, _, explicit in (*keys, *values) if explicit}
    select.keys = []
    for name, value, explicit in keys:
        if value.is_constant:
            # A constant is no key for ClickHouse, which would take a number for a column's place.
            value = Value(value.type, f"materialize({value.sql})", name=value.name)
        select.keys.append(column_of(value, name if explicit else names.give(name)))
    columns: list[Column] = []
    for name, value, explicit in values:
        columns.append(Column(name if explicit else names.give(name), value.type, value.sql, value.deps))
    select.columns = [*select.keys, *columns]
    select.order, select.hidden, select.grouped = [], [], True
    return select


def _aggregated(binder: Binder, node: Expr) -> list[tuple[str, Value]]:
    """What one aggregate gives: several columns for ``arg_max(x, *)`` and the like."""
    value = binder.bind(node)
    names = node.names if isinstance(node, Named) else []
    if not value.aggregate and not value.is_constant:
        if not any(value.sql == key.sql for key in binder.grouped_by):
            raise KqlError("An aggregate is expected here.", node.at, "SEM0085")
    if not value.parts:
        return [(names[0] if names else value.name, value)]
    renamed = [*names, *(part.name for part in value.parts[len(names) :])]
    return list(zip(renamed, value.parts, strict=True))


@operator("summarize")
def summarize(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return grouped(compiler, relation, node.parts["aggregates"], node.parts["by"], env)


@operator("count")
def count(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    select, _ = compiler.bind_into(relation, env, lambda binder: None, inline=True)
    select.columns, select.order, select.hidden = [Column("Count", "long", "toInt64(count())")], [], []
    select.keys, select.grouped = [], True
    return select
