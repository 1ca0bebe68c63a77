"""Points added to edges that are straight on a map, so that they stay so as geodesics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from shieldwall.kql.geo.limits import TooMany
from shieldwall.kql.geo.shapes import Position
from shieldwall.kql.geo.sphere import Point, between, chord2, distance2, dot, from_degrees

MAX_POINTS = 500_000
_CHECKED = 0.31215691082248312
"""Where along an edge its error is measured; the greatest error is at most this many times larger:"""
_PART = 0.83829992569888509


def densified(path: Sequence[Position], tolerance: float, *, short_way: bool) -> list[Position]:
    """``tolerance`` in radians; with ``short_way``, edges over 180 degrees go on beyond it."""
    limit = chord2(_PART * max(tolerance, 1e-13))
    found = [path[0]]
    for here, after in pairwise(path):
        end = after
        if short_way and abs(after[0] - here[0]) > 180:
            end = (after[0] + (360 if here[0] > after[0] else -360), after[1])
        stack = [(here, from_degrees(*here), end, from_degrees(*end))]
        while stack:
            first, a, last, b = stack.pop()
            if _error(first, a, last, b) <= limit:
                found.append(after if last is end else _wrapped(last))
                if len(found) > MAX_POINTS:
                    raise TooMany
                continue
            middle = (0.5 * (first[0] + last[0]), 0.5 * (first[1] + last[1]))
            m = from_degrees(*middle)
            stack += [(middle, m, last, b), (first, a, middle, m)]
    return found


def _error(first: Position, a: Point, last: Position, b: Point) -> float:
    """How far the geodesic is from the straight line, as the square of a chord."""
    if dot(a, b) < -1e-14:
        return 5.0
    return max(
        distance2(between(a, b, share), from_degrees(*_divided(first, last, share)))
        for share in (_CHECKED, 1 - _CHECKED)
    )


def _divided(first: Position, last: Position, share: float) -> Position:
    return (1 - share) * first[0] + share * last[0], (1 - share) * first[1] + share * last[1]


def _wrapped(place: Position) -> Position:
    lng, lat = place
    return (lng - 360 if lng > 180 else lng + 360 if lng < -180 else lng), lat
