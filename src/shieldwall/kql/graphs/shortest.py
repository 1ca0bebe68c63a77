"""The shortest paths of graph-shortest-paths: no node lies twice on one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shieldwall.kql.graphs.matching import Match, Search, of_length


def shortest(search: Search, *, every: bool) -> Iterator[Match]:
    """Of the matches between the same nodes, one of the shortest, or ``every`` one of those.

    Conditions choose among all paths, before the shortest are looked for. The search keeps nodes once.
    """
    return _of_link(search, every) if len(search.pattern.links) == 1 else _of_matches(search, every)


def _of_matches(search: Search, every: bool) -> Iterator[Match]:
    """For patterns of several links: from all matches."""
    named = list(search.pattern.nodes.values())
    best: dict[tuple[int, ...], tuple[int, list[Match]]] = {}
    for match in search.matches():
        search.budget.match()
        length = sum(
            len(match.paths[number][0]) if link.is_path else 1
            for number, link in enumerate(search.pattern.links)
        )
        key = tuple(match.nodes[place] for place in named)
        known = best.get(key)
        if known is None or length < known[0]:
            best[key] = (length, [_copied(match)])
        elif every and length == known[0]:
            known[1].append(_copied(match))
    for _, matches in best.values():
        yield from matches


def _copied(match: Match) -> Match:
    return replace(match, nodes=list(match.nodes), edges=list(match.edges), paths=list(match.paths))


def _of_link(search: Search, every: bool) -> Iterator[Match]:
    """For a single path: from each node on, all at once."""
    link, match = search.pattern.links[0], search.match
    if link.left == link.right and link.least:
        return
    sizes = [sum(1 for _ in search.candidates(node)) for node in (link.left, link.right)]
    forward = sizes[0] <= sizes[1]
    near, far = (link.left, link.right) if forward else (link.right, link.left)
    before = [check for _, links, check in search.conditions.checks if not links]
    behind = [check for _, links, check in search.conditions.checks if links]
    ends = set(search.candidates(far))
    for start in search.candidates(near):
        distances = search.reach(0, [start], link.most, forward)
        for end, distance in distances.items():
            if end not in ends or (end == start and link.least) or (end != start and near == far):
                continue
            match.nodes[near], match.nodes[far] = start, end
            if not all(check(match) for check in before):
                continue
            direct = distance >= link.least and not behind
            paths = _backwards(search, distances, end, forward) if direct else iter(())
            if not direct:
                paths = _longer(search, start, end, max(distance, link.least), forward)
            shown = -1
            for edges, inner in paths:
                if -1 < shown < len(edges):
                    break
                match.nodes[near], match.nodes[far] = start, end
                match.paths[0] = (edges, inner) if forward else (edges[::-1], inner[::-1])
                if not all(check(match) for check in behind):
                    continue
                yield match
                shown = len(edges)
                if not every:
                    break


def _backwards(
    search: Search, distances: dict[int, int], end: int, forward: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """All shortest paths to a node, by their edges and inner nodes, given the distances of all nodes."""
    steps, inner = search.steps(0, not forward), search.conditions.inner[0]
    edges: list[int] = []
    nodes = [end]
    pending = [iter(steps.get(end, ()))]
    if not distances[end]:
        yield [], []
        return
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            nodes.pop()
            if edges:
                edges.pop()
            continue
        edge, node = found
        search.budget.step()
        if distances.get(node) != distances[nodes[-1]] - 1:
            continue
        if not distances[node]:
            yield [edge, *reversed(edges)], nodes[:0:-1]
        elif search.network.node_has(node, inner):
            edges.append(edge)
            nodes.append(node)
            pending.append(iter(steps.get(node, ())))


def _longer(
    search: Search, start: int, end: int, least: int, forward: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """All paths between two nodes of at least some length, shorter ones first."""
    link = search.pattern.links[0]
    for length in range(least, link.most + 1):
        for edges, nodes in search.walks(0, of_length(link, length), start, end, forward):
            yield list(edges), nodes[1:-1]
