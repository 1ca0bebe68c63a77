"""search and find: rows of several tables that fulfil a predicate of terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.operations import quote_pattern
from shieldwall.kql.operators.registry import operator, source
from shieldwall.kql.operators.rows import where
from shieldwall.kql.operators.unions import (
    Leg,
    Unified,
    by_name,
    common,
    joined_legs,
    legs_of,
    named_source,
    populated,
    table_below,
    unified,
)
from shieldwall.kql.relation import SEARCHED, Column, Relation, Select, is_hidden, over
from shieldwall.kql.scope import Environment, matches, unknown
from shieldwall.kql.syntax import Binary, Call, Expr, Literal, Name, Operator, Pipeline, Star, walk
from shieldwall.kql.syntax_search import TERM
from shieldwall.kql.values import Value, made, to_json

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

_CASED = {
    name: f"{name}_cs" for name in ("has", "hasprefix", "hassuffix", "contains", "startswith", "endswith")
} | {"=~": "==", "!~": "!="}


def plain_predicate(node: Expr, *, fold: bool) -> Expr:
    """The predicate with its terms as operators; ``fold`` is whether these take no notice of case."""
    if isinstance(node, Binary):
        if node.op in ("and", "or"):
            left, right = plain_predicate(node.left, fold=fold), plain_predicate(node.right, fold=fold)
            return Binary(node.at, node.op, left, right)
        if node.op == TERM:
            node = _term(node, fold=fold)
        negated, base = ("!", node.op[1:]) if node.op[0] == "!" and node.op != "!~" else ("", node.op)
        return node if fold else Binary(node.at, negated + _CASED.get(base, base), node.left, node.right)
    if isinstance(node, Call) and node.name == "not" and len(node.args) == 1:
        return Call(node.at, "not", [plain_predicate(node.args[0], fold=fold)])
    return node


def _term(node: Binary, *, fold: bool) -> Binary:
    """A term as what its wildcards mean."""
    if not isinstance(node.right, Literal) or not isinstance(node.right.value, str):
        return Binary(node.at, "has", node.left, node.right)
    text = node.right.value
    inner = text.strip("*")
    if "*" in inner:
        pattern = ".*".join(quote_pattern(part) for part in inner.split("*"))
        # As the service writes it: the edges are at words, where no wildcard stands.
        start, end = ("" if text[0] == "*" else r"\b"), ("" if text[-1] == "*" else r"\b")
        folded = Literal(node.right.at, "string", f"{'(?i)' if fold else ''}{start}{pattern}{end}")
        return Binary(node.at, "matches regex", node.left, folded)
    op = {(False, False): "has", (False, True): "hasprefix", (True, False): "hassuffix"}.get(
        (text[:1] == "*", text[-1:] == "*"), "contains"
    )
    return Binary(node.at, op, node.left, Literal(node.right.at, "string", inner))


def _names(predicate: Expr) -> set[str]:
    return {node.name for node in walk(predicate) if isinstance(node, Name)}


def _filtered(
    compiler: Compiler, leg: Relation, predicate: Expr, named: Iterable[Unified], env: Environment
) -> Relation:
    """The rows of a leg that fulfil the predicate; columns that only other legs have are null in it."""
    own = {column.name for column in leg.columns}
    missing = [item for item in named if item.source not in own]
    if isinstance(predicate, Literal) and predicate.value is True:
        return leg
    select: Relation = leg
    if missing:
        select = over(leg)
        select.columns += [Column(item.source, item.type, sql.null(item.type)) for item in missing]
    found = where(compiler, select, Operator(predicate.at, "where", {"predicate": predicate}), env)
    return found


def _search(compiler: Compiler, legs: list[Leg], node: Operator, env: Environment) -> Relation:
    kind = node.parts.get("kind", "default")
    if kind not in ("default", "case_insensitive", "case_sensitive"):
        raise KqlError(f"'{kind}' is not a kind of search.", node.at)
    predicate = plain_predicate(node.parts["predicate"], fold=kind != "case_sensitive")
    columns = [item for item in unified([leg.relation for leg in legs]) if item.name != SEARCHED]
    names = _names(predicate)
    named = [item for item in by_name([leg.relation for leg in legs]) if item.name in names]
    found = [
        Leg(leg.label, _filtered(compiler, leg.relation, predicate, named, env))
        for leg in populated(compiler, legs)
    ]
    return joined_legs(found, columns, SEARCHED)


def _all_tables(node: Operator) -> list[Pipeline]:
    return node.parts["tables"] or [Pipeline(node.at, Star(node.at), [])]


@source("search")
def search_source(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    return _search(compiler, legs_of(compiler, _all_tables(node), env), node, env)


@operator("search")
def search(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    if node.parts["tables"]:
        raise KqlError("search in (...) cannot stand behind a bar.", node.at)
    label = table_below(compiler, relation) or "search_arg0"
    return _search(compiler, [Leg(label, relation)], node, env)


@source("find")
def find(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    """Rows with the name of their table in front; what is not among the columns goes into a bag."""
    predicate = plain_predicate(node.parts["predicate"], fold=True)
    legs = legs_of(compiler, _all_tables(node), env)
    names = _names(predicate)
    if len(legs) > 1 and not any(isinstance(part, Star) for part in walk(predicate)):
        with_names = [leg for leg in legs if any(column.name in names for column in leg.relation.columns)]
        legs = with_names or legs[:1]
    relations = [leg.relation for leg in legs]
    every = by_name(relations)
    named = [item for item in every if item.name in names]
    columns = _find_columns(node, relations, every, names)
    withsource = named_source(node, "source_")
    found: list[Leg] = []
    shown = {item.source for item in columns}
    pack = node.parts["pack"] or (
        node.parts["project"] is None
        and any(
            column.name not in shown and not is_hidden(column.name)
            for leg in relations
            for column in leg.columns
        )
    )
    for leg in populated(compiler, legs):
        rows = _filtered(compiler, leg.relation, predicate, named, env)
        if pack:
            rows = _with_pack(rows, shown, {column.name for column in leg.relation.columns})
        found.append(Leg(leg.label, rows))
    if pack:
        columns.append(Unified("pack_", "dynamic", _PACK, frozenset(("dynamic",))))
    away = node.parts.get("away", [])
    if away:
        columns = [item for item in columns if not _away(item.name, away)]
    return joined_legs(found, columns, withsource)


_PACK = "$pack"


def _away(name: str, patterns: Sequence[Expr]) -> bool:
    return any(
        matches(item.pattern, name)
        if isinstance(item, Star)
        else isinstance(item, Name) and item.name == name
        for item in patterns
    )


def _find_columns(
    node: Operator, relations: list[Relation], every: list[Unified], names: set[str]
) -> list[Unified]:
    """Those of ``project``; else those that all tables have, then those that the predicate names."""
    if node.parts["project"] is None:
        columns = [item for item in common(relations) if not is_hidden(item.name)]
        given = {item.source for item in columns}
        return columns + [
            item for item in unified(relations) if item.source in names and item.source not in given
        ]
    from shieldwall.kql.compiler import type_named

    columns = []
    for name, kind, at in node.parts["project"]:
        item = next((item for item in every if item.name == name), None)
        if item is None:
            raise unknown("column", name, [item.name for item in every], at)
        columns.append(Unified(name, type_named(kind, at) if kind else item.type, name, item.kinds))
    return columns


def _with_pack(rows: Relation, shown: set[str], own: set[str]) -> Select:
    """The rows with a bag of those of their table's own columns that are not shown."""
    select = over(rows)
    values = [
        Value(column.type, column.sql, column.deps, name=column.name)
        for column in select.columns
        if column.name in own and column.name not in shown and not is_hidden(column.name)
    ]
    bag = packed(values)
    select.columns.append(Column(_PACK, "dynamic", bag.sql, bag.deps))
    return select


def packed(values: Sequence[Value]) -> Value:
    """A bag of values by their names."""
    if not values:
        return Value("dynamic", "'{}'")
    parts = [
        f"{sql.quote((',' if place else '{') + _key(value.name))}, {to_json(value)}"
        for place, value in enumerate(values)
    ]
    return made("dynamic", f"concat({', '.join(parts)}, '}}')", *values)


def _key(name: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '":'
