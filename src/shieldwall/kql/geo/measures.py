"""Lengths, areas, centres and distances of shapes; angles in radians, areas in steradians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import pi

from shieldwall.kql.geo.overlay import united_lines
from shieldwall.kql.geo.rings import edge_moment
from shieldwall.kql.geo.shapes import Lines, Polygon, Region
from shieldwall.kql.geo.sphere import (
    Point,
    add,
    angle,
    angle_of_chord2,
    between,
    cross,
    distance2_to_edge,
    dot,
    nearest,
    norm,
    unit,
)

Edge = tuple[Point, Point]
_SAME = 1e-15
"""The sine of the angle between points that are the same, or opposite."""


def separate_parts(line: Lines) -> list[list[Point]]:
    """The parts of a line, or of the union of several."""
    return line.parts if len(line.parts) == 1 else united_lines([line])


def length(parts: Sequence[Sequence[Point]]) -> float:
    return sum(angle(a, b) for part in parts for a, b in pairwise(part))


def line_centre(parts: Sequence[Sequence[Point]]) -> Point | None:
    total = (0.0, 0.0, 0.0)
    for part in parts:
        for a, b in pairwise(part):
            total = add(total, edge_moment(a, b))
    return unit(total) if norm(total) else None


def perimeter(polygon: Polygon) -> float:
    return sum(angle(a, b) for a, b in polygon.edges())


def area(polygon: Polygon) -> float:
    found = 0.0
    for ring, depth in zip(polygon.rings, polygon.depths, strict=True):
        found += -ring.area() if depth % 2 else ring.area()
    return min(max(found, 0.0), 4 * pi)


def centre(polygon: Polygon) -> Point | None:
    total = (0.0, 0.0, 0.0)
    for ring, depth in zip(polygon.rings, polygon.depths, strict=True):
        x, y, z = ring.moment()
        total = add(total, (-x, -y, -z) if depth % 2 else (x, y, z))
    return unit(total) if norm(total) else None


def nearest_edge(edges: Sequence[Edge], point: Point) -> tuple[Edge, float]:
    """The edge that is nearest to a point, and how near it is."""
    found = min(edges, key=lambda edge: distance2_to_edge(point, *edge))
    return found, angle_of_chord2(distance2_to_edge(point, *found))


def nearest_on(edges: Sequence[Edge], point: Point) -> Point:
    return nearest(point, *nearest_edge(edges, point)[0])


def region_edges(region: Region) -> list[Edge]:
    return [edge for polygon in region.polygons for edge in polygon.edges()]


def distance_to_region(region: Region, point: Point) -> float:
    """Nothing for points inside."""
    return 0.0 if region.contains(point) else nearest_edge(region_edges(region), point)[1]


def along(part: Sequence[Point], share: float) -> Point:
    """The point that lies at a share of a line's length."""
    left = share * length([part])
    if share <= 0:
        return part[0]
    for a, b in pairwise(part):
        step = angle(a, b)
        if left < step:
            return between(a, b, left / step)
        left -= step
    return part[-1]


def share_of(part: Sequence[Point], point: Point, apart: Callable[[Point, Point], float] = angle) -> float:
    """The share of a line's length at which the point lies that is nearest to another one.

    ``apart`` is the distance of two points of an edge.
    """
    edges = list(pairwise(part))
    number = min(range(len(edges)), key=lambda place: distance2_to_edge(point, *edges[place]))
    a, b = edges[number]
    before = sum(apart(*edge) for edge in edges[:number])
    return min(1.0, (before + apart(a, nearest(point, a, b))) / sum(apart(*edge) for edge in edges))


def turn(first: Point, middle: Point, last: Point) -> float | None:
    """The angle clockwise from the edge to the first point to that to the last; None where there is none."""
    if any(norm(cross(middle, other)) < _SAME for other in (first, last)):
        return None
    to_first, to_last = cross(middle, first), cross(middle, last)
    found = angle(to_first, to_last)
    return (-found if dot(cross(to_first, to_last), middle) > 0 else found) % (2 * pi)
