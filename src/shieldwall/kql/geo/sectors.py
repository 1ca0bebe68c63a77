"""Edges by the directions from `ORIGIN` that they lie in, to find those between it and a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from math import atan2, pi

from shieldwall.kql.geo.sphere import ORIGIN, Point, cross, dot, ortho

Item = tuple[Point, Point, list[int]]
"""The ends of an edge, and what goes with it."""

_X = ortho(ORIGIN)
_Y = cross(ORIGIN, _X)
_MOST = 1024
_WIDE = 64
"""Edges that lie in more sectors than this are tried for all directions."""
_MARGIN = 1e-9


def _direction(point: Point) -> float:
    return atan2(dot(point, _Y), dot(point, _X))


class Sectors:
    def __init__(self, items: Sequence[Item]) -> None:
        spans: list[tuple[float, float, Item]] = []
        self._everywhere: list[Item] = []
        for item in items:
            low, high = sorted((_direction(item[0]), _direction(item[1])))
            if high - low > pi:
                self._everywhere.append(item)
            else:
                spans.append((low, high, item))
        self._low = min((low for low, _, _ in spans), default=0.0)
        count = min(_MOST, len(spans) + 1)
        widest = max((high for _, high, _ in spans), default=0.0) - self._low
        self._scale = count / (widest + _MARGIN)
        self._sectors: list[list[Item]] = [[] for _ in range(count)]
        for low, high, item in spans:
            first, last = self._place(low - _MARGIN), self._place(high + _MARGIN)
            if last - first > _WIDE:
                self._everywhere.append(item)
            else:
                for sector in self._sectors[first : last + 1]:
                    sector.append(item)

    def _place(self, direction: float) -> int:
        return min(len(self._sectors) - 1, max(0, int((direction - self._low) * self._scale)))

    def near(self, point: Point) -> Iterator[Item]:
        """All items with edges that a straight way from `ORIGIN` to a point may cross, and others."""
        return chain(self._sectors[self._place(_direction(point))], self._everywhere)
