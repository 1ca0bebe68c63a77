"""S2 cells of one level that cover a shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, ldexp, pi

from shieldwall.kql.geo.cells import MAX_LEVEL, face_frame, from_ij, from_uv, line_at
from shieldwall.kql.geo.noding import Edge
from shieldwall.kql.geo.sphere import Point, angle, crosses, distance, dot, unit

MAX_CELLS = 65_536
_MOST_TESTS = 2_000_000
_COST_OF_RADIUS = 10
_LARGEST_CELL, _LONGEST_DIAGONAL = 2.64, 2.44
"""Of cells of level 0, in steradians and radians, if those of other levels had the same in proportion."""
_PADDING = 1e-15

Sides = tuple[float, float, float, float, float, float]
"""The ends of an edge seen from a face: along its u and v and towards its middle."""
Near = list[tuple[Edge, Sides]]


def covering(
    edges: Sequence[Edge], inside: Callable[[Point], bool] | None, level: int, radius: float
) -> list[int] | None:
    """Cells of a level that hold a part of a shape, or points within an angle of it.

    None if there are too many. ``inside`` says of a point whether the shape holds it; lines hold none.
    """
    if _least(edges, level, radius) > MAX_CELLS:
        return None
    found: list[int] = []
    tests = 0
    for face in range(6):
        u, v, w = face_frame(face)
        near = [
            ((a, b), (dot(a, u), dot(a, v), dot(a, w), dot(b, u), dot(b, v), dot(b, w))) for a, b in edges
        ]
        held = inside is not None and inside(w)
        stack = [(0, 0, 0, near, w, held)]
        while stack:
            i, j, depth, near, origin, held = stack.pop()
            square = _Square(face, i, j, depth)
            tests += len(near) * (_COST_OF_RADIUS if radius else 1)
            touching = [item for item in near if square.touches(*item, radius)]
            if inside is not None:
                for (a, b), _ in near:
                    if crosses(origin, square.middle, a, b):
                        held = not held
            if not touching or (radius and any(square.is_within(edge, radius) for edge, _ in touching)):
                if held or touching:
                    if 4 ** (level - depth) + len(found) > MAX_CELLS:
                        return None
                    found += _within(from_ij(face, i, j, depth), depth, level)
                continue
            if depth == level:
                found.append(from_ij(face, i, j, level))
            else:
                half = 1 << (MAX_LEVEL - depth - 1)
                stack += [
                    (i + right, j + up, depth + 1, touching, square.middle, held)
                    for right in (0, half)
                    for up in (0, half)
                ]
            if tests > _MOST_TESTS or len(found) > MAX_CELLS:
                return None
    return sorted(found)


def _least(edges: Sequence[Edge], level: int, radius: float) -> float:
    """Fewer cells than this cannot cover the edges with the radius."""
    longest = max((angle(a, b) for a, b in edges), default=0.0)
    return max(
        longest * (1 << level) / _LONGEST_DIAGONAL,
        2 * pi * (1 - cos(min(radius, pi))) * (1 << 2 * level) / _LARGEST_CELL,
    )


def _within(cell: int, depth: int, level: int) -> range:
    """The cells of a level in a cell of another one."""
    first = cell & -cell
    step = first >> (2 * (level - depth)) << 1
    start = cell - first + (step >> 1)
    return range(start, start + step * 4 ** (level - depth), step)


class _Square:
    """A cell as the square that it is on its face."""

    def __init__(self, face: int, i: int, j: int, depth: int) -> None:
        size = 1 << (MAX_LEVEL - depth)
        self.u0, self.u1, self.v0, self.v1 = (
            line_at(ldexp(step, -MAX_LEVEL)) for step in (i, i + size, j, j + size)
        )
        u, v = (line_at(ldexp(step + size / 2, -MAX_LEVEL)) for step in (i, j))
        self.middle = unit(from_uv(face, u, v)) if depth else face_frame(face)[2]
        self._face = face
        self._corners: list[Point] = []
        self._reach = 0.0

    def touches(self, edge: Edge, sides: Sides, radius: float) -> bool:
        if self._holds_part(sides):
            return True
        if not radius:
            return False
        if not self._corners:
            around = ((self.u0, self.v0), (self.u1, self.v0), (self.u1, self.v1), (self.u0, self.v1))
            self._corners = [unit(from_uv(self._face, u, v)) for u, v in around]
            self._reach = max(angle(self.middle, corner) for corner in self._corners)
        if distance(self.middle, *edge) > self._reach + radius:
            return False
        corners = self._corners
        return any(distance(corner, *edge) <= radius for corner in corners) or any(
            distance(end, corners[k - 1], corners[k]) <= radius for end in edge for k in range(4)
        )

    def is_within(self, edge: Edge, radius: float) -> bool:
        """Whether all of the square is surely within an angle of an edge."""
        return 0 < self._reach <= radius and distance(self.middle, *edge) + self._reach <= radius

    def _holds_part(self, sides: Sides) -> bool:
        """Whether a part of an edge lies in the square. Both are straight, seen from the sphere's middle."""
        au, av, aw, bu, bv, bw = sides
        low, high = 0.0, 1.0
        for start, end in (
            (au - self.u0 * aw, bu - self.u0 * bw),
            (self.u1 * aw - au, self.u1 * bw - bu),
            (av - self.v0 * aw, bv - self.v0 * bw),
            (self.v1 * aw - av, self.v1 * bw - bv),
        ):
            if start < -_PADDING:
                if end < -_PADDING:
                    return False
                low = max(low, start / (start - end))
            elif end < -_PADDING:
                high = min(high, start / (start - end))
            if low > high:
                return False
        return aw + low * (bw - aw) > 0 or aw + high * (bw - aw) > 0
