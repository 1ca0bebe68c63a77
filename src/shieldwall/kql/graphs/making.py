"""The rows of edges and of nodes of a graph that is made of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.graphs.graph import DEGREE_IN, DEGREE_OUT, ID, SOURCE, SUBGRAPH, TARGET, properties
from shieldwall.kql.operators.unions import Unified, by_name
from shieldwall.kql.relation import Column, Relation, Select, Union, over
from shieldwall.kql.scope import unknown
from shieldwall.kql.syntax import Name
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import Value, convert

_TABLE = "$table_number"
"""From which table of nodes a row comes, from 1; 0 for the edges."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The types of ids and, if the graph is partitioned, of the column that it is partitioned by."""

    id: str
    subgraph: str
    partition: Name | None


def keys_of(tables: Sequence[tuple[Relation, Name]], partition: Name | None, at: int) -> Keys:
    """The types of keys, given all columns that hold ids. KqlError where these do not fit together."""
    own = _common([_named(table, partition).type for table, _ in tables], at) if partition else ""
    return Keys(_common([_named(table, key).type for table, key in tables], at), own, partition)


def _named(relation: Relation, key: Name) -> Column:
    found = next((column for column in relation.columns if column.name == key.name), None)
    if found is None:
        raise unknown("column", key.name, [column.name for column in relation.columns], key.at)
    return found


def _common(kinds: list[str], at: int) -> str:
    """The type of keys that are compared with each other: dynamics by their text."""
    found, *others = ("string" if kind == "dynamic" else kind for kind in kinds)
    for kind in others:
        if kind != found and kind in NUMERIC and found in NUMERIC:
            found = wider(kind, found)
        elif kind != found:
            raise KqlError(
                f"The ids of nodes must be of one type, not a {found} and a {kind}.", at, "SEM1019"
            )
    return found


def _as(column: Column, name: str, kind: str) -> Column:
    """A column of a SELECT once more, as another type."""
    value = convert(Value(column.type, column.sql, column.deps), kind)
    return Column(name, kind, value.sql, value.deps)


def edge_rows(relation: Relation, source: Name, target: Name, keys: Keys) -> Select:
    """All rows, with the ids of both ends."""
    return _with_keys(relation, {SOURCE: source, TARGET: target}, keys)


def table_rows(table: Relation, key: Name, keys: Keys) -> Select:
    """A row of a table for each id."""
    rows = _with_keys(table, {ID: key}, keys)
    rows.limit_by = (1, [column for column in rows.columns if column.name in (ID, SUBGRAPH)])
    return over(rows)


def _with_keys(relation: Relation, ids: dict[str, Name], keys: Keys) -> Select:
    rows = over(relation)
    shown = properties(rows)
    rows.columns = [*shown, *(_as(_named(rows, key), name, keys.id) for name, key in ids.items())]
    if keys.partition:
        rows.columns.append(_as(_named(rows, keys.partition), SUBGRAPH, keys.subgraph))
    return rows


def node_rows(edges: Relation, tables: list[tuple[Select, Name]]) -> Select:
    """A row for each node that a table or an edge has, with the properties that tables give it."""
    given = by_name([Relation(properties(rows)) for rows, _ in tables]) if tables else []
    legs = [_leg(rows, ID, number, given) for number, (rows, _) in enumerate(tables, 1)]
    legs += [_leg(over(edges), end, 0, given) for end in (SOURCE, TARGET)]
    found = over(Union([Column(column.name, column.type) for column in legs[0].columns], list(legs)))
    below = {column.name: column for column in found.columns}
    found.keys = [column for column in found.columns if column.name in (ID, SUBGRAPH)]
    found.grouped = True
    found.columns = list(found.keys)
    for name in (DEGREE_IN, DEGREE_OUT):
        found.columns.append(Column(name, "long", f"sum({below[name].sql})", below[name].deps))
    ids = {key.name for _, key in tables}
    for item in given:
        found.columns.append(_merged(below, item.name, len(tables), is_id=item.name in ids))
    return over(found)


def _leg(rows: Select, end: str, number: int, given: list[Unified]) -> Select:
    """Rows of nodes, or of edges as nodes at one of their ends; each edge counts there once."""
    held = {column.name: column for column in rows.columns}
    counted = {_TABLE: number, DEGREE_IN: int(end == TARGET), DEGREE_OUT: int(end == SOURCE)}
    columns = [_as(held[end], ID, held[end].type)]
    if SUBGRAPH in held:
        columns.append(held[SUBGRAPH])
    columns += [Column(name, "long", f"toInt64({count})") for name, count in counted.items()]
    for item in given:
        if number and item.name in held:
            columns.append(_as(held[item.name], item.name, item.type))
        else:
            columns.append(Column(item.name, item.type, sql.null(item.type)))
    rows.columns = columns
    return rows


def _merged(below: dict[str, Column], name: str, tables: int, *, is_id: bool) -> Column:
    """A property of a node: from the first table that has it; the id itself for one that no table has."""
    column, number, key = below[name], below[_TABLE], below[ID]
    text, *others = (f"anyIf({column.sql}, {number.sql} = {place})" for place in range(1, tables + 1))
    for other in others:
        is_empty = f"empty({text})" if column.type in ("string", "dynamic") else f"isNull({text})"
        text = f"if({is_empty}, {other}, {text})"
    deps = column.deps | number.deps
    if is_id:
        value = convert(Value(key.type, key.sql, key.deps), column.type)
        text, deps = f"if(max({number.sql}) = 0, {value.sql}, {text})", deps | value.deps
    return Column(name, column.type, text, deps)
