"""union, and what search and find share with it: several tables as one, columns matched by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError, UnknownSourceError
from shieldwall.kql.operators.registry import operator, source
from shieldwall.kql.relation import Column, Relation, Select, Table, Union, is_hidden, over
from shieldwall.kql.scope import Binding, Environment, matches
from shieldwall.kql.syntax import Call, Function, Literal, Name, Operator, Pipeline, Star
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


@dataclass(slots=True)
class Leg:
    """One input. ``label`` is its table's name, or ``union_arg0`` and so on where it is no plain table."""

    label: str
    relation: Relation


@dataclass(slots=True)
class Unified:
    """A column of the whole, made of the legs' columns that are named ``source`` and of one of ``kinds``."""

    name: str
    type: str
    source: str
    kinds: frozenset[str]


def legs_of(
    compiler: Compiler, nodes: Sequence[Pipeline], env: Environment, *, first: int = 0, fuzzy: bool = False
) -> list[Leg]:
    """The tables that are named, wildcards resolved; with ``fuzzy`` those that are not there are left out."""
    found: list[Leg] = []
    for number, node in enumerate(nodes, first):
        if isinstance(node.source, Star) and not node.operators:
            names = list(matching_tables(compiler, node.source.pattern, env))
            if not names and not fuzzy:
                raise UnknownSourceError(f"No table fits '{node.source.pattern}'.", node.at, "SEM0100")
            found += [Leg(name, compiler.source(Name(node.at, name), env)) for name in names]
            continue
        try:
            relation = compiler.pipeline(node, env)
        except UnknownSourceError:
            if not fuzzy:
                raise
            continue
        found.append(Leg(_table_name(compiler, node, env) or f"union_arg{number}", relation))
    if nodes and not found:
        raise UnknownSourceError("None of the tables is there.", nodes[0].at, "SEM0100")
    return found


def matching_tables(compiler: Compiler, pattern: str, env: Environment) -> Iterator[str]:
    """Tables and views that a wildcard finds."""
    for name in compiler.schema.tables:
        if matches(pattern, name):
            yield name
    for name in reversed(env.visible()):
        bound = env.find(name)
        if (
            isinstance(bound, Binding)
            and isinstance(bound.node, Function)
            and bound.node.view
            and not bound.node.parameters
            and matches(pattern, name)
        ):
            yield name


def _table_name(compiler: Compiler, node: Pipeline, env: Environment) -> str:
    """The name of the table that a leg is; empty where it is more than that."""
    if node.operators:
        return ""
    start = node.source
    if isinstance(start, Pipeline):
        return _table_name(compiler, start, env)
    if (
        isinstance(start, Call)
        and start.name == "table"
        and start.args
        and isinstance(start.args[0], Literal)
    ):
        return str(start.args[0].value)
    if not isinstance(start, Name):
        return ""
    bound = env.find(start.name)
    if bound is None:
        table = compiler.schema.table(start.name)
        return table.name if table else start.name
    return start.name if isinstance(bound, Binding) and _is_view(bound) else ""


def _is_view(bound: Binding) -> bool:
    return isinstance(bound.node, Function) and bound.node.view


def unified(legs: Sequence[Relation]) -> list[Unified]:
    """All columns of all legs; a name with several types gives a column for each, named ``name_type``."""
    kinds: dict[str, list[str]] = {}
    for leg in legs:
        for column in leg.columns:
            types = kinds.setdefault(column.name, [])
            if column.type not in types:
                types.append(column.type)
    found: list[Unified] = []
    taken = {name for name, types in kinds.items() if len(types) == 1}
    for name, types in kinds.items():
        if len(types) == 1:
            found.append(Unified(name, types[0], name, frozenset(types)))
            continue
        for kind in types:
            given, number = f"{name}_{kind}", 1
            while given in taken:
                given, number = f"{name}_{kind}{number}", number + 1
            taken.add(given)
            found.append(Unified(given, kind, name, frozenset((kind,))))
    return found


def common(legs: Sequence[Relation]) -> list[Unified]:
    """The columns that all legs have, matched by name; dynamic where their types have nothing in common."""
    return [item for item in by_name(legs) if all(_column(leg, item) for leg in legs)]


def by_name(legs: Sequence[Relation]) -> list[Unified]:
    """All columns of all legs, one for each name."""
    kinds: dict[str, list[str]] = {}
    for leg in legs:
        for column in leg.columns:
            kinds.setdefault(column.name, []).append(column.type)
    return [Unified(name, common_type(types), name, frozenset(types)) for name, types in kinds.items()]


def common_type(types: Sequence[str]) -> str:
    found = types[0]
    for kind in types[1:]:
        if kind == found:
            continue
        if kind not in NUMERIC or found not in NUMERIC:
            return "dynamic"
        found = wider(found, kind)
    return found


def _column(leg: Relation, item: Unified) -> Column | None:
    return next(
        (column for column in leg.columns if column.name == item.source and column.type in item.kinds), None
    )


def aligned(leg: Relation, columns: Sequence[Unified], label: str = "", withsource: str = "") -> Select:
    """The leg with just these columns, null where it has none, behind one named ``withsource``."""
    select = over(leg)
    # The order of a leg is none of the whole.
    select.order = []
    # A name that was given twice stands for its last column.
    places = {
        (column.name, column.type): outer for column, outer in zip(leg.columns, select.columns, strict=True)
    }
    shown: list[Column] = []
    if withsource:
        shown.append(Column(withsource, "string", sql.quote(label)))
    for item in columns:
        inner = next((found for kind in item.kinds if (found := places.get((item.source, kind)))), None)
        if inner is None:
            shown.append(Column(item.name, item.type, sql.null(item.type)))
        elif inner.type == item.type:
            shown.append(Column(item.name, item.type, inner.sql, inner.deps, inner.plain, inner.indexed))
        else:
            value = convert(Value(inner.type, inner.sql, inner.deps), item.type)
            shown.append(Column(item.name, item.type, value.sql, value.deps))
    select.columns = shown
    return select


def joined_legs(legs: Sequence[Leg], columns: Sequence[Unified], withsource: str = "") -> Union:
    """The rows of all legs."""
    selects = [aligned(leg.relation, columns, leg.label, withsource) for leg in legs]
    return Union([Column(column.name, column.type) for column in selects[0].columns], list(selects))


def table_below(compiler: Compiler, relation: Relation) -> str:
    """The name of the table whose rows these are, unchanged or filtered; empty if they are of none."""
    while isinstance(relation, Select) and not relation.grouped and relation.over is not None:
        relation = relation.over
    if not isinstance(relation, Table):
        return ""
    return next(
        (name for name, table in compiler.schema.tables.items() if table.source == relation.table), ""
    )


MANY = 8
"""From so many legs on it is worth to look which tables have rows."""


def populated(compiler: Compiler, legs: list[Leg]) -> list[Leg]:
    """The legs without those that are empty tables, at least one: each costs a column for every other's."""
    tables = [leg for leg in legs if isinstance(leg.relation, Table)]
    if len(tables) < MANY or compiler.engine is None:
        return legs
    probes: list[Relation] = []
    for leg in tables:
        probe = over(leg.relation)
        probe.columns, probe.limit = [Column("label", "string", sql.quote(leg.label))], 1
        probes.append(probe)
    frame = compiler.fetch(Union([Column("label", "string")], probes))
    labels = {row[0] for row in frame.rows} if frame is not None else set()
    return [leg for leg in legs if leg.label in labels or leg not in tables] or legs[:1]


def union_of(compiler: Compiler, node: Operator, legs: list[Leg]) -> Relation:
    kind = node.parts.get("kind", "outer")
    if kind not in ("inner", "outer"):
        raise KqlError(f"'{kind}' is not a kind of union.", node.at)
    relations = [leg.relation for leg in legs]
    columns = common(relations) if kind == "inner" else unified(relations)
    withsource = named_source(node, "")
    if withsource and any(item.name == withsource for item in columns):
        columns = [item for item in columns if item.name != withsource]
    if len(legs) == 1 and not withsource:
        return legs[0].relation
    return joined_legs(populated(compiler, legs), columns, withsource)


def named_source(node: Operator, default: str) -> str:
    """The name of the column that says where a row comes from."""
    name = node.parts.get("withsource", default)
    if not isinstance(name, str) or is_hidden(name):
        raise KqlError("withsource takes the name of a column.", node.at)
    return name


def is_fuzzy(node: Operator) -> bool:
    return str(node.parts.get("isfuzzy", "")).lower() in ("true", "1")


@source("union")
def union_source(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    return union_of(compiler, node, legs_of(compiler, node.parts["tables"], env, fuzzy=is_fuzzy(node)))


@operator("union")
def union(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """The rows of the input and of the tables."""
    try:
        legs = legs_of(compiler, node.parts["tables"], env, first=1, fuzzy=is_fuzzy(node))
    except UnknownSourceError:
        if not is_fuzzy(node):
            raise
        legs = []
    label = table_below(compiler, relation) if isinstance(relation, Table) else ""
    return union_of(compiler, node, [Leg(label or "union_arg0", relation), *legs])
