"""Rings: closed chains of edges with their inside on the left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import atan, pi, sin, sqrt, tan

from shieldwall.kql.geo.sectors import Sectors
from shieldwall.kql.geo.sphere import (
    ORIGIN,
    Point,
    add,
    angle,
    cross,
    crosses,
    dot,
    minus,
    normal,
    ordered,
    ortho,
    scale,
    sign,
    unit,
)

_LONGEST = pi - 1e-5
_HALF = 1e-3
"""The cosine of the radius of the largest caps that serve as bounds."""
_LARGE = 24
"""Points of rings that are worth an index of their edges."""
_MARGIN = 1e-14


class Ring:
    """A closed chain of points; the inside lies on its left."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = list(points)
        a, b, c = self.points[0], self.points[1], self.points[2]
        inside = a != c and not ordered(ortho(b), c, a, b)
        self.holds_origin = False
        self._centre, self._reach = a, -2.0
        self._sectors: Sectors | None = None
        self.holds_origin = inside != self.contains(b)
        self._bound()

    def _bound(self) -> None:
        """Find a cap around the inside: its centre, and the cosine of its radius."""
        x, y, z = (sum(point[i] for point in self.points) for i in range(3))
        centre = unit((x, y, z))
        reach = min(dot(centre, point) for point in self.points)
        if reach > _HALF and not self.contains(scale(centre, -1.0)):
            self._centre, self._reach = centre, reach - _MARGIN

    def may_hold(self, point: Point) -> bool:
        """Whether a point lies in the cap around the inside."""
        return dot(self._centre, point) >= self._reach

    def edges(self) -> list[tuple[Point, Point]]:
        points = self.points
        return list(zip(points, [*points[1:], points[0]], strict=True))

    def contains(self, point: Point) -> bool:
        """Whether a point lies inside. Of rings that share an edge, just one contains the points on it."""
        if not self.may_hold(point):
            return False
        found = self.holds_origin
        if len(self.points) >= _LARGE:
            if self._sectors is None:
                self._sectors = Sectors([(a, b, []) for a, b in self.edges()])
            for a, b, _ in self._sectors.near(point):
                if crosses(ORIGIN, point, a, b):
                    found = not found
            return found
        last = self.points[-1]
        for here in self.points:
            if crosses(ORIGIN, point, last, here):
                found = not found
            last = here
        return found

    def reversed(self) -> Ring:
        return Ring(self.points[::-1])

    def area(self) -> float:
        """In steradians, of the whole sphere less that where it turns clockwise."""
        found = surface_sum(self.points, _signed_area)
        return found if found >= 0 else found + 4 * pi

    def small(self) -> Ring:
        """Itself, or reversed if it holds more than half of the sphere."""
        area = surface_sum(self.points, _signed_area)
        return self if 0 <= area <= 2 * pi or area <= -2 * pi else self.reversed()

    def moment(self) -> Point:
        """The centre of mass times the area."""
        x = surface_sum(self.points, lambda a, b, c: triangle_moment(a, b, c)[0])
        y = surface_sum(self.points, lambda a, b, c: triangle_moment(a, b, c)[1])
        z = surface_sum(self.points, lambda a, b, c: triangle_moment(a, b, c)[2])
        return x, y, z


def surface_sum(points: Sequence[Point], of: Callable[[Point, Point, Point], float]) -> float:
    """The sum of a function of triangles over triangles that cover a ring, none of them with a long edge."""
    found = 0.0
    first = origin = points[0]
    for here, after in pairwise(points[1:]):
        if angle(after, origin) > _LONGEST:
            old = origin
            if origin == first:
                origin = unit(normal(first, here))
            elif angle(here, first) < _LONGEST:
                origin = first
            else:
                origin = cross(first, old)
                found += of(first, old, origin)
            found += of(old, here, origin)
        found += of(origin, here, after)
    if origin != first:
        found += of(origin, points[-1], first)
    return found


def _signed_area(a: Point, b: Point, c: Point) -> float:
    return sign(a, b, c) * triangle_area(a, b, c)


def triangle_area(a: Point, b: Point, c: Point) -> float:
    """By l'Huilier's theorem, or from the angles where the triangle is very thin."""
    sa, sb, sc = angle(b, c), angle(c, a), angle(a, b)
    s = 0.5 * (sa + sb + sc)
    if s >= 3e-4:
        thin = s - max(sa, sb, sc)
        if thin < 1e-2 * s * s**4:
            area = _area_by_angles(a, b, c)
            if thin < s * 0.1 * (area + 5e-15):
                return area
    product = tan(0.5 * s) * tan(0.5 * (s - sa)) * tan(0.5 * (s - sb)) * tan(0.5 * (s - sc))
    return 4 * atan(sqrt(max(0.0, product)))


def _area_by_angles(a: Point, b: Point, c: Point) -> float:
    ab, bc, ac = normal(a, b), normal(b, c), normal(a, c)
    return max(0.0, angle(ab, ac) - angle(ab, bc) + angle(bc, ac))


def triangle_moment(a: Point, b: Point, c: Point) -> Point:
    """The centre of mass of a triangle on the sphere times its signed area."""
    sa, sb, sc = angle(b, c), angle(c, a), angle(a, b)
    ra, rb, rc = (_over_sine(side) for side in (sa, sb, sc))
    x = (a[0], b[0] - a[0], c[0] - a[0])
    y = (a[1], b[1] - a[1], c[1] - a[1])
    z = (a[2], b[2] - a[2], c[2] - a[2])
    r = (ra, rb - ra, rc - ra)
    return 0.5 * dot(cross(y, z), r), 0.5 * dot(cross(z, x), r), 0.5 * dot(cross(x, y), r)


def _over_sine(side: float) -> float:
    return side / sin(side) if side else 1.0


def edge_moment(a: Point, b: Point) -> Point:
    """The centre of mass of an edge times its length."""
    difference, total = minus(a, b), add(a, b)
    over, along = dot(difference, difference), dot(total, total)
    return scale(total, sqrt(over / along)) if along else (0.0, 0.0, 0.0)
