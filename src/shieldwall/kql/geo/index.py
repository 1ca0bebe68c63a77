"""Many shapes, to find those that a point lies in or near to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import floor
from statistics import median
from typing import Any

from shieldwall.kql.geo import measures, parsed
from shieldwall.kql.geo.noding import Edge
from shieldwall.kql.geo.shapes import Region, valid
from shieldwall.kql.geo.sphere import EARTH_RADIUS, Point, distance2, from_degrees

Box = tuple[float, float, float, float, float, float]
Test = Callable[[Point], bool]

_SMALLEST, _LARGEST = 1e-5, 0.5
"""Sides of the cubes that shapes are sorted into; the earth's radius is 1."""
_MOST_CUBES = 512


class Index:
    """Shapes by the cubes of space that they touch; those that touch many are tried for every point."""

    def __init__(self, shapes: Sequence[tuple[int, Box, Test]]) -> None:
        sides = [max(box[i + 3] - box[i] for i in range(3)) for _, box, _ in shapes]
        self._side = min(max(median(sides), _SMALLEST), _LARGEST) if sides else _LARGEST
        self._cubes: dict[tuple[int, ...], list[tuple[int, Box, Test]]] = {}
        self._everywhere: list[tuple[int, Box, Test]] = []
        for shape in shapes:
            box = shape[1]
            spans = [range(self._place(box[i]), self._place(box[i + 3]) + 1) for i in range(3)]
            if len(spans[0]) * len(spans[1]) * len(spans[2]) > _MOST_CUBES:
                self._everywhere.append(shape)
                continue
            for cube in product(*spans):
                self._cubes.setdefault(cube, []).append(shape)

    def _place(self, value: float) -> int:
        return floor(value / self._side)

    def at(self, lng: Any, lat: Any) -> Iterator[int]:
        """The numbers of the shapes that hold a position."""
        place = valid(lng, lat)
        if place is None:
            return
        point = from_degrees(*place)
        cube = tuple(map(self._place, point))
        for number, box, test in (*self._cubes.get(cube, ()), *self._everywhere):
            if all(box[i] <= point[i] <= box[i + 3] for i in range(3)) and test(point):
                yield number


def of_polygons(values: Sequence[Any], radius: float | None) -> Index:
    """By what polygons hold or, with a radius in metres, by what is not farther away from them."""
    angle = (radius or 0.0) / EARTH_RADIUS
    found: list[tuple[int, Box, Test]] = []
    for number, value in enumerate(values):
        region = parsed.region(value)
        if region is not None:
            box = _around(measures.region_edges(region), angle, region.contains)
            found.append((number, box, region.contains if radius is None else _within(region, angle)))
    return Index(found)


def _within(region: Region, angle: float) -> Test:
    return lambda point: measures.distance_to_region(region, point) <= angle


def of_lines(values: Sequence[Any], radius: float) -> Index:
    """By what is not farther from lines than a radius in metres."""
    angle = radius / EARTH_RADIUS
    found: list[tuple[int, Box, Test]] = []
    for number, value in enumerate(values):
        line = parsed.lines(value)
        if line is not None:
            edges = line.edges()
            found.append((number, _around(edges, angle, None), _near(edges, angle)))
    return Index(found)


def _near(edges: Sequence[Edge], angle: float) -> Test:
    return lambda point: measures.nearest_edge(edges, point)[1] <= angle


def _around(edges: Sequence[Edge], angle: float, inside: Test | None) -> Box:
    """A box around all points within an angle of a shape."""
    low, high = [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]
    for a, b in edges:
        bulge = 1 - max(0.0, 1 - distance2(a, b) / 4) ** 0.5 + angle + 1e-12
        for i in range(3):
            low[i] = min(low[i], a[i] - bulge, b[i] - bulge)
            high[i] = max(high[i], a[i] + bulge, b[i] + bulge)
    if inside is not None:
        # What lies inside reaches farther in the direction of an axis than the border only if the axis does.
        for i in range(3):
            axis = [0.0, 0.0, 0.0]
            axis[i] = 1.0
            if inside((axis[0], axis[1], axis[2])):
                high[i] = 1.0
            axis[i] = -1.0
            if inside((axis[0], axis[1], axis[2])):
                low[i] = -1.0
    return low[0], low[1], low[2], high[0], high[1], high[2]
