"""What the search reads: the rows of edges and of nodes, with all that is asked of each, in one statement."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.expressions import Binder
from shieldwall.kql.graphs.graph import BAG, ID, SOURCE, SUBGRAPH, TARGET, Element, Graph
from shieldwall.kql.graphs.leaves import Leaf
from shieldwall.kql.relation import Column, Condition, Relation, Select, Union, over
from shieldwall.kql.scope import Environment, Row
from shieldwall.kql.syntax import Expr, Name
from shieldwall.kql.values import Value, made, to_dynamic

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

KIND = "$kind"
EDGE, NODE = 0, 1


@dataclass(slots=True)
class Questions:
    """What is asked of each node, or of each edge: values, and the conditions of parts of the pattern."""

    leaves: list[Leaf] = field(default_factory=list)
    conditions: dict[Hashable, list[tuple[str, Expr]]] = field(default_factory=dict)
    """By the part that sets them: the variable they are over, or none for those over elements of a path."""
    filtered: bool = False
    """Whether only rows matter that fulfil one of the conditions."""
    places: dict[Hashable, int] = field(default_factory=dict)
    """Where a row holds the value of a leaf, and whether it fulfils the conditions of a part."""
    width: int = 0
    """How many values a row holds."""
    types: dict[Leaf, str] = field(default_factory=dict)
    names: dict[Leaf, str] = field(default_factory=dict)
    """What columns that are made of leaves are called, where nothing else says."""

    def ask(self, part: Hashable, variable: str, condition: Expr) -> None:
        self.conditions.setdefault(part, []).append((variable, condition))

    def bind(self, compiler: Compiler, relation: Relation, env: Environment) -> tuple[Select, list[Value]]:
        """The rows, and the values of each; these are put at their places."""

        def work(binder: Binder) -> tuple[list[Value], list[Value]]:
            scope = _Scope(compiler, env, binder)
            asked = [scope.leaf(leaf) for leaf in self.leaves]
            return asked, [scope.all(part) for part in self.conditions.values()]

        select, (asked, tests) = compiler.bind_into(over(relation), env, work, inline=True)
        for leaf, value in zip(self.leaves, asked, strict=True):
            self.types[leaf], self.names[leaf] = value.type, value.name
        if self.filtered:
            either = " OR ".join(test.sql for test in tests) or "false"
            select.where.append(Condition(f"({either})", frozenset().union(*(test.deps for test in tests))))
        values: list[Value] = []
        known: dict[tuple[str, str], int] = {}
        for key, value in zip([*self.leaves, *self.conditions], [*asked, *tests], strict=True):
            place = known.setdefault((value.type, value.sql), len(values))
            if place == len(values):
                values.append(value)
            self.places[key] = place
        self.width = len(values)
        return select, values


class _Scope:
    """Binds expressions over single nodes or edges."""

    def __init__(self, compiler: Compiler, env: Environment, binder: Binder) -> None:
        self._compiler = compiler
        self._env = env
        self._binder = binder

    def _over(self, variable: str) -> Binder:
        row: Row = Element(self._compiler, self._binder.row, variable)
        if variable:
            row = Row(sides={variable: row})
        return Binder(self._compiler, self._env, row, local=self._binder.local)

    def leaf(self, leaf: Leaf) -> Value:
        if not leaf.how:
            return self._over(leaf.variable).bind(leaf.node)
        binder = self._over("")
        if leaf.how != "map":
            return _known(binder.boolean(leaf.node))
        value = binder.bind(leaf.node)
        found = to_dynamic(value)
        return made("dynamic", found.sql, found, name=_path_name(leaf, value.name or "Column"))

    def all(self, conditions: Iterable[tuple[str, Expr]]) -> Value:
        """All of them at once."""
        values = [_known(self._over(variable).boolean(node)) for variable, node in conditions]
        return made("bool", f"({' AND '.join(value.sql for value in values)})", *values)


def _path_name(leaf: Leaf, name: str) -> str:
    """What a column is called that is made of all edges or inner nodes of a path."""
    if isinstance(leaf.node, Name) and leaf.node.name == BAG:
        return leaf.variable
    return f"inner_nodes_{leaf.variable}_{name}" if leaf.of_nodes else f"{leaf.variable}_{name}"


def _known(condition: Value) -> Value:
    """A condition that is false where it is null."""
    return made("bool", f"ifNull({condition.condition}, false)", condition)


def rows_of(
    compiler: Compiler, graph: Graph, edges: Questions, nodes: Questions | None, env: Environment
) -> Union:
    """The rows of edges, and those of nodes where they matter, one below the other."""
    edge_rows, edge_values = edges.bind(compiler, graph.edges, env)
    legs: list[Relation] = [edge_rows]
    node_values: list[Value] = []
    if nodes is not None:
        node_rows, node_values = nodes.bind(compiler, graph.nodes, env)
        node_rows.columns = [
            *_ends(node_rows, NODE, ID, ""),
            *_nothing("edge", edge_values),
            *_held("node", node_values),
        ]
        legs.append(node_rows)
    edge_rows.columns = [
        *_ends(edge_rows, EDGE, SOURCE, TARGET),
        *_held("edge", edge_values),
        *_nothing("node", node_values),
    ]
    return Union([Column(column.name, column.type) for column in edge_rows.columns], legs)


def _ends(rows: Select, kind: int, source: str, target: str) -> list[Column]:
    """What edges and nodes have in common: what they are, ids, and the subgraph if there are several."""
    held = {column.name: column for column in rows.columns}
    found = [Column(KIND, "long", f"toInt64({kind})")]
    for name, of in ((SOURCE, source), (TARGET, target), (SUBGRAPH, SUBGRAPH)):
        if (column := held.get(of)) is not None:
            found.append(Column(name, column.type, column.sql, column.deps))
        elif name == TARGET:
            found.append(Column(name, found[-1].type, sql.null(found[-1].type)))
    return found


def _held(prefix: str, values: list[Value]) -> list[Column]:
    return [
        Column(f"${prefix}{place}", value.type, value.sql, value.deps) for place, value in enumerate(values)
    ]


def _nothing(prefix: str, values: list[Value]) -> list[Column]:
    return [
        Column(f"${prefix}{place}", value.type, sql.null(value.type)) for place, value in enumerate(values)
    ]
