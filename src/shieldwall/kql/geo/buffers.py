"""Everything within a distance of a shape, as polygons whose round parts have many short edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import acos, ceil, pi, tan

from shieldwall.kql.geo.faces import Faces
from shieldwall.kql.geo.noding import Edge
from shieldwall.kql.geo.overlay import bounded
from shieldwall.kql.geo.rings import Ring
from shieldwall.kql.geo.shapes import Polygon
from shieldwall.kql.geo.sphere import Point, angle, cross, normal, on_ray, ortho, scale, sign, unit

LEAST_ERROR = 1e-6
"""Of the tolerance, as a share of the radius."""
_MOST_ERROR = 0.999999
_STRAIGHT = 1e-12


class Pen:
    """Draws at a radius, in radians, with an error that is a share of it."""

    def __init__(self, radius: float, error: float) -> None:
        self.radius = radius
        allowed = min(max(error, LEAST_ERROR), _MOST_ERROR) * radius
        self.step = _greatest_span(radius, allowed)
        self.circle_step = 2 * pi / ceil(2 * pi / self.step) + 1e-15
        rest = pi / 2 - radius
        self.edge_step = _greatest_span(rest, allowed) if rest > allowed else pi

    def circle(self, centre: Point) -> Ring:
        found: list[Point] = []
        start, at = ortho(centre), 0.0
        for _ in range(4):
            turned = unit(cross(centre, start))
            while at < pi / 2:
                found.append(on_ray(centre, on_ray(start, turned, at), self.radius))
                at += self.circle_step
            at -= pi / 2
            start = turned
        return Ring(found)

    def slice(self, centre: Point, first: Point, span: float) -> Ring:
        """The part of a circle from a direction on, counter-clockwise."""
        turned = unit(cross(centre, first))
        steps = [step * self.step for step in range(ceil(span / self.step - 1e-9))]
        points = [on_ray(centre, on_ray(first, turned, at), self.radius) for at in (*steps, span)]
        return Ring([centre, *points])

    def band(self, a: Point, b: Point, *, both: bool) -> Ring:
        """What lies beside an edge, on both sides or only on the right."""
        left = unit(normal(a, b))
        ahead = unit(cross(left, a))
        length = angle(a, b)
        places = [step * self.edge_step for step in range(ceil(length / self.edge_step - 1e-9))]
        middles = [*(on_ray(a, ahead, at) if at else a for at in places), b]
        right_side = [on_ray(point, scale(left, -1.0), self.radius) for point in middles]
        if not both:
            return Ring([*right_side, b, a])
        return Ring([*right_side, *(on_ray(point, left, self.radius) for point in reversed(middles))])


def _greatest_span(radius: float, error: float) -> float:
    """The angle that one edge may span of a circle."""
    step, least = 2 * pi / 3 + 1e-15, radius - error
    if radius < pi / 2:
        step = min(step, 2 * acos(tan(least) / tan(radius)))
    elif least > pi / 2:
        step = min(step, 2 * acos(tan(radius) / tan(least)))
    return step


def around_point(point: Point, radius: float, error: float) -> Polygon:
    ring = Pen(radius, error).circle(point)
    return Polygon([ring.small()], [0])


def around_lines(parts: Sequence[Sequence[Point]], radius: float, error: float) -> Polygon:
    pen = Pen(radius, error)
    rings: list[Ring] = []
    for part in parts:
        edges = list(pairwise(part))
        rings += [pen.slice(part[0], _left(edges[0]), pi), pen.slice(part[-1], _right(edges[-1]), pi)]
        # The band of the first edge comes last, since rings begin after what was drawn last.
        rings += reversed(_drawn(pen, edges, closed=False))
    return _united(rings, [], 0)


def around_polygon(polygon: Polygon, radius: float, error: float) -> Polygon:
    pen = Pen(radius, error)
    rings: list[Ring] = []
    for ring, depth in zip(polygon.rings, polygon.depths, strict=True):
        points = ring.points[::-1] if depth % 2 else ring.points
        rings += _drawn(pen, list(pairwise([*points, points[0]])), closed=True)
    return _united(rings, polygon.edges(), polygon.winding_at_origin())


def _drawn(pen: Pen, edges: list[Edge], *, closed: bool) -> list[Ring]:
    """Bands along edges and the slices missing where they turn; on the right only if they are closed."""
    found = [pen.band(*edge, both=not closed) for edge in edges]
    for before, after in pairwise([*edges, edges[0]] if closed else edges):
        if sign(*before, after[1]) > 0:
            first, last = _right(before), _right(after)
        elif closed:
            continue
        else:
            first, last = _left(after), _left(before)
        span = angle(first, last)
        if span > _STRAIGHT:
            found.append(pen.slice(after[0], first, span))
    return found


def _left(edge: Edge) -> Point:
    """The direction at right angles to an edge, which is the same all along it."""
    return unit(normal(*edge))


def _right(edge: Edge) -> Point:
    return scale(_left(edge), -1.0)


def _united(rings: list[Ring], edges: list[Edge], winding: int) -> Polygon:
    everything = [*edges, *(edge for ring in rings for edge in ring.edges())]
    origin = winding + sum(ring.holds_origin for ring in rings)
    faces = Faces(everything, [0] * len(everything), (origin,))
    return bounded(faces, lambda windings: windings[0] > 0)
