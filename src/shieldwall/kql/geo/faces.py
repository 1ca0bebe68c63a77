"""The faces that edges divide the sphere into, and how often the edges of each region wind around them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cmp_to_key
from itertools import pairwise

from shieldwall.kql.geo.noding import Edge, split
from shieldwall.kql.geo.sectors import Sectors
from shieldwall.kql.geo.sphere import ORIGIN, Point, crosses, ordered, ortho, sign

Pair = tuple[int, int]
"""A piece of an edge, from one numbered point to another."""
Windings = tuple[int, ...]


class Faces:
    """``edges`` are (from, to) with the region that lies on the left of each; None for an edge of a line.

    ``origin`` is how often each region winds around `ORIGIN`. Lines of the same of ``groups`` may cross.
    """

    def __init__(
        self,
        edges: Sequence[Edge],
        regions: Sequence[int | None],
        origin: Windings,
        groups: Sequence[int] | None = None,
    ) -> None:
        self.points, self.chains = split(edges, groups)
        self.origin = origin
        self.net: dict[Pair, list[int]] = {}
        """Of a piece, as it is directed: how many more edges of each region run so than the other way."""
        self.neighbours: list[list[int]] = [[] for _ in self.points]
        """Of each point, counter-clockwise."""
        for chain, region in zip(self.chains, regions, strict=True):
            for u, v in pairwise(chain):
                if (found := self.net.get((u, v))) is None:
                    found = self.net[u, v] = [0] * len(origin)
                    self.net[v, u] = [0] * len(origin)
                    self.neighbours[u].append(v)
                    self.neighbours[v].append(u)
                if region is not None:
                    found[region] += 1
                    self.net[v, u][region] -= 1
        for number, around in enumerate(self.neighbours):
            if len(around) > 2:
                self._sort(number, around)
        self._sectors: Sectors | None = None
        self.left: dict[Pair, Windings] = {}
        """The windings around the face on the left of a piece."""
        for number, around in enumerate(self.neighbours):
            if around and (number, around[0]) not in self.left:
                self._flood(number)

    def _sort(self, number: int, around: list[int]) -> None:
        points, centre = self.points, self.points[number]
        first = points[around[0]]

        def compare(one: int, other: int) -> int:
            return -1 if ordered(first, points[one], points[other], centre) else 1

        around[1:] = sorted(around[1:], key=cmp_to_key(compare))

    def following(self, pair: Pair) -> Pair:
        """The next piece around the face on the left."""
        u, v = pair
        around = self.neighbours[v]
        return v, around[around.index(u) - 1]

    def _flood(self, number: int) -> None:
        """Windings of all faces at pieces that hang together with a point."""
        start = self._wedge(number)
        self.left[start] = self._around(self.points[number])
        waiting = [start]
        while waiting:
            pair = waiting.pop()
            here = self.left[pair]
            u, v = pair
            after = self.following(pair)
            if after not in self.left:
                self.left[after] = here
                waiting.append(after)
            if (v, u) not in self.left:
                net = self.net[pair]
                self.left[v, u] = tuple(count - step for count, step in zip(here, net, strict=True))
                waiting.append((v, u))

    def _wedge(self, number: int) -> Pair:
        """The piece from a point that lies next clockwise of the point's own direction."""
        around, centre = self.neighbours[number], self.points[number]
        if len(around) == 1:
            return number, around[0]
        direction = ortho(centre)
        for place, here in enumerate(around):
            after = around[(place + 1) % len(around)]
            if ordered(self.points[here], direction, self.points[after], centre):
                return number, here
        return number, around[-1]

    def _around(self, point: Point) -> Windings:
        """Windings around a place just beside a point, in its own direction."""
        if self._sectors is None:
            points = self.points
            bounding = [(points[u], points[v], net) for (u, v), net in self.net.items() if u < v and any(net)]
            self._sectors = Sectors(bounding)
        found = list(self.origin)
        for c, d, net in self._sectors.near(point):
            if crosses(ORIGIN, point, c, d):
                inwards = point == d if point in (c, d) else sign(c, d, ORIGIN) < 0
                step = 1 if inwards else -1
                for region, count in enumerate(net):
                    found[region] += step * count
        return tuple(found)
