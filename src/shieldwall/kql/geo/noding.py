"""Splits edges where they cross or touch, so that the pieces meet only at their ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor

from shieldwall.kql.geo.cells import leaf
from shieldwall.kql.geo.limits import TooMany
from shieldwall.kql.geo.sphere import Point, crossing, distance2, distance2_to_edge, intersection

Edge = tuple[Point, Point]
MERGED = 1.8e-15
"""Points that lie nearer together, in radians, are one; so it is with a point near an edge."""
MAX_EDGES = 200_000
_MERGED2 = MERGED * MERGED
_ON_EDGE2 = 4 * _MERGED2
_GRID = 1 / (2 * MERGED)


class Sites:
    """Points with a number each; those that almost coincide have one number."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._numbers: dict[Point, int] = {}
        self._cells: dict[tuple[int, int, int], list[int]] = {}

    def number(self, point: Point) -> int:
        found = self._numbers.get(point)
        if found is None:
            found = self._near(point)
            if found is None:
                found = len(self.points)
                self.points.append(point)
                self._cells.setdefault(_cell(point), []).append(found)
            self._numbers[point] = found
        return found

    def _near(self, point: Point) -> int | None:
        x, y, z = _cell(point)
        cells = self._cells
        for i in (x, x - 1, x + 1):
            for j in (y, y - 1, y + 1):
                for k in (z, z - 1, z + 1):
                    for number in cells.get((i, j, k), ()):
                        if distance2(self.points[number], point) <= _MERGED2:
                            return number
        return None


def _cell(point: Point) -> tuple[int, int, int]:
    return floor(point[0] * _GRID), floor(point[1] * _GRID), floor(point[2] * _GRID)


def near_pairs(edges: Sequence[Edge]) -> Iterator[tuple[int, int]]:
    """Pairs of edges whose boxes overlap."""
    boxes = [_box(a, b) for a, b in edges]
    if not boxes:
        return
    spans = [max(box[i + 3] for box in boxes) - min(box[i] for box in boxes) for i in range(3)]
    axis = spans.index(max(spans))
    other, third = (axis + 1) % 3, (axis + 2) % 3
    order = sorted(range(len(boxes)), key=lambda number: boxes[number][axis])
    for place, first in enumerate(order):
        box = boxes[first]
        limit = box[axis + 3]
        low, high, low3, high3 = box[other], box[other + 3], box[third], box[third + 3]
        for at in range(place + 1, len(order)):
            second = order[at]
            near = boxes[second]
            if near[axis] > limit:
                break
            if (
                near[other] <= high
                and low <= near[other + 3]
                and near[third] <= high3
                and low3 <= near[third + 3]
            ):
                yield (first, second) if first < second else (second, first)


def _box(a: Point, b: Point) -> tuple[float, float, float, float, float, float]:
    """A box around an edge: around its ends, and wider by how far the edge bulges from the straight line."""
    length2 = distance2(a, b)
    bulge = 1 - (max(0.0, 1 - length2 / 4)) ** 0.5 + 1e-14
    return (
        min(a[0], b[0]) - bulge,
        min(a[1], b[1]) - bulge,
        min(a[2], b[2]) - bulge,
        max(a[0], b[0]) + bulge,
        max(a[1], b[1]) + bulge,
        max(a[2], b[2]) + bulge,
    )


def split(edges: Sequence[Edge], groups: Sequence[int] | None = None) -> tuple[list[Point], list[list[int]]]:
    """The points where pieces meet, and for each edge the numbers of those that it runs through, in order.

    With ``groups``, one of each edge, edges of the same one are not split where they cross.
    """
    if len(edges) > MAX_EDGES:
        raise TooMany
    sites = Sites()
    chains = [[sites.number(a), sites.number(b)] for a, b in edges]
    crossings: list[tuple[int, int, int]] = []
    touched: dict[int, list[int]] = {}
    for first, second in near_pairs(edges):
        (a, b), (c, d) = edges[first], edges[second]
        on_first = [number for number in chains[second][:2] if _on(sites, number, chains[first], a, b)]
        on_second = [number for number in chains[first][:2] if _on(sites, number, chains[second], c, d)]
        chains[first] += on_first
        chains[second] += on_second
        touched.setdefault(first, []).append(second)
        touched.setdefault(second, []).append(first)
        if on_first or on_second or (groups is not None and groups[first] == groups[second]):
            continue
        if crossing(a, b, c, d) > 0:
            number = sites.number(intersection(a, b, c, d))
            chains[first].append(number)
            chains[second].append(number)
            crossings.append((number, first, second))
    for number, first, second in crossings:
        for third in touched[first]:
            if third != second and number not in chains[third]:
                a, b = edges[third]
                if distance2_to_edge(sites.points[number], a, b) <= _ON_EDGE2:
                    chains[third].append(number)
    # Along the curve that numbers the cells, so that results do not depend on where edges were met first.
    order = sorted(range(len(sites.points)), key=lambda number: leaf(sites.points[number]))
    points = [sites.points[number] for number in order]
    place = {number: at for at, number in enumerate(order)}
    return points, [_along(points, [place[number] for number in chain]) for chain in chains]


def _on(sites: Sites, number: int, chain: list[int], a: Point, b: Point) -> bool:
    """Whether a point lies on an edge, where it is not one of its ends."""
    return (
        number != chain[0]
        and number != chain[1]
        and distance2_to_edge(sites.points[number], a, b) <= _ON_EDGE2
    )


def _along(points: list[Point], chain: list[int]) -> list[int]:
    first, last, *inner = chain
    if inner:
        start = points[first]
        inner = sorted(set(inner) - {first, last}, key=lambda number: distance2(start, points[number]))
    found = [first, *inner, last]
    return found if first != last else ([first] if not inner else found)
