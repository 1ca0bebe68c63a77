"""The search for patterns in graphs, against one that tries everything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import Frame
from shieldwall.kql.graphs import components, network
from shieldwall.kql.graphs.inputs import EDGE, NODE
from shieldwall.kql.graphs.matching import Conditions, Match, Search
from shieldwall.kql.graphs.network import Budget, Network
from shieldwall.kql.graphs.pattern import Link, Pattern
from shieldwall.kql.graphs.shortest import shortest

PATTERNS = {
    "edge": (2, [Link(0, 1, ">")]),
    "against it": (2, [Link(0, 1, "<")]),
    "either way": (2, [Link(0, 1, "-")]),
    "loop": (1, [Link(0, 0, ">")]),
    "two edges": (3, [Link(0, 1, ">"), Link(1, 2, "<")]),
    "triangle": (3, [Link(0, 1, ">"), Link(1, 2, "-"), Link(2, 0, ">")]),
    "star": (4, [Link(0, 1, ">"), Link(0, 2, ">"), Link(3, 0, ">")]),
    "path": (2, [Link(0, 1, ">", 1, 3, True)]),
    "path of none or some": (2, [Link(0, 1, "<", 0, 2, True)]),
    "path either way": (2, [Link(0, 1, "-", 2, 3, True)]),
    "path to itself": (1, [Link(0, 0, ">", 0, 3, True)]),
    "edge and path": (3, [Link(0, 1, ">"), Link(1, 2, ">", 1, 3, True)]),
    "two paths": (3, [Link(0, 1, ">", 1, 2, True), Link(2, 1, ">", 1, 3, True)]),
    "ring of paths": (2, [Link(0, 1, ">", 1, 3, True), Link(1, 0, ">", 1, 2, True)]),
}


def random_network(chance: random.Random) -> Network:
    """Up to five nodes and seven edges; each has a condition that it may fulfil."""
    size = chance.randint(1, 5)
    rows: list[list[Any]] = [[NODE, node, None, None, chance.random() < 0.7] for node in range(size)]
    for _ in range(chance.randint(0, 7)):
        ends = chance.randrange(size), chance.randrange(size)
        rows.append([EDGE, *ends, chance.random() < 0.8, None])
    return Network(Frame([], rows), 1, partitioned=False)


def random_conditions(chance: random.Random, size: int, links: list[Link]) -> Conditions:
    def some(count: int) -> list[int | None]:
        return [0 if chance.random() < 0.4 else None for _ in range(count)]

    inner = [place if link.is_path else None for place, link in zip(some(len(links)), links, strict=True)]
    return Conditions(some(size), some(len(links)), inner)


def walks(graph: Network, link: Link) -> Iterator[tuple[list[int], list[int]]]:
    """The edges and nodes of all walks that a link may stand for, whatever the conditions."""
    pending: list[tuple[list[int], list[int]]] = [([], [node]) for node in range(len(graph.node_rows))]
    while pending:
        edges, nodes = pending.pop()
        if len(edges) >= link.least:
            yield edges, nodes
        if len(edges) == link.most:
            continue
        for edge, (source, target) in enumerate(zip(graph.sources, graph.targets, strict=True)):
            if link.way != "<" and source == nodes[-1]:
                pending.append(([*edges, edge], [*nodes, target]))
            if link.way != ">" and target == nodes[-1]:
                pending.append(([*edges, edge], [*nodes, source]))


def everything(
    graph: Network, size: int, links: list[Link], conditions: Conditions, cycles: str
) -> Iterator[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]:
    """The nodes of all matches, and the edges of their links."""

    def fulfilled(rows: list[Any], numbers: list[int], place: int | None) -> bool:
        return place is None or all(rows[number][place] for number in numbers)

    for choice in product(*(list(walks(graph, link)) for link in links)):
        bound: dict[int, int] = {}
        for link, (_, nodes) in zip(links, choice, strict=True):
            if bound.setdefault(link.left, nodes[0]) != nodes[0]:
                break
            if bound.setdefault(link.right, nodes[-1]) != nodes[-1]:
                break
        else:
            found = [bound[node] for node in range(size)]
            used = [edge for edges, _ in choice for edge in edges]
            inner = [node for _, nodes in choice for node in nodes[1:-1]]
            if cycles != "all" and len(set(used)) < len(used):
                continue
            if cycles == "none" and not _is_simple(links, choice, found, inner):
                continue
            tests = [
                fulfilled(graph.node_rows, [node], conditions.nodes[place]) for place, node in bound.items()
            ]
            for number, (edges, nodes) in enumerate(choice):
                tests.append(fulfilled(graph.edge_rows, edges, conditions.links[number]))
                tests.append(fulfilled(graph.node_rows, nodes[1:-1], conditions.inner[number]))
            if all(tests):
                yield tuple(found), tuple(tuple(edges) for edges, _ in choice)


def _is_simple(links: list[Link], choice: Any, found: list[int], inner: list[int]) -> bool:
    """Whether no node is there twice; those at both ends of a path of no edges are one."""
    same = {
        node
        for link, (edges, _) in zip(links, choice, strict=True)
        if not edges
        for node in (link.left, link.right)
    }
    apart = [node for place, node in enumerate(found) if place not in same]
    if same and len({found[place] for place in same}) == 1:
        apart.append(found[min(same)])
    all_nodes = [*apart, *inner]
    if any(
        edges and link.is_path and nodes[0] == nodes[-1]
        for link, (edges, nodes) in zip(links, choice, strict=True)
    ):
        return False
    return len(set(all_nodes)) == len(all_nodes)


def found_by(search: Iterator[Match], links: list[Link]) -> list[Any]:
    return [
        (
            tuple(match.nodes),
            tuple(
                tuple(match.paths[number][0]) if link.is_path else (match.edges[number],)
                for number, link in enumerate(links)
            ),
        )
        for match in search
    ]


@pytest.mark.parametrize("cycles", ["unique_edges", "all", "none"])
@pytest.mark.parametrize("name", PATTERNS)
def test_search_finds_all_matches(name: str, cycles: str) -> None:
    size, links = PATTERNS[name]
    for seed in range(60):
        chance = random.Random(seed)
        graph = random_network(chance)
        conditions = random_conditions(chance, size, links)
        search = Search(graph, Pattern(size, links), conditions, cycles, Budget())
        expected = everything(graph, size, links, conditions, cycles)
        assert sorted(found_by(search.matches(), links)) == sorted(expected), seed


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    "name",
    ["path", "path of none or some", "path either way", "path to itself", "edge and path", "two paths"],
)
def test_shortest_paths_are_the_shortest_matches(name: str, every: bool) -> None:
    size, links = PATTERNS[name]
    for seed in range(80):
        chance = random.Random(seed)
        graph = random_network(chance)
        conditions = random_conditions(chance, size, links)
        pattern = Pattern(size, links, {str(node): node for node in range(size)})
        search = Search(graph, pattern, conditions, "none", Budget())
        best: dict[Any, list[Any]] = {}
        for nodes, edges in everything(graph, size, links, conditions, "none"):
            best.setdefault(nodes, []).append(edges)
        expected = {
            nodes: [edges for edges in paths if _length(edges) == min(map(_length, paths))]
            for nodes, paths in best.items()
        }
        found: dict[Any, list[Any]] = {}
        for nodes, edges in found_by(shortest(search, every=every), links):
            found.setdefault(nodes, []).append(edges)
        if every:
            assert {key: sorted(value) for key, value in found.items()} == {
                key: sorted(value) for key, value in expected.items()
            }, seed
        else:
            assert found.keys() == expected.keys(), seed
            assert all(len(paths) == 1 and paths[0] in expected[nodes] for nodes, paths in found.items())


def _length(edges: tuple[tuple[int, ...], ...]) -> int:
    return sum(map(len, edges))


@pytest.mark.parametrize("seed", range(20))
def test_components(seed: int) -> None:
    graph = random_network(random.Random(seed))
    size = len(graph.node_rows)
    for way, work in (("-", components.weak), (">", components.strong)):
        reached = [_reached(graph, node, way) for node in range(size)]
        marks = work(size, graph.sources, graph.targets)
        for one, other in product(range(size), repeat=2):
            together = other in reached[one] and one in reached[other]
            assert (marks[one] == marks[other]) is together
        assert sorted(set(components.numbered(marks, graph.subgraphs))) == list(range(len(set(marks))))


def _reached(graph: Network, start: int, way: str) -> set[int]:
    found, pending = {start}, [start]
    while pending:
        for _, node in graph.steps(way).get(pending.pop(), ()):
            if node not in found:
                found.add(node)
                pending.append(node)
    return found


def test_long_paths_are_found_at_once() -> None:
    size = 3000
    rows: list[list[Any]] = [[EDGE, node, node + 1] for node in range(size)]
    rows += [[NODE, node, None, node == 0, node == size] for node in range(size + 1)]
    graph = Network(Frame([], rows), 0, partitioned=False)
    link = Link(0, 1, ">", 1, size, True)
    search = Search(graph, Pattern(2, [link]), Conditions([0, 1], [None], [None]), "unique_edges", Budget())
    assert [len(match.paths[0][0]) for match in search.matches()] == [size]


def test_a_search_beyond_its_bounds_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[EDGE, one, other] for one in range(12) for other in range(12)]
    graph = Network(Frame([], rows), 0, partitioned=False)
    links = [Link(0, 1, ">", 1, 100, True)]

    def count(budget: Budget) -> None:
        search = Search(graph, Pattern(2, links), Conditions([None] * 2, [None], [None]), "all", budget)
        for _ in search.matches():
            budget.match()

    monkeypatch.setattr(network, "MOST_MATCHES", 1000)
    with pytest.raises(KqlError, match="excessive"):
        count(Budget())
    monkeypatch.setattr(network, "MOST_MATCHES", 1 << 40)
    monkeypatch.setattr(network, "MOST_SECONDS", 0.1)
    with pytest.raises(KqlError, match="excessive"):
        count(Budget())
