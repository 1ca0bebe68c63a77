"""summarize and count."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.functions.registry import COLLECTED, is_aggregate
from shieldwall.kql.local import HIDDEN, OverAggregates
from shieldwall.kql.operators.columns import Names, column_of, named_values
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import Column, Relation, Select
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Call, Expr, Name, Named, Node, Operator
from shieldwall.kql.values import Value

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

Item = tuple[str, Value, bool, int]
"""Name, value, whether the query gives the name, and where it stands."""


def grouped(
    compiler: Compiler, relation: Relation, aggregates: list[Expr], by: list[Expr], env: Environment
) -> Select:
    """The relation summarized: the keys' columns first, then those of the aggregates."""
    try:
        return _grouped(compiler, relation, aggregates, by, env)
    except OverAggregates:
        return _computed_behind(compiler, relation, aggregates, by, env)


def _grouped(
    compiler: Compiler, relation: Relation, aggregates: list[Expr], by: list[Expr], env: Environment
) -> Select:
    def work(binder: Binder) -> tuple[list[Item], list[Item]]:
        keyed = binder.plain()
        keys = [
            (name, value, isinstance(node, Named), node.at)
            for node in by
            for name, value in named_values(keyed, node)
        ]
        binder.grouped_by = [value for _, value, _, _ in keys]
        return keys, [item for node in aggregates for item in _aggregated(binder, node)]

    select, (keys, values) = compiler.bind_into(relation, env, work, aggregates=True)
    names = Names({name for name, _, explicit, _ in (*keys, *values) if explicit}, compiler.unnamed)
    select.keys = []
    for name, value, explicit, at in keys:
        if value.is_constant:
            # A constant is no key for ClickHouse, which would take a number for a column's place.
            value = Value(value.type, f"materialize({value.sql})", name=value.name)
        select.keys.append(column_of(value, name if explicit else names.give(name, at)))
    columns: list[Column] = []
    for name, value, explicit, at in values:
        columns.append(Column(name if explicit else names.give(name, at), value.type, value.sql, value.deps))
    select.columns = [*select.keys, *columns]
    select.order, select.hidden, select.grouped = [], [], True
    return select


def _aggregated(binder: Binder, node: Expr) -> list[Item]:
    """What one aggregate gives: several columns for ``arg_max(x, *)`` and the like."""
    names = node.names if isinstance(node, Named) else []
    binder.outside.clear()
    value = binder.bind(node)
    keys = {key.sql for key in binder.grouped_by}
    if value.sql not in keys:
        for name, column in binder.outside:
            if column.sql not in keys:
                raise KqlError(
                    f"'{name.name}' must stand in an aggregate, or behind 'by'.", name.at, "SEM0085"
                )
        if not value.aggregate and not value.is_constant:
            raise KqlError("An aggregate is expected here.", node.at, "SEM0085")
    parts = value.parts or (value,)
    return [
        (names[place] if place < len(names) else part.name, part, place < len(names), node.at)
        for place, part in enumerate(parts)
    ]


def _computed_behind(
    compiler: Compiler, relation: Relation, aggregates: list[Expr], by: list[Expr], env: Environment
) -> Select:
    """The same where Python computes something of aggregates: these become hidden columns first."""
    first: list[Expr] = []
    items: list[tuple[list[str], Expr]] = []
    for node in aggregates:
        inner = node.value if isinstance(node, Named) else node
        if isinstance(inner, Call) and is_aggregate(inner.name) and inner.name not in COLLECTED:
            first.append(node)
            continue
        collected: list[Expr] = []
        then = _behind(inner, collected, f"{HIDDEN}aggregate{len(items)}_")
        items.append((node.names if isinstance(node, Named) else _names(inner), then))
        first += collected or [Named(node.at, [f"{HIDDEN}aggregate{len(items) - 1}_0"], inner)]
    base = grouped(compiler, relation, first, by, env)
    select, values = compiler.bind_into(
        base, env, lambda binder: [(given, binder.bind(node)) for given, node in items]
    )
    shown = [column for column in select.columns if not column.name.startswith(f"{HIDDEN}aggregate")]
    names = Names({column.name for column in shown})
    results: list[list[Column]] = []
    for given, value in values:
        parts = value.parts or (value,)
        called = [*given, *(_without_hidden(part.name) for part in parts[len(given) :])]
        results.append([column_of(part, names.give(name)) for name, part in zip(called, parts, strict=False)])
    columns: list[Column] = []
    for column in select.columns:
        if column in shown:
            columns.append(column)
        elif column.name.endswith("_0"):
            columns += results[int(column.name.removeprefix(f"{HIDDEN}aggregate").partition("_")[0])]
    select.columns = columns
    return select


def _behind(node: Any, collected: list[Expr], prefix: str) -> Any:
    """The expression with names of hidden columns in place of aggregates, which are collected."""
    if isinstance(node, list):
        return [_behind(item, collected, prefix) for item in node]
    if not isinstance(node, Node):
        return node
    if isinstance(node, Call) and is_aggregate(node.name):
        name = f"{prefix}{len(collected)}"
        aggregate, then, _ = COLLECTED.get(node.name, (node.name, "", ""))
        collected.append(Named(node.at, [name], Call(node.at, aggregate, node.args)))
        return Call(node.at, then, [Name(node.at, name)]) if then else Name(node.at, name)
    changed = {item.name: _behind(getattr(node, item.name), collected, prefix) for item in fields(node)}
    return replace(node, **changed)


def _names(node: Expr) -> list[str]:
    """What a column that Python makes of one aggregate is called."""
    if isinstance(node, Call) and node.name in COLLECTED and node.args and isinstance(node.args[0], Name):
        return [f"{COLLECTED[node.name][2]}_{node.args[0].name}"]
    return []


_HIDDEN_NAME = re.compile(re.escape(HIDDEN) + r"aggregate\d+_\d+")


def _without_hidden(name: str) -> str:
    """A name that was made of that of a hidden column, which stands for what has no name."""
    if (found := _HIDDEN_NAME.search(name)) is None:
        return name
    return name[: found.start()] + name[found.end() :] if found.end() < len(name) else ""


@operator("summarize")
def summarize(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    aggregates, by = node.parts["aggregates"], node.parts["by"]
    if not aggregates and not by:
        raise KqlError("summarize needs an aggregate, or what to group by.", node.at)
    return grouped(compiler, relation, aggregates, by, env)


@operator("count")
def count(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    select, _ = compiler.bind_into(relation, env, lambda binder: None, inline=True)
    select.columns, select.order, select.hidden = [Column("Count", "long", "toInt64(count())")], [], []
    select.keys, select.grouped = [], True
    return select
