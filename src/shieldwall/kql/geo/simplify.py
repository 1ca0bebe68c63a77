"""Simplification: points within a tolerance become one, and chains that are nearly straight become one edge.

Points that stay are at least the tolerance apart, each edge of the input stays within it, and edges keep half
of it from points that they do not run through, so that nothing comes to cross that did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import pi

from shieldwall.kql.geo.chains import lines as lines_of
from shieldwall.kql.geo.chains import loops
from shieldwall.kql.geo.directions import Window
from shieldwall.kql.geo.faces import Faces, Pair
from shieldwall.kql.geo.rings import Ring
from shieldwall.kql.geo.shapes import Polygon, nested
from shieldwall.kql.geo.snapping import Snapped
from shieldwall.kql.geo.sphere import Point, chord2, distance2, ordered, sign

MAX_TOLERANCE = 70 * pi / 180
"""In radians."""


def simplified_lines(parts: Sequence[Sequence[Point]], tolerance: float) -> list[list[Point]]:
    """Lines of which as many points as possible are left out; ``tolerance`` in radians."""
    shorter = _Shorter([edge for part in parts for edge in pairwise(part)], tolerance)
    pieces = shorter.simplify()
    return [[shorter.sites[site] for site in line] for line in lines_of(pieces)]


def simplified_polygon(polygon: Polygon, tolerance: float) -> Polygon:
    """A polygon of which as many points as possible are left out; it may have none left."""
    shorter = _Shorter(polygon.edges(), tolerance)
    pieces = shorter.simplify()
    # What has become a line vanishes.
    copies = shorter.copies
    kept = {(u, v): number for (u, v), number in pieces.items() if copies[u, v] > copies.get((v, u), 0)}
    edges = [(shorter.sites[u], shorter.sites[v]) for u, v in kept]
    if not edges:
        return Polygon([], [])
    faces = Faces(edges, [0] * len(edges), (0,))
    ids: dict[Pair, int] = {}
    for chain, number in zip(faces.chains, kept.values(), strict=True):
        for pair in pairwise(chain):
            ids.setdefault(pair, number)
    rings = [Ring([faces.points[point] for point in loop]) for loop in loops(faces, ids)]
    return nested([ring.small() for ring in rings])


class _Shorter(Snapped):
    """Edges that stand for chains of snapped ones."""

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
            window = Window(self.sites[v0])
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

    def _avoid(self, window: Window, v0: int, v1: int, v2: int) -> bool:
        """Keep the edge from v0 that is to reach v2 clear of sites near the last edge; False if it cannot."""
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
