"""partition, and the operators that give several tables: fork and facet, of which the first is the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import to_constant
from shieldwall.kql.operators import bodies
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.rows import limited
from shieldwall.kql.operators.unions import Leg, joined_legs, unified
from shieldwall.kql.relation import Condition, Relation, over
from shieldwall.kql.scope import Environment, Row
from shieldwall.kql.syntax import Call, Expr, Name, Named, Operator, Ordered, Pipeline
from shieldwall.kql.values import Value, constant

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MOST_LEGACY = 64
"""Partitions of the legacy strategy."""
MOST_APART = 256
"""Partitions that are computed one by one whatever the strategy."""
_TOGETHER = bodies.BY_ROW | {
    "take", "limit", "top", "sort", "order", "summarize", "count", "distinct", "serialize", "scan",
    "make-series", "top-nested",
}  # fmt: skip


@operator("partition")
def partition(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """What operators, or a query, give of the rows of each value of a column."""
    key = Binder(compiler, env, Row(relation.columns)).bind(node.parts["by"])
    if not key.is_column:
        raise KqlError("partition by takes the name of a column.", node.parts["by"].at)
    body: list[Operator] = node.parts.get("body", [])
    if body and _together(body):
        return _at_once(compiler, relation, key, body, env)
    return _one_by_one(compiler, relation, key.name, node, env)


def _together(body: list[Operator]) -> bool:
    """Whether all parts can be computed at once."""
    for step in body:
        # A series without ends has those of all rows that are there.
        endless = step.name == "make-series" and not (step.parts["from"] and step.parts["to"])
        if step.name not in _TOGETHER or endless:
            return False
    return not bodies.places_of_defaults(body)


def _at_once(
    compiler: Compiler, relation: Relation, key: Value, body: list[Operator], env: Environment
) -> Relation:
    select = over(relation)
    below = next(column for column in select.columns if column.name == key.name)
    part = bodies.part_column(below.sql, relation, below.type)
    part.deps = below.deps
    select.columns.append(part)
    found: Relation = select
    for step in body:
        if step.name in _WITH_PART:
            found = compiler.operator(found, _WITH_PART[step.name](step, Name(step.at, part.name)), env)
        else:
            found = bodies.run(compiler, found, step, env)
    result = over(found)
    result.columns = [column for column in result.columns if column.name != part.name]
    return result


def _series(node: Operator, part: Name) -> Operator:
    return Operator(node.at, node.name, {**node.parts, "by": [*node.parts["by"], part]})


def _nested(node: Operator, part: Name) -> Operator:
    """With a level around the others that takes all parts."""
    count = Ordered(node.at, Named(node.at, ["$rows"], Call(node.at, "count", [])))
    level = {"count": None, "of": part, "others": None, "by": count}
    return Operator(node.at, node.name, {"levels": [level, *node.parts["levels"]]})


_WITH_PART: dict[str, Callable[[Operator, Name], Operator]] = {"make-series": _series, "top-nested": _nested}


def _one_by_one(
    compiler: Compiler, relation: Relation, key: str, node: Operator, env: Environment
) -> Relation:
    """The values are looked up now; without an engine all rows are one part."""
    base = compiler.share(relation)
    place = next(place for place, column in enumerate(base.columns) if column.name == key)
    column = base.columns[place]
    native = node.parts.get("hint.strategy") in ("native", "shuffle")
    most = MOST_APART if native else MOST_LEGACY
    distinct = over(base)
    distinct.columns, distinct.distinct = [distinct.columns[place]], True
    frame = compiler.fetch(limited(distinct, most + 1))
    if frame is None:
        return _part(compiler, base, constant(column.type, None), node, env, key)
    if len(frame.rows) > most:
        raise KqlError(f"partition: the column '{key}' has more than {most} values.", node.at)
    legs: list[Leg] = []
    for (value,) in frame.rows:
        wanted = constant(column.type, to_constant(column.type, value))
        rows = over(base)
        own = rows.columns[place]
        text = f"{own.sql} = {wanted.sql}" if value is not None else f"isNull({own.sql})"
        if column.type == "dynamic" and value is None:
            text = f"{own.sql} = ''"
        rows.where.append(Condition(text, own.deps))
        legs.append(Leg("", _part(compiler, rows, wanted, node, env, key)))
    if not legs:
        return limited(_part(compiler, base, constant(column.type, None), node, env, key), 0)
    return joined_legs(legs, unified([leg.relation for leg in legs]))


def _part(
    compiler: Compiler, rows: Relation, value: Value, node: Operator, env: Environment, key: str
) -> Relation:
    """What is done with the rows of one value."""
    if (query := node.parts.get("query")) is not None:
        return compiler.pipeline(query, Environment(env, {key: value}))
    return _piped(compiler, rows, node.parts["body"], env)


def _piped(compiler: Compiler, rows: Relation, body: list[Operator], env: Environment) -> Relation:
    name = "$rows"
    return compiler.pipeline(Pipeline(0, Name(0, name), body), Environment(env, {name: rows}))


@operator("fork")
def fork(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """What the first branch gives; the others are checked."""
    branches: list[tuple[str, list[Operator]]] = node.parts["branches"]
    if not branches:
        raise KqlError("fork needs branches in parentheses.", node.at)
    base = compiler.share(relation)
    found = [_piped(compiler, base, body, env) for _, body in branches]
    return found[0]


@operator("facet")
def facet(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """What the body gives, or else the values of the first column with the numbers of their rows."""
    base = compiler.share(relation)
    found: list[Relation] = []
    if node.parts["body"]:
        found.append(_piped(compiler, base, node.parts["body"], env))
    for item in node.parts["by"]:
        value = Binder(compiler, env, Row(base.columns)).bind(item)
        if not value.is_column:
            raise KqlError("facet by takes names of columns.", item.at)
        count: Expr = Named(item.at, [f"count_{value.name}"], Call(item.at, "count", []))
        found.append(grouped(compiler, over(base), [count], [item], env))
    return found[0]
