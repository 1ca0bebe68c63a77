"""top-nested and top-hitters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.operators.columns import Names, extended
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.rows import limited, row_count
from shieldwall.kql.relation import Column, Condition, Join, Relation, SortKey, Union, over, passed
from shieldwall.kql.scope import NO_ROW, Environment, Row
from shieldwall.kql.syntax import Call, Expr, Name, Named, Operator, Ordered
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


_ROWS = "$rows"


def _plain(node: Expr) -> Expr:
    return node.value if isinstance(node, Named) else node


def _name_of(compiler: Compiler, relation: Relation, node: Expr, env: Environment) -> str:
    """What a column made of an expression is called; empty where nothing names it."""
    if isinstance(node, Named):
        return node.names[0]
    if isinstance(node, Name):
        return node.name
    return Binder(compiler, env, Row(relation.columns), aggregates=True).bind(node).name


@operator("top-hitters")
def top_hitters(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """The values that most rows have, or rows with the largest sum; counted exactly."""
    of, by = node.parts["of"], node.parts["by"]
    name = _name_of(compiler, relation, of, env) or "Column1"
    if by is None:
        aggregate: Expr = Call(node.at, "count", [])
        total = f"approximate_count_{name}"
    else:
        aggregate = Call(node.at, "sum", [by])
        total = f"approximate_sum_{_name_of(compiler, relation, by, env)}"
    select = over(
        grouped(
            compiler,
            relation,
            [Named(node.at, [total], aggregate)],
            [Named(node.at, [name], _plain(of))],
            env,
        )
    )
    amount = select.columns[-1]
    select.order = [SortKey(amount.sql, amount.deps, True, False)]
    return limited(select, row_count(compiler, node.parts["count"], env))


@dataclass(slots=True)
class Level:
    """One level of top-nested: columns ``key`` and ``total`` hold what it is of, and its aggregate."""

    key: str
    total: str
    count: int | None
    order: Ordered
    others: Value | None


@operator("top-nested")
def top_nested(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    levels: list[Level] = []
    names = Names()
    shown: list[str] = []
    keys: list[Expr] = []
    for number, part in enumerate(node.parts["levels"]):
        count = row_count(compiler, part["count"], env) if part["count"] is not None else None
        others = Binder(compiler, env, NO_ROW).bind(part["others"]) if part["others"] is not None else None
        levels.append(Level(f"$key{number}", f"$total{number}", count, part["by"], others))
        keys.append(Named(node.at, [f"$key{number}"], _plain(part["of"])))
        of = _name_of(compiler, relation, part["of"], env)
        by = part["by"].value
        shown.append(names.give(of))
        shown.append(names.give(by.names[0] if isinstance(by, Named) else f"aggregated_{of}"))
    base: Relation = extended(compiler, relation, keys, env)
    if len(levels) > 1 or levels[0].others:
        base = compiler.share(base)
    legs: list[Relation] = []
    chosen: Relation | None = None
    for number, level in enumerate(levels):
        rows = base if chosen is None else _within(base, chosen, levels[:number])
        chosen = _chosen(compiler, rows, levels[:number], level, env)
        if any(deeper.others for deeper in levels[number:]):
            legs.append(_others(compiler, rows, chosen, levels, number, env))
    assert chosen is not None
    legs.insert(0, chosen)
    return _result(legs, levels, shown)


def _prefix(levels: list[Level]) -> list[Expr]:
    """The keys and totals of levels, as keys to group by."""
    names = [name for level in levels for name in (level.key, level.total)]
    return [Named(0, [name], Name(0, name)) for name in names]


def _total(level: Level) -> Expr:
    return Named(level.order.at, [level.total], _plain(level.order.value))


def _chosen(
    compiler: Compiler, rows: Relation, before: list[Level], level: Level, env: Environment
) -> Relation:
    """The top values of a level within each of those chosen before."""
    by = [*_prefix(before), Named(0, [level.key], Name(0, level.key))]
    found = over(grouped(compiler, over(rows), [_total(level)], by, env))
    if level.count is None:
        return found
    columns = {column.name: column for column in found.columns}
    total = columns[level.total]
    descending = level.order.descending
    nulls_first = level.order.nulls == "first" if level.order.nulls else not descending
    found.order = [SortKey(total.sql, total.deps, descending, nulls_first)]
    if before:
        found.limit_by = (level.count, [columns[item.key] for item in before])
    else:
        found.limit = level.count
    return found


def _same_keys(left: Relation, right: Relation, levels: list[Level]) -> list[Condition]:
    found: list[Condition] = []
    for level in levels:
        pair = [next(column for column in side.columns if column.name == level.key) for side in (left, right)]
        condition = f"{sql.ref(level.key, 'l')} <=> {sql.ref(level.key, 'r')}"
        found.append(Condition(condition, frozenset(pair)))
    return found


def _within(base: Relation, chosen: Relation, levels: list[Level]) -> Relation:
    """The rows whose keys were chosen, with the totals of these."""
    right = over(chosen)
    right.order = []
    left = over(base)
    totals = [column for column in right.columns if column.name in {level.total for level in levels}]
    columns = [passed(column, "l") for column in left.columns] + [passed(column, "r") for column in totals]
    return over(Join(columns, left, right, "INNER JOIN", _same_keys(left, right, levels)))


def _others(
    compiler: Compiler, rows: Relation, chosen: Relation, levels: list[Level], number: int, env: Environment
) -> Relation:
    """A row for all values of a level that were not chosen, within each of those chosen before."""
    left, right = over(rows), over(chosen)
    right.order = []
    on = _same_keys(left, right, levels[: number + 1])
    rest = Join([passed(column, "l") for column in left.columns], left, right, "ANTI LEFT JOIN", on)
    totals: list[Expr] = [_total(level) for level in levels[number:] if level.others]
    totals.append(Named(0, [_ROWS], Call(0, "count", [])))
    found = over(grouped(compiler, over(rest), totals, _prefix(levels[:number]), env))
    # Where there is nothing to group by, a row stands for no rows too.
    amount = found.columns.pop()
    found.where.append(Condition(f"{amount.sql} > 0", amount.deps))
    for level in levels[number:]:
        if level.others is not None:
            value = level.others
            found.columns.append(Column(level.key, value.type, value.sql))
    return found


def _result(legs: list[Relation], levels: list[Level], shown: list[str]) -> Relation:
    """The legs with the columns that the query shows, one below the other."""
    inner = [name for level in levels for name in (level.key, level.total)]
    kinds = {column.name: column.type for column in legs[0].columns}
    selects: list[Relation] = []
    for leg in legs:
        select = over(leg)
        select.order = []
        have = {column.name: column for column in select.columns}
        columns: list[Column] = []
        for name, outer in zip(inner, shown, strict=True):
            column, kind = have.get(name), kinds[name]
            if column is None:
                columns.append(Column(outer, kind, sql.null(kind)))
                continue
            value = convert(Value(column.type, column.sql, column.deps), kind)
            columns.append(Column(outer, kind, value.sql, value.deps))
        select.columns = columns
        selects.append(select)
    if len(selects) == 1:
        return selects[0]
    return over(
        Union([Column(name, kinds[place]) for name, place in zip(shown, inner, strict=True)], selects)
    )
