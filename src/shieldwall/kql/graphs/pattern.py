"""The pattern of graph-match and graph-shortest-paths: nodes, and the links between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax_graphs import PatternEdge, PatternNode, Sequence

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MOST_LINKS = 64


@dataclass(frozen=True, slots=True)
class Link:
    """One edge of the graph between two nodes of the pattern, or a path of ``least`` to ``most`` of them."""

    left: int
    right: int
    way: str
    """From left to right is >, the other way <, and any way -."""
    least: int = 1
    most: int = 1
    is_path: bool = False


@dataclass(slots=True)
class Pattern:
    """Nodes are numbered as they come. Variables stand for the numbers of nodes and of links."""

    size: int = 0
    """How many nodes there are."""
    links: list[Link] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)
    edges: dict[str, int] = field(default_factory=dict)

    def is_path(self, name: str) -> bool:
        """Whether a variable stands for a path."""
        return name not in self.nodes and name in self.edges and self.links[self.edges[name]].is_path


def pattern_of(compiler: Compiler, sequences: list[Sequence], env: Environment) -> Pattern:
    """The pattern that is written. KqlError if it is none, or falls apart."""
    found = Pattern()
    for sequence in sequences:
        left = -1
        edge: PatternEdge | None = None
        for item in sequence:
            if isinstance(item, PatternEdge):
                edge = item
                continue
            right = _node(found, item)
            if edge is not None:
                _link(compiler, found, edge, left, right, env)
            left = right
    at = sequences[0][0].at
    if len(found.links) > MOST_LINKS:
        raise KqlError(f"A pattern may have up to {MOST_LINKS} edges.", at)
    if not _is_whole(found):
        raise KqlError("The sequences of a pattern must share nodes, so that it is in one piece.", at)
    return found


def _node(found: Pattern, node: PatternNode) -> int:
    if node.name and node.name in found.nodes:
        return found.nodes[node.name]
    if node.name:
        found.nodes[node.name] = found.size
    found.size += 1
    return found.size - 1


def _link(
    compiler: Compiler, found: Pattern, edge: PatternEdge, left: int, right: int, env: Environment
) -> None:
    if edge.name:
        if edge.name in found.edges:
            raise KqlError(f"There are two edges named '{edge.name}'.", edge.at)
        found.edges[edge.name] = len(found.links)
    if edge.least is None or edge.most is None:
        found.links.append(Link(left, right, edge.way))
        return
    binder = Binder(compiler, env)
    least, most = (int(binder.constant(bound, "long")) for bound in (edge.least, edge.most))
    if not 0 <= least <= most:
        raise KqlError(f"A path of {least} to {most} edges is not possible.", edge.at)
    found.links.append(Link(left, right, edge.way, least, most, True))


def _is_whole(found: Pattern) -> bool:
    """Whether all nodes hang together."""
    reached, pending = {0}, [0]
    while pending:
        node = pending.pop()
        for link in found.links:
            if node in (link.left, link.right):
                new = {link.left, link.right} - reached
                reached |= new
                pending += new
    return len(reached) == found.size
