"""Graphs as values: make-graph, graph-mark-components, and graph-to-table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame
from shieldwall.kql.graphs import components
from shieldwall.kql.graphs.graph import ID, SOURCE, SUBGRAPH, TARGET, Graph, graph, properties
from shieldwall.kql.graphs.inputs import Questions, rows_of
from shieldwall.kql.graphs.leaves import Leaf
from shieldwall.kql.graphs.making import edge_rows, keys_of, node_rows, table_rows
from shieldwall.kql.graphs.network import Network
from shieldwall.kql.local import whole
from shieldwall.kql.operators import bodies
from shieldwall.kql.operators.columns import Names
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import PART, Column, Relation, Select, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Call, Name, Operator

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MOST_NODE_TABLES = 2


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
    if len(node.parts["nodes"]) > MOST_NODE_TABLES:
        raise KqlError(f"A graph has up to {MOST_NODE_TABLES} tables of nodes.", node.at)
    tables: list[tuple[Relation, Name]] = [
        (compiler.pipeline(table, env), key) for table, key in node.parts["nodes"]
    ]
    if tables and node.parts["with_node_id"]:
        raise KqlError("make-graph takes either tables of nodes or with_node_id.", node.at)
    source, target, partition = (node.parts[part] for part in ("source", "target", "partition"))
    keys = keys_of([(relation, source), (relation, target), *tables], partition, node.at)
    edges = compiler.share(edge_rows(relation, source, target, keys))
    nodes = node_rows(edges, [(table_rows(table, key, keys), key) for table, key in tables])
    if name := node.parts["with_node_id"]:
        nodes.columns.append(Column(str(name), keys.id, sql.ref(ID), nodes.columns[0].deps))
    found = graph(edges, nodes, node.at, partitioned=partition is not None)
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
