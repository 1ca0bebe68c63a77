"""Simplification: points within a tolerance become one, and chains that are nearly straight become one edge.

Points that stay are at least the tolerance apart, each edge of the input stays within it, and edges keep half of it
from points that they do not run through, so that nothing comes to cross that did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import acos, asin, atan2, cos, floor, inf, pi, sqrt

from shieldwall.kql.geo.cells import leaf
from shieldwall.kql.geo.chains import lines as lines_of
from shieldwall.kql.geo.chains import loops
from shieldwall.kql.geo.faces import Faces, Pair
from shieldwall.kql.geo.limits import TooMany
from shieldwall.kql.geo.noding import MAX_EDGES, Edge
from shieldwall.kql.geo.rings import Ring
from shieldwall.kql.geo.shapes import Polygon, nested
from shieldwall.kql.geo.sphere import (
    Point,
    angle,
    chord2,
    cross,
    distance2,
    distance2_to_edge,
    dot,
    nearest,
    normal,
    on_ray,
    ordered,
    ortho,
    sign,
    unit,
)

MAX_TOLERANCE = 70 * pi / 180
"""In radians."""
_MOST_PASSES = 20


def simplified_lines(parts: Sequence[Sequence[Point]], tolerance: float) -> list[list[Point]]:
    """Lines of which as many points as possible are left out; ``tolerance`` in radians."""
    snapped = _Snapped([edge for part in parts for edge in pairwise(part)], tolerance)
    pieces = snapped.simplify()
    return [[snapped.sites[site] for site in line] for line in lines_of(pieces)]


def simplified_polygons(polygons: Sequence[Polygon], tolerance: float) -> Polygon:
    """The polygons with shared borders simplified alike, united."""
    snapped = _Snapped([edge for polygon in polygons for edge in polygon.edges()], tolerance)
    pieces = snapped.simplify()
    # Borders that two of them share, and what has become a line, vanish.
    copies = snapped.copies
    kept = {(u, v): number for (u, v), number in pieces.items() if copies[u, v] > copies.get((v, u), 0)}
    edges = [(snapped.sites[u], snapped.sites[v]) for u, v in kept]
    if not edges:
        return Polygon([], [])
    faces = Faces(edges, [0] * len(edges), (0,))
    ids: dict[Pair, int] = {}
    for chain, number in zip(faces.chains, kept.values(), strict=True):
        for pair in pairwise(chain):
            ids.setdefault(pair, number)
    rings = [Ring([faces.points[point] for point in loop]) for loop in loops(faces, ids)]
    return nested([ring.small() for ring in rings])


class _Snapped:
    """Edges moved so that they run from site to site: points of the input that are far enough from each other."""

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
        self.near = [self._near_edge(a, b, 1.6 * tolerance) for a, b in self.edges]
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
                    if distance2_to_edge(site, a, b) <= chord2(1.6 * self.tolerance):
                        self.near[other] = self._near_edge(a, b, 1.6 * self.tolerance)
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

    def simplify(self) -> dict[Pair, int]:
        """Edges between sites that are left, with the number of the first edge that each stands for."""
        numbers: dict[Pair, int] = {}
        self._copies: dict[Pair, int] = {}
        self._inputs: dict[int, list[Point]] = {}
        for number, ((a, b), chain) in enumerate(zip(self.edges, self.chains, strict=True)):
            if chain:
                self._inputs.setdefault(chain[0], []).append(a)
                self._inputs.setdefault(chain[-1], []).append(b)
            for pair in pairwise(chain):
                numbers.setdefault(pair, number)
                self._copies[pair] = self._copies.get(pair, 0) + 1
        self.copies: dict[Pair, int] = {}
        """How often each edge that is left runs in its direction."""
        self._numbers = numbers
        self._around: dict[int, list[int]] = {}
        for u, v in numbers:
            for one, other in ((u, v), (v, u)):
                if other not in self._around.setdefault(one, []):
                    self._around[one].append(other)
        self._used: set[Pair] = set()
        found: dict[Pair, int] = {}
        order = sorted(numbers)
        for start, only_from_ends in ((order, True), (order, False)):
            for pair in start:
                if pair in self._used or (only_from_ends and self._inner(pair[0])):
                    continue
                for chain in self._shortened(*pair):
                    self._merge(chain, found)
        return found

    def _merge(self, chain: list[int], found: dict[Pair, int]) -> None:
        """One edge for a chain, in each direction that all of its edges have."""
        for path in (chain, chain[::-1]):
            pairs = list(pairwise(path))
            if all(pair in self._numbers for pair in pairs):
                number = min(self._numbers[pair] for pair in pairs)
                ends = path[0], path[-1]
                found[ends] = min(number, found.get(ends, number))
                self.copies[ends] = self.copies.get(ends, 0) + min(self._copies[pair] for pair in pairs)
                self._used.update(pairs)

    def _inner(self, site: int) -> bool:
        """Whether edges only run through a site, from one other to one other."""
        around = self._around[site]
        if len(around) != 2:
            return False
        one, other = around
        copies = self._copies.get
        from_one, to_one = copies((one, site), 0), copies((site, one), 0)
        from_other, to_other = copies((other, site), 0), copies((site, other), 0)
        return from_one == to_other and from_other == to_one

    def _follow(self, before: int, site: int) -> int:
        one, other = self._around[site]
        return other if one == before else one

    def _shortened(self, v0: int, v1: int) -> list[list[int]]:
        """The chain from an edge on, cut into parts that one edge each can stand for."""
        found: list[list[int]] = []
        start, done = v0, False
        while not done:
            chain = [v0]
            window = _Window(self.sites[v0])
            self._avoid(window, v0, v0, v1)
            while True:
                chain.append(v1)
                done = not self._inner(v1) or v1 == start
                if done:
                    break
                v0, v1 = v1, self._follow(v0, v1)
                if not (
                    all(window.target(point, self.snap2) for point in self._inputs.get(v0, ()))
                    and self._avoid(window, chain[0], v0, v1)
                    and window.allows(self.sites[v1])
                ):
                    break
            found.append(chain)
        return found

    def _avoid(self, window: _Window, v0: int, v1: int, v2: int) -> bool:
        """Keep the edge from v0, which is to reach v2, clear of the sites near the last edge; False if it cannot."""
        p0, p1, p2 = self.sites[v0], self.sites[v1], self.sites[v2]
        r1, r2 = distance2(p0, p1), distance2(p0, p2)
        if r2 < r1:
            return False
        clear2 = chord2(0.5 * self.tolerance)
        numbers = [self._numbers[pair] for pair in ((v1, v2), (v2, v1)) if pair in self._numbers]
        near = min((self.near[number] for number in numbers), key=len)
        for site in near:
            point = self.sites[site]
            if not r1 < distance2(p0, point) < r2:
                continue
            left = sign(p1, p2, point) > 0 if v1 == v0 else ordered(p0, p2, point, p1)
            if not window.avoid(point, clear2, left):
                return False
        return True


def _frame(x: Point, y: Point) -> tuple[Point, Point]:
    """The direction at right angles to an edge, and that of the edge where it begins."""
    axis = unit(normal(x, y))
    return axis, unit(cross(axis, x))


def _middle_side(x: Point, y: Point, a: Point, b: Point, c: Point) -> int:
    """On which side of an edge the point lies that is equally far from three others."""
    z = cross((b[0] - a[0], b[1] - a[1], b[2] - a[2]), (c[0] - a[0], c[1] - a[1], c[2] - a[2]))
    side = dot(normal(x, y), z) * sign(a, b, c)
    return (side > 0) - (side < 0)


class _Window:
    """The directions in which an edge from a point may go."""

    def __init__(self, source: Point) -> None:
        self.source = source
        self._x = ortho(source)
        self._y = cross(source, self._x)
        self.low, self.high = 0.0, inf
        """From low to high counter-clockwise; all directions when high is infinite."""
        self._waiting: list[tuple[float, float, bool]] = []

    def _direction(self, point: Point) -> float:
        return atan2(dot(point, self._y), dot(point, self._x))

    def _half_width(self, point: Point, radius2: float) -> float:
        far2 = distance2(self.source, point)
        if far2 <= radius2:
            return pi
        ratio = radius2 * (1 - 0.25 * radius2) / (far2 * (1 - 0.25 * far2))
        return asin(min(1.0, sqrt(ratio)))

    def allows(self, point: Point) -> bool:
        if angle(self.source, point) > pi / 2:
            return False
        direction = self._direction(point)
        return self._within(direction) and not any(
            _span(low, direction) <= _span(low, high) for low, high, _ in self._waiting
        )

    def _within(self, direction: float) -> bool:
        return self.high == inf or _span(self.low, direction) <= self.high - self.low

    def target(self, point: Point, radius2: float) -> bool:
        """Demand that the edge passes within a distance of a point; False if it cannot."""
        half = self._half_width(point, radius2)
        if half < pi:
            middle = self._direction(point)
            if not self._narrow(middle - half, middle + half):
                return False
        waiting, self._waiting = self._waiting, []
        return all(self._avoid_range(*item) for item in waiting) if self.high != inf else self._wait(waiting)

    def _wait(self, waiting: list[tuple[float, float, bool]]) -> bool:
        self._waiting = waiting
        return True

    def avoid(self, point: Point, radius2: float, left: bool) -> bool:
        """Demand that the edge leaves a point on its left or right, at a distance; False if it cannot."""
        half = self._half_width(point, radius2)
        if half >= pi:
            return False
        middle = self._direction(point)
        low, high = middle - (half if left else pi / 2), middle + (pi / 2 if left else half)
        if self.high == inf:
            self._waiting.append((low, high, left))
            return True
        return self._avoid_range(low, high, left)

    def _avoid_range(self, low: float, high: float, left: bool) -> bool:
        size = self.high - self.low
        start = _span(self.low, low)
        if start <= size and start + (high - low) <= size:
            return (
                self._narrow(self.low, self.low + start)
                if left
                else self._narrow(self.low + start + (high - low), self.high)
            )
        return self._narrow(high, low + 2 * pi)

    def _narrow(self, low: float, high: float) -> bool:
        """Leave only the directions from low to high; False if none is left."""
        if self.high == inf:
            self.low, self.high = low, high
            return True
        size, length = self.high - self.low, high - low
        start = _span(self.low, low)
        begins, comes_round = start <= size, start + length >= 2 * pi
        if begins and comes_round:
            if length < size:
                self.low, self.high = low, high
        elif begins:
            self.low, self.high = self.low + start, self.low + min(size, start + length)
        elif comes_round:
            self.high = self.low + min(size, start + length - 2 * pi)
        else:
            return False
        return True


def _span(low: float, high: float) -> float:
    """From one direction counter-clockwise to another."""
    return (high - low) % (2 * pi)


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
