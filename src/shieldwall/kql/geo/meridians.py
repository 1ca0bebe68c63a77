"""Containment in polygons as counting, for SQL: of edges between a point and the pole, on its meridian.

Of an edge from longitude l to h, in radians, the latitude at x has the tangent p sin(h - x) + q sin(x - l).
"""

from __future__ import annotations

from math import atan2, pi, sin, sqrt

from shieldwall.kql.geo.shapes import Polygon, Region

MAX_EDGES = 2_000
_NEAR_POLE = 1 - 1e-9
_NEAR_HALF_TURN = pi - 1e-6

Columns = tuple[list[float], list[float], list[float], list[float]]


def crossings(region: Region) -> list[tuple[Columns, int]] | None:
    """For each polygon l, h, p and q of its edges, and whether 1 or 0 odd edges mean that it holds the point.

    None where there are too many edges, or one of them comes too near to a pole.
    """
    if sum(polygon.size for polygon in region.polygons) > MAX_EDGES:
        return None
    found: list[tuple[Columns, int]] = []
    for polygon in region.polygons:
        columns = _columns(polygon)
        if columns is None:
            return None
        found.append((columns, 0 if polygon.contains((0.0, 0.0, 1.0)) else 1))
    return found


def _columns(polygon: Polygon) -> Columns | None:
    columns: Columns = ([], [], [], [])
    for a, b in polygon.edges():
        if max(abs(a[2]), abs(b[2])) > _NEAR_POLE:
            return None
        low, high = atan2(a[1], a[0]), atan2(b[1], b[0])
        tan_low, tan_high = (z / sqrt(x * x + y * y) for x, y, z in (a, b))
        span = (high - low + pi) % (2 * pi) - pi
        if abs(span) > _NEAR_HALF_TURN:
            return None
        if span < 0:
            low, span, tan_low, tan_high = high, -span, tan_high, tan_low
        if span > 0:
            size = sin(span)
            for column, value in zip(
                columns, (low, low + span, tan_low / size, tan_high / size), strict=True
            ):
                column.append(value)
    return columns if columns[0] else None
