"""The connected components of a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def weak(size: int, sources: Sequence[int], targets: Sequence[int]) -> list[int]:
    """For each node the number of a component: nodes that edges connect, whichever way these lead."""
    parents = list(range(size))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for source, target in zip(sources, targets, strict=True):
        one, other = root(source), root(target)
        # The first node of a component stays its root.
        parents[max(one, other)] = min(one, other)
    return [root(node) for node in range(size)]


def strong(size: int, sources: Sequence[int], targets: Sequence[int]) -> list[int]:
    """For each node the number of a component: nodes that lead to each other (Tarjan's algorithm)."""
    following: list[list[int]] = [[] for _ in range(size)]
    for source, target in zip(sources, targets, strict=True):
        following[source].append(target)
    order = [-1] * size
    lowest = [0] * size
    components = [-1] * size
    open_nodes: list[int] = []
    count = 0
    for first in range(size):
        if order[first] >= 0:
            continue
        order[first] = lowest[first] = count
        count += 1
        open_nodes.append(first)
        pending: list[tuple[int, Iterator[int]]] = [(first, iter(following[first]))]
        while pending:
            node, rest = pending[-1]
            other = next(rest, -1)
            if other < 0:
                pending.pop()
                if pending:
                    above = pending[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == order[node]:
                    while components[node] < 0:
                        components[open_nodes.pop()] = node
            elif order[other] < 0:
                order[other] = lowest[other] = count
                count += 1
                open_nodes.append(other)
                pending.append((other, iter(following[other])))
            elif components[other] < 0:
                lowest[node] = min(lowest[node], order[other])
    return components


def numbered(components: Sequence[int], subgraphs: Sequence[object]) -> list[int]:
    """The components as numbers from 0 on, in the order of their first nodes, in each subgraph by itself."""
    numbers: dict[object, dict[int, int]] = {}
    found: list[int] = []
    for component, subgraph in zip(components, subgraphs, strict=True):
        own = numbers.setdefault(repr(subgraph), {})
        found.append(own.setdefault(component, len(own)))
    return found
