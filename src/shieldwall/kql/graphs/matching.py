"""The search for all matches of a pattern: node by node, along the links between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from shieldwall.kql.graphs.network import Budget, Network, Steps
from shieldwall.kql.graphs.pattern import Link, Pattern

FREE = -1
"""The number of a node of the pattern that stands for none yet."""
_BACK = {">": "<", "<": ">", "-": "-"}
_MOST_DISTANCES = 1024
"""Nodes whose distances from others are kept."""

Check = Callable[["Match"], bool]


@dataclass(slots=True)
class Match:
    """What the parts of a pattern stand for: a node for each node, an edge for each link, or a path."""

    network: Network
    nodes: list[int]
    edges: list[int]
    paths: list[tuple[list[int], list[int]]]
    """The edges and the inner nodes of each link that is a path, from left to right."""


@dataclass(slots=True)
class Conditions:
    """At which places of values the conditions of parts of the pattern are; None for parts without any."""

    nodes: list[int | None]
    links: list[int | None]
    """For a path: of all its edges."""
    inner: list[int | None]
    """For a path: of all its inner nodes."""
    checks: list[tuple[frozenset[int], frozenset[int], Check]] = field(default_factory=list)
    """Conditions over several parts: their nodes and links, and whether a match fulfils them."""


class Search:
    """One search. ``cycles`` is all, none or unique_edges."""

    def __init__(
        self, network: Network, pattern: Pattern, conditions: Conditions, cycles: str, budget: Budget
    ) -> None:
        self.network = network
        self.pattern = pattern
        self.conditions = conditions
        self.budget = budget
        links = len(pattern.links)
        self.match = Match(network, [FREE] * pattern.size, [FREE] * links, [([], [])] * links)
        self._edges_once = cycles != "all"
        self._nodes_once = cycles == "none"
        self._used_edges: set[int] = set()
        self._used_nodes: set[int] = set()
        self._far: dict[tuple[int, bool, int], dict[int, int]] = {}

    def matches(self) -> Iterator[Match]:
        """All matches; each holds until the next is asked for."""
        start, plan = self._plan()
        checks = self._checks(start, plan)
        nodes = self.match.nodes
        for node in self.candidates(start):
            nodes[start] = node
            if self._nodes_once:
                self._used_nodes.add(node)
            if all(check(self.match) for check in checks[0]):
                yield from self._from(0, plan, checks)
            self._used_nodes.discard(node)
        nodes[start] = FREE

    def candidates(self, node: int) -> Iterator[int]:
        """The nodes that a node of the pattern may stand for."""
        place = self.conditions.nodes[node]
        for number in range(len(self.network.node_rows)):
            self.budget.step()
            if self.network.node_has(number, place):
                yield number

    # What comes after what

    def _plan(self) -> tuple[int, list[tuple[int, bool]]]:
        """The node to start with, and the links to follow, each from its left node or from its right one."""
        links, tests = self.pattern.links, self.conditions
        start = self._start()
        bound, left = {start}, list(range(len(links)))
        plan: list[tuple[int, bool]] = []

        def cost(number: int) -> tuple[int, int]:
            link = links[number]
            ends = (link.left in bound) + (link.right in bound)
            if not ends:
                return 9, number
            other = link.right if link.left in bound else link.left
            tested = ends == 2 or tests.nodes[other] is not None
            return (0 if ends == 2 and not link.is_path else 1) + 2 * link.is_path + (not tested), number

        while left:
            number = min(left, key=cost)
            left.remove(number)
            plan.append((number, links[number].left in bound))
            bound |= {links[number].left, links[number].right}
        return start, plan

    def _start(self) -> int:
        """The node with the fewest candidates."""
        tested = [place for place in range(self.pattern.size) if self.conditions.nodes[place] is not None]
        return min(tested, key=lambda place: sum(1 for _ in self.candidates(place)), default=0)

    def _checks(self, start: int, plan: list[tuple[int, bool]]) -> list[list[Check]]:
        """For each step of the plan, and the start before it, the checks that can be made then."""
        links = self.pattern.links
        found: list[list[Check]] = []
        nodes, done = {start}, set[int]()
        left = list(self.conditions.checks)
        for number in (None, *(number for number, _ in plan)):
            if number is not None:
                done.add(number)
                nodes |= {links[number].left, links[number].right}
            ready = [item for item in left if item[0] <= nodes and item[1] <= done]
            left = [item for item in left if item not in ready]
            found.append([check for _, _, check in ready])
        return found

    def _from(self, step: int, plan: list[tuple[int, bool]], checks: list[list[Check]]) -> Iterator[Match]:
        """All matches that go on from what is found so far."""
        if step == len(plan):
            yield self.match
            return
        number, forward = plan[step]
        follow = self._along_path if self.pattern.links[number].is_path else self._along_edge
        for _ in follow(number, forward):
            if all(check(self.match) for check in checks[step + 1]):
                yield from self._from(step + 1, plan, checks)

    # Single edges

    def _along_edge(self, number: int, forward: bool) -> Iterator[None]:
        """Each edge that the link may stand for, with the node at its other end."""
        link, match = self.pattern.links[number], self.match
        near, far = (link.left, link.right) if forward else (link.right, link.left)
        bound = match.nodes[far]
        for edge, node in self.steps(number, forward).get(match.nodes[near], ()):
            self.budget.step()
            if edge in self._used_edges:
                continue
            if bound != FREE:
                if node != bound:
                    continue
            elif node in self._used_nodes or not self.network.node_has(node, self.conditions.nodes[far]):
                continue
            match.edges[number] = edge
            match.nodes[far] = node
            if self._edges_once:
                self._used_edges.add(edge)
            if self._nodes_once and bound == FREE:
                self._used_nodes.add(node)
            yield
            self._used_edges.discard(edge)
            if bound == FREE:
                self._used_nodes.discard(node)
        match.nodes[far] = bound

    # Paths

    def _along_path(self, number: int, forward: bool) -> Iterator[None]:
        """Each path that the link may stand for, with the node at its other end."""
        link, match = self.pattern.links[number], self.match
        near, far = (link.left, link.right) if forward else (link.right, link.left)
        bound = match.nodes[far]
        for edges, nodes in self.walks(number, link, match.nodes[near], bound, forward):
            inner = nodes[1:-1]
            match.paths[number] = (list(edges), inner) if forward else (edges[::-1], inner[::-1])
            match.nodes[far] = nodes[-1]
            yield
        match.nodes[far] = bound

    def walks(
        self, number: int, link: Link, start: int, end: int, forward: bool
    ) -> Iterator[tuple[list[int], list[int]]]:
        """The edges and nodes of each path from a node to ``end``, or if that is FREE to any that may be it.

        The lists hold until the next path is asked for.
        """
        network, inner = self.network, self.conditions.inner[number]
        test = self.conditions.nodes[link.right if forward else link.left]
        steps = self.steps(number, forward)
        far = self._distances(number, link, end, forward)
        edges: list[int] = []
        nodes = [start]

        def may_end(node: int) -> bool:
            return node == end if end != FREE else network.node_has(node, test)

        if not link.least and may_end(start):
            yield edges, nodes
        pending = [iter(steps.get(start, ()))] if link.most else []
        try:
            while pending:
                edge, node = next(pending[-1], (FREE, FREE))
                if edge == FREE:
                    pending.pop()
                    if edges:
                        self._leave(edges.pop(), nodes.pop(), end)
                    continue
                self.budget.step()
                left = link.most - len(edges) - 1
                if self._is_closed(edge, node, start, end) or (
                    far is not None and far.get(node, left + 1) > left
                ):
                    continue
                edges.append(edge)
                nodes.append(node)
                self._enter(edge, node, end)
                if left <= link.most - link.least and may_end(node):
                    yield edges, nodes
                # Where nodes are there once, a path does not go on behind its end.
                ended = not left or (self._nodes_once and node == end)
                if not ended and network.node_has(node, inner):
                    pending.append(iter(steps.get(node, ())))
                else:
                    self._leave(edges.pop(), nodes.pop(), end)
        finally:
            while edges:
                self._leave(edges.pop(), nodes.pop(), end)

    def _is_closed(self, edge: int, node: int, start: int, end: int) -> bool:
        """Whether a path may not go on along an edge, to a node."""
        if edge in self._used_edges:
            return True
        return self._nodes_once and (node == start or (node != end and node in self._used_nodes))

    def _enter(self, edge: int, node: int, end: int) -> None:
        """A path goes there; whether its end is in use is for others to tell."""
        if self._edges_once:
            self._used_edges.add(edge)
        if self._nodes_once and node != end:
            self._used_nodes.add(node)

    def _leave(self, edge: int, node: int, end: int) -> None:
        self._used_edges.discard(edge)
        if node != end:
            self._used_nodes.discard(node)

    def steps(self, number: int, forward: bool) -> Steps:
        """What leads on along a link, from its left to its right or the other way."""
        way = self.pattern.links[number].way
        return self.network.steps(way if forward else _BACK[way], self.conditions.links[number])

    def _distances(self, number: int, link: Link, end: int, forward: bool) -> dict[int, int] | None:
        """How many steps it is at least from each node to where a path may end; None if it tells nothing."""
        if link.most <= 2:
            return None
        test = self.conditions.nodes[link.right if forward else link.left]
        if end == FREE and test is None:
            return None
        key = (number, forward, end)
        if (found := self._far.get(key)) is None:
            ends = [end]
            if end == FREE:
                ends = [
                    node for node in range(len(self.network.node_rows)) if self.network.node_has(node, test)
                ]
            if len(self._far) >= _MOST_DISTANCES:
                self._far.clear()
            # The bound of the pattern: shorter paths may be asked for than those that are looked for at last.
            most = self.pattern.links[number].most
            found = self._far[key] = self.reach(number, ends, most, not forward)
        return found

    def reach(self, number: int, starts: list[int], most: int, forward: bool) -> dict[int, int]:
        """The nodes that paths of up to ``most`` edges lead to, and how long the shortest of them are."""
        steps, inner = self.steps(number, forward), self.conditions.inner[number]
        found = dict.fromkeys(starts, 0)
        level = starts
        for length in range(1, most + 1):
            reached: list[int] = []
            for node in level:
                if length > 1 and not self.network.node_has(node, inner):
                    continue
                for _, other in steps.get(node, ()):
                    self.budget.step()
                    if other not in found:
                        found[other] = length
                        reached.append(other)
            if not reached:
                break
            level = reached
        return found


def of_length(link: Link, length: int) -> Link:
    """The link where its paths have just that many edges."""
    return replace(link, least=length, most=length)
