"""Edges moved so that they run between few points, which are far enough from each other."""

from __future__ import annotations

from collections.abc import Sequence
from math import acos, atan2, cos, floor, sqrt

from shieldwall.kql.geo.cells import leaf
from shieldwall.kql.geo.limits import TooMany
from shieldwall.kql.geo.noding import MAX_EDGES, Edge
from shieldwall.kql.geo.sphere import (
    Point,
    chord2,
    cross,
    distance2,
    distance2_to_edge,
    dot,
    nearest,
    normal,
    on_ray,
    sign,
    unit,
)

_MOST_PASSES = 20
_REACH = 1.6
"""How many times the tolerance a site may be away from an edge and still matter to it."""


class Snapped:
    """Edges moved so that they run between sites: points of the input that are far enough from each other."""

    def __init__(self, edges: Sequence[Edge], tolerance: float) -> None:
        if len(edges) > MAX_EDGES:
            raise TooMany
        self.edges = list(edges)
        self.tolerance = tolerance
        self.snap2 = chord2(tolerance)
        self.sites: list[Point] = []
        self._grid = _Grid(max(tolerance, 1e-9))
        for point in sorted({point for edge in edges for point in edge}, key=leaf):
            if not any(
                distance2(point, self.sites[near]) <= self.snap2 for near in self._grid.near(point, tolerance)
            ):
                self._grid.add(point, len(self.sites))
                self.sites.append(point)
        self.near = [self._near_edge(a, b, _REACH * tolerance) for a, b in self.edges]
        self.chains = [self._chain(number) for number in range(len(self.edges))]
        self._separate()

    def _separate(self) -> None:
        """Add sites where an edge, moved, comes too near to one that it does not run through."""
        waiting = list(range(len(self.edges)))
        for _ in range(_MOST_PASSES):
            again: set[int] = set()
            for number in waiting:
                site = self._site_between(number)
                if site is None:
                    continue
                self._grid.add(site, len(self.sites))
                self.sites.append(site)
                for other, (a, b) in enumerate(self.edges):
                    if distance2_to_edge(site, a, b) <= chord2(_REACH * self.tolerance):
                        self.near[other] = self._near_edge(a, b, _REACH * self.tolerance)
                        self.chains[other] = self._chain(other)
                        again.add(other)
            if not again:
                break
            waiting = sorted(again)

    def _site_between(self, number: int) -> Point | None:
        """A point of an edge that keeps it, when moved, away from a site; None if it is away from all."""
        chain, (x, y) = self.chains[number], self.edges[number]
        clear2, place = chord2(0.5 * self.tolerance), 0
        for site in self.near[number]:
            if place < len(chain) and site == chain[place]:
                place += 1
                if place == len(chain):
                    return None
            elif place:
                v0, v1 = chain[place - 1], chain[place]
                if distance2_to_edge(self.sites[site], self.sites[v0], self.sites[v1]) < clear2:
                    axis, ahead = _frame(x, y)
                    foot = nearest(self.sites[site], x, y)
                    at = atan2(dot(foot, ahead), dot(foot, x))
                    at = min(
                        max(at, self._covered(v0, x, axis, ahead)[1]), self._covered(v1, x, axis, ahead)[0]
                    )
                    found = on_ray(x, ahead, at)
                    return found if all(found != self.sites[other] for other in self.near[number]) else None
        return None

    def _covered(self, site: int, x: Point, axis: Point, ahead: Point) -> tuple[float, float]:
        """The part of the edge from x that is within the tolerance of a site, as angles from x."""
        point = self.sites[site]
        off = dot(point, axis)
        ratio = cos(self.tolerance) / max(1e-300, sqrt(max(0.0, 1 - off * off)))
        middle, half = atan2(dot(point, ahead), dot(point, x)), acos(min(1.0, ratio))
        return middle - half, middle + half

    def _near_edge(self, a: Point, b: Point, reach: float) -> list[int]:
        reach2 = chord2(reach)
        found = [
            site
            for site in self._grid.near_edge(a, b, reach)
            if distance2_to_edge(self.sites[site], a, b) <= reach2
        ]
        found.sort(key=lambda site: distance2(a, self.sites[site]))
        return found

    def _chain(self, number: int) -> list[int]:
        """The sites whose surroundings an edge runs through."""
        x, y = self.edges[number]
        chain: list[int] = []
        axis, ahead = _frame(x, y)
        for site in self.near[number]:
            c = self.sites[site]
            if distance2_to_edge(c, x, y) > self.snap2:
                continue
            kept = True
            while chain:
                b = self.sites[chain[-1]]
                if distance2(y, b) < distance2(y, c):
                    kept = False
                    break
                low_b, high_b = self._covered(chain[-1], x, axis, ahead)
                low_c, high_c = self._covered(site, x, axis, ahead)
                if low_c <= low_b:
                    chain.pop()
                    continue
                if high_b >= high_c:
                    kept = False
                    break
                if len(chain) < 2:
                    break
                a = self.sites[chain[-2]]
                side = sign(x, y, b)
                if sign(a, b, c) == side or _middle_side(x, y, a, b, c) != side:
                    break
                chain.pop()
            if kept:
                chain.append(site)
        return chain


def _frame(x: Point, y: Point) -> tuple[Point, Point]:
    """The direction at right angles to an edge, and that of the edge where it begins."""
    axis = unit(normal(x, y))
    return axis, unit(cross(axis, x))


def _middle_side(x: Point, y: Point, a: Point, b: Point, c: Point) -> int:
    """On which side of an edge the point lies that is equally far from three others."""
    z = cross((b[0] - a[0], b[1] - a[1], b[2] - a[2]), (c[0] - a[0], c[1] - a[1], c[2] - a[2]))
    side = dot(normal(x, y), z) * sign(a, b, c)
    return (side > 0) - (side < 0)


class _Grid:
    """Points by cubes of space, to find those near others."""

    def __init__(self, size: float) -> None:
        self.size = size
        self.cells: dict[tuple[int, int, int], list[int]] = {}
        self.points: list[Point] = []

    def add(self, point: Point, number: int) -> None:
        self.points.append(point)
        self.cells.setdefault(self._cell(point), []).append(number)

    def _cell(self, point: Point) -> tuple[int, int, int]:
        return floor(point[0] / self.size), floor(point[1] / self.size), floor(point[2] / self.size)

    def near(self, point: Point, reach: float) -> list[int]:
        return self.near_edge(point, point, reach)

    def near_edge(self, a: Point, b: Point, reach: float) -> list[int]:
        """Points in the cubes that the box around an edge touches; more than are near."""
        bulge = 1 - sqrt(max(0.0, 1 - distance2(a, b) / 4)) + reach
        low = self._cell((min(a[0], b[0]) - bulge, min(a[1], b[1]) - bulge, min(a[2], b[2]) - bulge))
        high = self._cell((max(a[0], b[0]) + bulge, max(a[1], b[1]) + bulge, max(a[2], b[2]) + bulge))
        volume = 1
        for start, end in zip(low, high, strict=True):
            volume *= end - start + 1
        if volume > len(self.cells):
            return [
                number
                for (x, y, z), numbers in self.cells.items()
                if low[0] <= x <= high[0] and low[1] <= y <= high[1] and low[2] <= z <= high[2]
                for number in numbers
            ]
        return [
            number
            for x in range(low[0], high[0] + 1)
            for y in range(low[1], high[1] + 1)
            for z in range(low[2], high[2] + 1)
            for number in self.cells.get((x, y, z), ())
        ]
