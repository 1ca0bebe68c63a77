"""join and lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.local import LocalCalls
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import Column, Condition, Join, Relation, Select, is_hidden, over, passed
from shieldwall.kql.scope import Environment, InnerRow, Row, unknown
from shieldwall.kql.syntax import Binary, Expr, Member, Name, Operator
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import Value, convert, ticks_of, to_string

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

Pair = tuple[Value, Value]

_SQL = {
    "innerunique": "SEMI LEFT JOIN",
    "inner": "INNER JOIN",
    "leftouter": "LEFT JOIN",
    "rightouter": "RIGHT JOIN",
    "fullouter": "FULL JOIN",
    "leftsemi": "SEMI LEFT JOIN",
    "leftanti": "ANTI LEFT JOIN",
    "rightsemi": "SEMI LEFT JOIN",
    "rightanti": "ANTI LEFT JOIN",
}
_OTHER_NAMES = {
    "anti": "leftanti",
    "leftantisemi": "leftanti",
    "rightantisemi": "rightanti",
    "outer": "fullouter",
}
_SWAPPED = ("innerunique", "rightsemi", "rightanti")
"""Kinds that ClickHouse reads the other way round: each row of the right side with any one of the left."""


@operator("join")
def join(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    kind = str(node.parts.get("kind", "innerunique")).lower()
    kind = _OTHER_NAMES.get(kind, kind)
    if kind not in _SQL:
        raise KqlError(f"'{kind}' is not a kind of join.", node.at)
    right = compiler.pipeline(node.parts["right"], env)
    return joined(compiler, relation, right, kind, node, env)


@operator("lookup")
def lookup(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    kind = node.parts.get("kind", "leftouter")
    if kind not in ("leftouter", "inner"):
        raise KqlError(f"'{kind}' is not a kind of lookup.", node.at)
    right = compiler.pipeline(node.parts["right"], env)
    return joined(compiler, relation, right, kind, node, env, keys_once=True)


def joined(
    compiler: Compiler,
    left: Relation,
    right: Relation,
    kind: str,
    node: Operator,
    env: Environment,
    *,
    keys_once: bool = False,
) -> Relation:
    """Both relations side by side; ``keys_once`` leaves the right side's keys out."""
    one = side(left, nullable=kind in ("rightouter", "fullouter"))
    other = side(right, nullable=kind in ("leftouter", "fullouter"))
    swapped = kind in _SWAPPED
    aliases = ("r", "l") if swapped else ("l", "r")
    rows = {
        "$left": Row(one.columns, aliases[0]),
        "$right": Row(other.columns, aliases[1]),
    }
    binder = Binder(compiler, env, Row(sides=rows))
    pairs: list[Pair] = []
    for condition in node.parts["on"]:
        _pairs(binder, condition, pairs)
    if not pairs:
        raise KqlError("A join needs a condition that compares columns of both sides.", node.at)
    sides: list[tuple[Column, str]] = []
    if kind not in ("rightsemi", "rightanti"):
        sides += [(column, aliases[0]) for column in one.columns]
    if kind not in ("leftsemi", "leftanti"):
        keys = {dep.name for _, value in pairs for dep in value.deps} if keys_once else set()
        own = {column.name for column, _ in sides}
        sides += [
            (column, aliases[1])
            for column in other.columns
            if column.name not in keys and not (is_hidden(column.name) and column.name in own)
        ]
    columns = distinct_names(sides)
    conditions = [_condition(pair, alone=len(pairs) == 1) for pair in pairs]
    first = None if kind in ("rightouter", "fullouter", "rightsemi", "rightanti") else one
    if swapped:
        return over(Join(columns, other, one, _SQL[kind], conditions, first))
    return over(Join(columns, one, other, _SQL[kind], conditions, first))


def pushed(compiler: Compiler, relation: Relation, node: Expr, env: Environment) -> bool:
    """Put a condition over a join into its left side, if it is about nothing else.

    For ``innerunique`` this comes before a row of each key is chosen, as in the service.
    """
    if not isinstance(relation, Select) or not relation.open or not isinstance(relation.over, Join):
        return False
    first = relation.over.first
    if first is None:
        return False
    local = LocalCalls()
    value = Binder(compiler, env, InnerRow(relation), local=local).boolean(node)
    within = {column.name: column for column in first.columns}
    for column in value.deps:
        below = within.get(column.name)
        shown = [other for other in relation.columns if column in other.deps]
        if below is None or below not in column.deps or any(other.name != column.name for other in shown):
            return False
    if local.pending or not value.deps:
        return False
    value = Binder(compiler, env, InnerRow(first)).boolean(node)
    first.where.append(Condition(value.condition, value.deps))
    return True


def distinct_names(sides: list[tuple[Column, str]]) -> list[Column]:
    """Columns of both sides; one whose name was there before has the first free number behind it."""
    taken = {column.name for column, _ in sides}
    seen: set[str] = set()
    columns: list[Column] = []
    for column, alias in sides:
        name, number = column.name, 0
        while name in seen if not number else name in taken:
            number += 1
            name = f"{column.name}{number}"
        seen.add(name)
        taken.add(name)
        columns.append(passed(column, alias, name))
    return columns


_NULL = "toInt64('-9223372036854775808')"


def _condition(pair: Pair, *, alone: bool) -> Condition:
    """That two keys are the same. A null is the same as a null."""
    left, right = _alike(pair)
    deps = left.deps | right.deps
    if left.type == "string":
        return Condition(f"{left.sql} = {right.sql}", deps)
    if alone and left.type in ("int", "long", "timespan", "datetime"):
        # A number for null costs less than a comparison that knows nulls, where no other key is hashed.
        sides = [ticks_of(side.sql) if side.type == "datetime" else side.sql for side in (left, right)]
        one, other = (f"ifNull(toInt64({text}), {_NULL})" for text in sides)
        return Condition(f"{one} = {other}", deps)
    return Condition(f"{left.sql} <=> {right.sql}", deps)


def side(relation: Relation, *, nullable: bool) -> Select:
    """An input of a join; with ``nullable``, what has no partner shows as null."""
    select = over(relation)
    select.order = []
    if nullable:
        for column in select.columns:
            if column.type not in ("string", "dynamic"):
                column.sql, column.plain = f"toNullable({column.sql})", False
    return select


def _pairs(binder: Binder, node: Expr, found: list[Pair]) -> None:
    """The pairs of keys that a condition compares."""
    if isinstance(node, Binary) and node.op == "and":
        _pairs(binder, node.left, found)
        _pairs(binder, node.right, found)
        return
    sides = binder.row.sides
    if isinstance(node, Name):
        left, right = sides["$left"].column(node.name), sides["$right"].column(node.name)
        for value, row in ((left, sides["$left"]), (right, sides["$right"])):
            if value is None:
                raise unknown("column", node.name, row.names, node.at)
        assert left is not None
        assert right is not None
        found.append((left, right))
        return
    if isinstance(node, Binary) and node.op == "==":
        one, other = _sided(binder, node.left), _sided(binder, node.right)
        if one and other and one[0] != other[0]:
            found.append((one[1], other[1]) if one[0] == "$left" else (other[1], one[1]))
            return
    raise KqlError("A join compares columns by name or as $left.a == $right.b.", node.at)


def _sided(binder: Binder, node: Expr) -> tuple[str, Value] | None:
    if isinstance(node, Member) and isinstance(node.of, Name) and node.of.name in binder.row.sides:
        return node.of.name, binder.bind(node)
    return None


def _alike(pair: Pair) -> Pair:
    """Keys of one type, so that equal ones hash alike."""
    left, right = pair
    if left.type == right.type:
        return (to_string(left), to_string(right)) if left.type == "dynamic" else pair
    if left.type in NUMERIC and right.type in NUMERIC:
        kind = wider(left.type, right.type)
        return convert(left, kind), convert(right, kind)
    return to_string(left), to_string(right)
