"""A graph between two operators, and what names mean for its nodes and edges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.dynamics import packed_columns
from shieldwall.kql.relation import Column, Relation, is_hidden
from shieldwall.kql.scope import Row
from shieldwall.kql.values import Value, constant

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

ID = "$id"
"""The column of nodes that tells them apart; edges have one such value for each end."""
SOURCE = "$source"
TARGET = "$target"
SUBGRAPH = "$subgraph"
"""The column of nodes and edges that keeps the graphs of a partitioned one apart."""
DEGREE_IN = "$in"
DEGREE_OUT = "$out"
BAG = "$bag"
"""Stands for all properties of a node or edge at once."""
LABELS = "$labels"
"""Stands for its labels: only graphs that are stored have any."""


@dataclass(eq=False)
class Graph(Relation):
    """The rows of edges and of nodes, with the hidden columns above; in place of a relation, but no table."""

    edges: Relation
    nodes: Relation
    partitioned: bool
    at: int

    def text(self, depth: int = 0) -> str:
        raise self.refused()

    def source(self, alias: str, depth: int) -> str:
        raise self.refused()

    def refused(self, at: int = -1) -> KqlError:
        """The error for a graph where a table is wanted, there or in general."""
        return KqlError(
            "A graph is not a table; graph-match, graph-shortest-paths and graph-to-table make one of it.",
            at if at >= 0 else self.at,
            "SEM0104",
        )


def graph(edges: Relation, nodes: Relation, at: int, *, partitioned: bool = False) -> Graph:
    """A graph. It has one hidden column, so that whoever takes it for a table finds no other."""
    return Graph([Column("$graph", "dynamic")], edges, nodes, partitioned, at)


def properties(relation: Relation) -> list[Column]:
    """The columns of nodes or edges that a query can name."""
    return [column for column in relation.columns if not is_hidden(column.name)]


class Element(Row):
    """The properties of one node or edge: of ``variable``, or without one of each that lies on a path."""

    def __init__(self, compiler: Compiler, row: Row, variable: str = "") -> None:
        super().__init__((), row.alias, row.order)
        self._compiler = compiler
        self._row = row
        self._variable = variable

    @property
    def names(self) -> list[str]:
        return [name for name in self._row.names if not is_hidden(name)]

    def columns(self) -> list[Value]:
        return [value for name in self.names if (value := self._row.column(name)) is not None]

    def column(self, name: str) -> Value | None:
        if name == BAG:
            return replace(packed_columns(self.columns(), ignored=True), name=self._variable)
        if name == LABELS:
            return replace(constant("dynamic", "[]"), name=f"labels_{self._variable}")
        found = self._row.column(name)
        if found is None and (renamed := self._compiler.renamed.get(name)) is not None:
            found = self._row.column(renamed)
        if found is None and self._compiler.open:
            found = Value("dynamic", "''", name=name)
        return replace(found, name=self._name(name)) if found is not None else None

    def _name(self, name: str) -> str:
        """What a column that is made of a property is called."""
        if name == ID:
            return f"node_id_{self._variable}" if self._variable else "node_id"
        if name in (DEGREE_IN, DEGREE_OUT):
            return f"node_degree_{name[1:]}"
        return f"{self._variable}_{name}" if self._variable else name
