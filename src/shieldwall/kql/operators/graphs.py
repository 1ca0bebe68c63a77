"""Graphs as values: make-graph, graph-mark-components, and graph-to-table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame
from shieldwall.kql.graphs import components
from shieldwall.kql.graphs.graph import (
    DEGREE_IN,
    DEGREE_OUT,
    ID,
    SOURCE,
    SUBGRAPH,
    TARGET,
    Graph,
    graph,
    properties,
)
from shieldwall.kql.graphs.inputs import Questions, rows_of
from shieldwall.kql.graphs.leaves import Leaf
from shieldwall.kql.graphs.network import Network
from shieldwall.kql.local import whole
from shieldwall.kql.operators import bodies
from shieldwall.kql.operators.columns import Names
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.unions import by_name
from shieldwall.kql.relation import PART, Column, Relation, Select, Union, is_hidden, over
from shieldwall.kql.scope import Environment, unknown
from shieldwall.kql.syntax import Call, Name, Operator
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MOST_NODE_TABLES = 2
_RANK = "$rank"
"""From which table the row of a node comes: the number of a table of nodes, or 0 for the edges."""


def graph_of(relation: Relation, node: Operator) -> Graph:
    """The graph that an operator works on. KqlError if it is a table."""
    if not isinstance(relation, Graph):
        raise KqlError(f"{node.name} takes a graph, such as make-graph gives one.", node.at, "SEM0104")
    return relation


@operator("make-graph")
def make_graph(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """A graph of edges and of tables of nodes; or what the operators give that it is partitioned for."""
    if node.parts["way"] != "-->":
        raise KqlError("Graphs without directions are not available; use '-->'.", node.at)
    tables: list[tuple[Relation, Name]] = [
        (compiler.pipeline(table, env), key) for table, key in node.parts["nodes"]
    ]
    if len(tables) > MOST_NODE_TABLES:
        raise KqlError(f"A graph has up to {MOST_NODE_TABLES} tables of nodes.", node.at)
    if tables and node.parts["with_node_id"]:
        raise KqlError("make-graph takes either tables of nodes or with_node_id.", node.at)
    ends: tuple[Name, Name] = (node.parts["source"], node.parts["target"])
    partition: Name | None = node.parts["partition"]
    keys = [(relation, end) for end in ends] + tables
    kind = _common([_named(table, key).type for table, key in keys], node.at)
    own = _common([_named(table, partition).type for table, _ in keys], node.at) if partition else ""
    edges = over(relation)
    edges.columns = [column for column in edges.columns if not is_hidden(column.name)]
    for name, key in zip((SOURCE, TARGET), ends, strict=True):
        edges.columns.append(_as(_named(edges, key), name, kind))
    if partition:
        edges.columns.append(_as(_named(edges, partition), SUBGRAPH, own))
    shared = compiler.share(edges)
    nodes = _nodes(shared, [_node_rows(table, key, kind, partition, own) for table, key in tables], tables)
    if name := node.parts["with_node_id"]:
        nodes.columns.append(Column(str(name), kind, sql.ref(ID), nodes.columns[0].deps))
    found: Relation = graph(shared, nodes, node.at, partitioned=partition is not None)
    return _body(compiler, found, node.parts["body"], env) if partition else found


def _body(compiler: Compiler, found: Relation, body: Sequence[Operator], env: Environment) -> Relation:
    """What operators give of each subgraph by itself."""
    for step in body:
        if isinstance(found, Graph):
            found = compiler.operator(found, step, env)
        else:
            found = bodies.run(compiler, found, step, env)
    if isinstance(found, Graph):
        raise found.refused()
    result = over(found)
    result.columns = [column for column in result.columns if not bodies.is_kept(column.name)]
    return result


def _named(relation: Relation, key: Name) -> Column:
    found = next((column for column in relation.columns if column.name == key.name), None)
    if found is None:
        raise unknown("column", key.name, [column.name for column in relation.columns], key.at)
    return found


def _common(kinds: list[str], at: int) -> str:
    """The type of keys that are compared with each other."""
    # Ids are compared, which dynamics are not but by their text.
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


def _node_rows(table: Relation, key: Name, kind: str, partition: Name | None, own: str) -> Select:
    """One row of a table for each node."""
    rows = over(table)
    shown = [column for column in rows.columns if not is_hidden(column.name)]
    ids = [_as(_named(rows, key), ID, kind)]
    if partition:
        ids.append(_as(_named(rows, partition), SUBGRAPH, own))
    rows.columns = [*ids, *shown]
    rows.limit_by = (1, ids)
    return over(rows)


def _nodes(edges: Relation, rows: list[Select], tables: list[tuple[Relation, Name]]) -> Select:
    """A row for each node that a table or an edge has, with the properties that tables give it."""
    keys = [column.name for column in edges.columns if column.name in (SOURCE, SUBGRAPH)]
    legs = [
        _leg(table, {ID: ID, SUBGRAPH: SUBGRAPH}, number, "0", "0") for number, table in enumerate(rows, 1)
    ]
    legs.append(_leg(over(edges), {ID: SOURCE, SUBGRAPH: SUBGRAPH}, 0, "0", "1"))
    legs.append(_leg(over(edges), {ID: TARGET, SUBGRAPH: SUBGRAPH}, 0, "1", "0"))
    names = [ID, *keys[1:], _RANK, DEGREE_IN, DEGREE_OUT]
    unified = by_name([relation for relation, _ in tables]) if tables else []
    given = [item for item in unified if not is_hidden(item.name)]
    for leg in legs:
        held = {column.name: column for column in leg.columns}
        columns = [held[name] for name in names]
        for item in given:
            if (column := held.get(item.name)) is not None and leg is not legs[-1] and leg is not legs[-2]:
                columns.append(_as(column, item.name, item.type))
            else:
                columns.append(Column(item.name, item.type, sql.null(item.type)))
        leg.columns = columns
    both = over(Union([Column(column.name, column.type) for column in legs[0].columns], list(legs)))
    below = {column.name: column for column in both.columns}
    ids = {key.name for _, key in tables}
    both.keys = [below[name] for name in (ID, *keys[1:])]
    both.grouped = True
    both.columns = [*both.keys, *(_total(below[name]) for name in (DEGREE_IN, DEGREE_OUT))]
    for item in given:
        both.columns.append(_merged(below, item.name, len(tables), is_id=item.name in ids))
    return over(both)


def _leg(rows: Select, names: dict[str, str], rank: int, arriving: str, leaving: str) -> Select:
    """Rows of nodes, or of edges as the nodes at one of their ends."""
    held = {column.name: column for column in rows.columns}
    ids = [
        Column(name, held[of].type, held[of].sql, held[of].deps) for name, of in names.items() if of in held
    ]
    numbers = {_RANK: str(rank), DEGREE_IN: arriving, DEGREE_OUT: leaving}
    rows.columns = [
        *ids,
        *(Column(name, "long", f"toInt64({number})") for name, number in numbers.items()),
        *(column for column in rows.columns if not is_hidden(column.name)),
    ]
    return rows


def _total(column: Column) -> Column:
    return Column(column.name, "long", f"sum({column.sql})", column.deps)


def _merged(below: dict[str, Column], name: str, tables: int, *, is_id: bool) -> Column:
    """A property of a node: from the first table that has it; the id itself for one that no table has."""
    column, rank, key = below[name], below[_RANK], below[ID]
    empty = column.type in ("string", "dynamic")
    found = ""
    for number in range(tables, 0, -1):
        own = f"anyIf({column.sql}, {rank.sql} = {number})"
        if not found:
            found = own
        else:
            found = f"if({own} != '', {own}, {found})" if empty else f"coalesce({own}, {found})"
    deps = column.deps | rank.deps
    if is_id:
        value = convert(Value(key.type, key.sql, key.deps), column.type)
        found, deps = f"if(max({rank.sql}) = 0, {value.sql}, {found})", deps | value.deps
    return Column(name, column.type, found, deps)


@operator("graph-mark-components")
def graph_mark_components(
    compiler: Compiler, relation: Relation, node: Operator, env: Environment
) -> Relation:
    """The graph, with the number of its component as a property of each node."""
    found = graph_of(relation, node)
    kind = str(node.parts.get("kind", "weak"))
    mark = str(node.parts.get("with_component_id", "ComponentId"))
    work = {"weak": components.weak, "strong": components.strong}.get(kind)
    if work is None:
        raise KqlError(f"'{kind}' is not a kind of component; weak and strong are.", node.at)
    kept = [column for column in found.nodes.columns if column.name != mark]
    leaves = [Leaf(column.name, "", Name(node.at, column.name), True) for column in kept]
    asked = Questions(leaves)
    rows = rows_of(compiler, found, Questions(), asked, env)

    def run(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        network = Network(frames[0], 0, partitioned=found.partitioned)
        marks = work(len(network.node_rows), network.sources, network.targets)
        places = {leaf.name: asked.places[leaf] for leaf in leaves}
        return [
            [number if name == mark else row[places[name]] for name in wanted]
            for row, number in zip(
                network.node_rows, components.numbered(marks, network.subgraphs), strict=True
            )
            if row is not None
        ]

    columns = [*((column.name, column.type) for column in kept), (mark, "long")]
    marked = over(whole(compiler, [rows], columns, run))
    return graph(found.edges, marked, found.at, partitioned=found.partitioned)


@operator("graph-to-table")
def graph_to_table(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """The first of the tables that are asked for. Those with names are there for later statements."""
    found = graph_of(relation, node)
    tables: list[Relation] = []
    for part in node.parts["tables"]:
        table: Relation = _table(compiler, found, part, env)
        if part["as"]:
            table = env.names[part["as"]] = compiler.share(table)
        tables.append(table)
    return tables[0]


_IDS = {"with_node_id": ID, "with_source_id": SOURCE, "with_target_id": TARGET}


def _table(compiler: Compiler, found: Graph, part: dict[str, Any], env: Environment) -> Select:
    """The nodes or the edges; before their properties, the hashes of ids that are asked for."""
    names = Names()

    def work(binder: Binder) -> list[Column]:
        hashes: list[Column] = []
        for option, name in part["ids"]:
            value = binder.bind(Call(part["at"], "hash", [Name(part["at"], _IDS[option])]))
            hashes.append(Column(name, value.type, value.sql, value.deps))
        return hashes

    rows = over(found.nodes if part["what"] == "nodes" else found.edges)
    rows, hashes = compiler.bind_into(rows, env, work, inline=True)
    columns = [*hashes, *properties(rows)]
    if not columns:
        raise KqlError(
            "The nodes of this graph have no properties; name their ids by with_node_id.", part["at"]
        )
    for column in columns:
        column.name = names.give(column.name)
    rows.columns = [*columns, *(part_of(rows) if found.partitioned else [])]
    return rows


def part_of(rows: Relation) -> list[Column]:
    """The column that tells later operators to which subgraph a row belongs."""
    column = next(column for column in rows.columns if column.name == SUBGRAPH)
    return [Column(f"{PART}0", column.type, column.sql, column.deps)]
