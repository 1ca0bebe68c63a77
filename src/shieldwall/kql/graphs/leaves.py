"""Parts of expressions over a pattern that need only one node, edge or path each: values of matches.

The engine computes them beforehand, for each node or edge there is. The rest of an expression then stands
over columns of matches, which are named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.graphs.graph import BAG, DEGREE_IN, DEGREE_OUT, ID, LABELS
from shieldwall.kql.graphs.pattern import Pattern
from shieldwall.kql.syntax import Binary, Call, Expr, Index, Literal, Member, Name, Node, Query, Star

MATCHED = "*"
"""The owner of what needs more than one node or edge; of a constant, the owner is empty."""
_OF_NODES = {"node_degree_in": DEGREE_IN, "node_degree_out": DEGREE_OUT, "node_id": ID}
_OF_PATHS = ("map", "all", "any")
FUNCTIONS = (*_OF_PATHS, *_OF_NODES, "inner_nodes", "labels")
"""Functions that only patterns know."""


@dataclass(eq=False, slots=True)
class Leaf:
    """An expression over one variable, and how it becomes a value of a match."""

    name: str
    """Of the column of matches that holds the value."""
    variable: str
    node: Expr
    of_nodes: bool
    """Whether it is computed for nodes, else for edges."""
    how: str = ""
    """For a path: what is made of the values of all its edges, or of its inner nodes: map, all or any."""


class Splitter:
    """Splits the expressions of one operator; the parts are its ``leaves``."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.leaves: list[Leaf] = []
        self._in_condition = False

    def value(self, node: Expr) -> Expr:
        """An expression of project, over columns of matches."""
        self._in_condition = False
        part, owner = self._part(node)
        return self._named(part, owner)

    def condition(self, node: Expr) -> tuple[Expr, str]:
        """One condition, and the variable that it concerns alone.

        One over the properties of a path must hold for all its edges.
        """
        self._in_condition = True
        part, owner = self._part(node)
        return (part, owner) if owner != MATCHED else (part, "")

    def inner_condition(self, node: Expr) -> tuple[str, Expr, bool] | None:
        """The path that an ``all()`` is about, its body, and whether that is about inner nodes."""
        if isinstance(node, Call) and node.name == "all" and node.args:
            path, body, inner = self._body(node)
            return path, body, inner
        return None

    def _named(self, part: Expr, owner: str) -> Expr:
        """A part as a name of a column of matches, if it is one of a single node or edge."""
        if not owner or owner == MATCHED:
            return part
        if self.pattern.is_path(owner):
            raise KqlError("A path has many edges; use map(), all() or any() to ask about them.", part.at)
        return self._leaf(owner, part, of_nodes=owner in self.pattern.nodes)

    def _leaf(self, variable: str, node: Expr, *, of_nodes: bool, how: str = "") -> Name:
        leaf = Leaf(f"$match{len(self.leaves)}", variable, node, of_nodes, how)
        self.leaves.append(leaf)
        return Name(node.at, leaf.name)

    def _part(self, node: Expr) -> tuple[Expr, str]:
        """An expression with what stands for the pattern's variables in it replaced, and its owner."""
        if isinstance(node, Literal | Query):
            return node, ""
        if isinstance(node, Name):
            return self._property(node, node.name, BAG) if self._is_variable(node.name) else (node, "")
        if isinstance(node, Star):
            raise KqlError("All columns at once cannot be named here.", node.at)
        if (found := _member(node)) is not None and self._is_variable(found[0]):
            return self._property(node, *found)
        if isinstance(node, Call):
            if node.name in _OF_PATHS:
                path, body, inner = self._body(node)
                return self._leaf(path, body, of_nodes=inner, how=node.name), MATCHED
            if node.name in _OF_NODES or node.name == "labels":
                return self._of_element(node)
            if node.name == "inner_nodes":
                raise KqlError("inner_nodes() stands only in all(), any() and map().", node.at, "SEM0207")
        if isinstance(node, Binary) and node.op in ("and", "or"):
            return self._chain(node)
        return self._whole(node)

    def _is_variable(self, name: str) -> bool:
        return name in self.pattern.nodes or name in self.pattern.edges

    def _property(self, node: Expr, variable: str, name: str) -> tuple[Expr, str]:
        """A property of a variable; of a path, the array of its edges' properties."""
        if not self.pattern.is_path(variable):
            return Member(node.at, Name(node.at, variable), name), variable
        if self._in_condition and name != BAG:
            return Name(node.at, name), variable
        return self._leaf(variable, Name(node.at, name), of_nodes=False, how="map"), MATCHED

    def _of_element(self, call: Call) -> tuple[Expr, str]:
        """``node_id(n)`` and its like."""
        if len(call.args) != 1 or not isinstance(of := call.args[0], Name):
            raise KqlError(f"{call.name}() takes the name of a node of the pattern.", call.at, "SEM0219")
        if call.name == "labels":
            if not self._is_variable(of.name) or self.pattern.is_path(of.name):
                raise KqlError("labels() takes the name of a node or edge of the pattern.", of.at, "SEM0219")
            return Member(call.at, of, LABELS), of.name
        if of.name not in self.pattern.nodes:
            raise KqlError(f"{call.name}(): '{of.name}' is no node of the pattern.", of.at, "SEM0219")
        return _shown(call, Member(call.at, of, _OF_NODES[call.name])), of.name

    def _body(self, call: Call) -> tuple[str, Expr, bool]:
        """The path that map(), all() or any() is about, its body, and whether that is over inner nodes."""
        if len(call.args) != 2:
            raise KqlError(f"{call.name}() takes a path and an expression.", call.at, "SEM0219")
        of, body = call.args
        inner = isinstance(of, Call) and of.name == "inner_nodes"
        if isinstance(of, Call) and inner:
            if len(of.args) != 1:
                raise KqlError("inner_nodes() takes a path.", of.at, "SEM0219")
            of = of.args[0]
        if not isinstance(of, Name) or not self.pattern.is_path(of.name):
            raise KqlError(
                f"{call.name}() takes a path of the pattern, such as -[e*1..3]->.", of.at, "SEM0219"
            )
        return of.name, _inside(body, inner=inner), inner

    def _chain(self, node: Binary) -> tuple[Expr, str]:
        """A chain of and, or of or, without a step down for each of it."""
        operands: list[Expr] = []
        left: Expr = node
        while isinstance(left, Binary) and left.op == node.op:
            operands.append(left.right)
            left = left.left
        parts, owner = self._together([left, *reversed(operands)])
        found = parts[0]
        for part in parts[1:]:
            found = Binary(node.at, node.op, found, part)
        return found, owner

    def _whole(self, node: Expr) -> tuple[Expr, str]:
        places: list[tuple[str, list[Expr], bool]] = []
        for item in fields(node):
            held = getattr(node, item.name)
            if isinstance(held, Node):
                places.append((item.name, [held], False))  # type: ignore[list-item]
            elif isinstance(held, list) and held and all(isinstance(part, Node) for part in held):
                places.append((item.name, held, True))
        if not places:
            return node, ""
        parts, owner = self._together([part for _, held, _ in places for part in held])
        changed: dict[str, Any] = {}
        for name, held, many in places:
            own, parts = parts[: len(held)], parts[len(held) :]
            changed[name] = own if many else own[0]
        return replace(node, **changed), owner

    def _together(self, nodes: Sequence[Expr]) -> tuple[list[Expr], str]:
        """Parts of one expression: as they are if they have one owner, else over columns of matches."""
        found = [self._part(node) for node in nodes]
        owners = {owner for _, owner in found if owner}
        if len(owners) <= 1:
            return [part for part, _ in found], next(iter(owners), "")
        return [self._named(part, owner) for part, owner in found], MATCHED


def _member(node: Expr) -> tuple[str, str] | None:
    """The variable and property of ``v.p`` and ``v['p']``."""
    if isinstance(node, Member) and isinstance(node.of, Name):
        return node.of.name, node.name
    if isinstance(node, Index) and isinstance(node.of, Name) and isinstance(node.index, Literal):
        return (node.of.name, node.index.value) if isinstance(node.index.value, str) else None
    return None


def _shown(call: Call, value: Expr) -> Expr:
    """What a function of nodes gives: degrees as they are, an id as text."""
    return Call(call.at, "tostring", [value]) if call.name == "node_id" else value


def _inside(node: Any, *, inner: bool) -> Any:
    """The body of map(), all() or any(), where functions of nodes take no argument."""
    if isinstance(node, list):
        return [_inside(item, inner=inner) for item in node]
    if not isinstance(node, Node) or isinstance(node, Literal | Query):
        return node
    if isinstance(node, Call) and (node.name in _OF_NODES or node.name == "labels"):
        if node.args or not (inner or node.name == "labels"):
            raise KqlError(
                f"{node.name}() stands without a node here, and only for inner nodes.", node.at, "SEM0219"
            )
        return (
            Name(node.at, LABELS)
            if node.name == "labels"
            else _shown(node, Name(node.at, _OF_NODES[node.name]))
        )
    changed = {item.name: _inside(getattr(node, item.name), inner=inner) for item in fields(node)}
    return replace(node, **changed)
