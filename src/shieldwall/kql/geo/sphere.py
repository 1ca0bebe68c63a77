"""Points on the unit sphere as vectors, and exact answers to which side of an edge a point lies on.

Nothing here rounds a decision: where floating point cannot tell, rational arithmetic does, and points on one
great circle are told apart by an infinitely small shift that depends on their coordinates alone. The shift is
the same everywhere, so that answers about neighbouring edges never contradict each other.
"""

from __future__ import annotations

from fractions import Fraction
from math import asin, atan2, cos, degrees, pi, radians, sin, sqrt

Point = tuple[float, float, float]

EARTH_RADIUS = 6371010.0
"""In metres, of the sphere that distances are measured on."""
ORIGIN: Point = (-0.0099994664350250197, 0.0025924542609324121, 0.99994664350250195)
"""The point that containment is counted from; it lies on no edge that people draw."""
_UNSURE = 1.8274 * 2.0**-52


def from_degrees(lng: float, lat: float) -> Point:
    phi, theta = radians(lat), radians(lng)
    flat = cos(phi)
    return cos(theta) * flat, sin(theta) * flat, sin(phi)


def to_degrees(point: Point) -> tuple[float, float]:
    """Longitude and latitude."""
    x, y, z = point
    return degrees(atan2(y, x)), degrees(atan2(z, sqrt(x * x + y * y)))


def dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Point, b: Point) -> Point:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def add(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def scale(a: Point, by: float) -> Point:
    return a[0] * by, a[1] * by, a[2] * by


def norm(a: Point) -> float:
    return sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


def norm2(a: Point) -> float:
    return a[0] * a[0] + a[1] * a[1] + a[2] * a[2]


def unit(a: Point) -> Point:
    length = norm(a)
    return (a[0] / length, a[1] / length, a[2] / length) if length else a


def distance2(a: Point, b: Point) -> float:
    """The square of the straight line between two points."""
    x, y, z = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return x * x + y * y + z * z


def chord2(angle: float) -> float:
    """The square of the straight line that spans an angle."""
    half = 2 * sin(min(angle, pi) / 2)
    return half * half


def angle_of_chord2(length2: float) -> float:
    return 2 * asin(min(1.0, 0.5 * sqrt(length2)))


def angle(a: Point, b: Point) -> float:
    """Between two vectors, in radians."""
    return atan2(norm(cross(a, b)), dot(a, b))


def normal(a: Point, b: Point) -> Point:
    """A vector at right angles to an edge, well defined even where the edge is very short."""
    return cross(add(b, a), minus(b, a))


def ortho(a: Point) -> Point:
    """A direction at right angles to a point, the same for the same point."""
    x, y, z = abs(a[0]), abs(a[1]), abs(a[2])
    largest = (0 if x > z else 2) if x > y else (1 if y > z else 2)
    mixed = [0.012, 0.0053, 0.00457]
    mixed[(largest - 1) % 3] = 1.0
    return unit(cross(a, (mixed[0], mixed[1], mixed[2])))


def sign(a: Point, b: Point, c: Point) -> int:
    """1 where a, b, c turn to the left, -1 where to the right, 0 only where two of them are the same."""
    det = (
        (a[1] * b[2] - a[2] * b[1]) * c[0]
        + (a[2] * b[0] - a[0] * b[2]) * c[1]
        + (a[0] * b[1] - a[1] * b[0]) * c[2]
    )
    if det > _UNSURE:
        return 1
    if det < -_UNSURE:
        return -1
    return _exact_sign(a, b, c)


def _exact_sign(a: Point, b: Point, c: Point) -> int:
    if a in (b, c) or b == c:
        return 0
    order, swaps = [a, b, c], 1
    for first, second in ((0, 1), (1, 2), (0, 1)):
        if order[first] > order[second]:
            order[first], order[second] = order[second], order[first]
            swaps = -swaps
    a0, a1, a2 = map(Fraction, order[0])
    b0, b1, b2 = map(Fraction, order[1])
    c0, c1, c2 = map(Fraction, order[2])
    x, y, z = b1 * c2 - b2 * c1, b2 * c0 - b0 * c2, b0 * c1 - b1 * c0
    # The determinant, then what remains of it when the points are shifted by ever smaller amounts.
    for value in (
        x * a0 + y * a1 + z * a2,
        z,
        y,
        x,
        c0 * a1 - c1 * a0,
        c0,
        -c1,
        c2 * a0 - c0 * a2,
        c2,
        a0 * b1 - a1 * b0,
        -b0,
        b1,
        a0,
    ):
        if value:
            return swaps if value > 0 else -swaps
    return swaps


def ordered(a: Point, b: Point, c: Point, around: Point) -> bool:
    """Whether the edges to a, b, c lie in this order counter-clockwise around a point, within one turn."""
    found = (sign(b, around, a) >= 0) + (sign(c, around, b) >= 0) + (sign(a, around, c) > 0)
    return found >= 2


def crossing(a: Point, b: Point, c: Point, d: Point) -> int:
    """1 where edges ab and cd cross inside both, 0 where they share an end, else -1."""
    first = -sign(a, b, c)
    last = sign(a, b, d)
    if first != last and first and last:
        return -1
    if a in (c, d) or b in (c, d):
        return 0
    if not first or not last:
        return -1
    if sign(c, b, d) != first:
        return -1
    return 1 if sign(d, a, c) == first else -1


def crosses(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether edge ab goes through edge cd; a shared end belongs to just one of the edges that meet there."""
    found = crossing(a, b, c, d)
    return found > 0 or (found == 0 and _crosses_at_end(a, b, c, d))


def _crosses_at_end(a: Point, b: Point, c: Point, d: Point) -> bool:
    if a == b or c == d:
        return False
    if a == c:
        return b == d or ordered(ortho(a), d, b, a)
    if b == d:
        return ordered(ortho(b), c, a, b)
    if a == d:
        return b == c or ordered(ortho(a), c, b, a)
    return ordered(ortho(b), d, a, b) if b == c else False


def intersection(a: Point, b: Point, c: Point, d: Point) -> Point:
    """Where two edges cross, computed exactly and then rounded."""
    fa, fb, fc, fd = ([Fraction(value) for value in point] for point in (a, b, c, d))
    first = _exact_cross(fa, fb)
    second = _exact_cross(fc, fd)
    found = _exact_cross(first, second)
    size = max(abs(value) for value in found)
    if not size:
        return min(point for point in (a, b, c, d))
    point = unit((float(found[0] / size), float(found[1] / size), float(found[2] / size)))
    return point if dot(point, add(add(a, b), add(c, d))) >= 0 else scale(point, -1.0)


def _exact_cross(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def nearest(x: Point, a: Point, b: Point) -> Point:
    """The point of an edge that is nearest to x."""
    if x in (a, b):
        return x
    side = normal(a, b)
    size = norm2(side)
    if size:
        side = scale(side, 1 / sqrt(size))
        foot = minus(x, scale(side, dot(x, side)))
        if dot(cross(side, a), foot) > 0 and dot(cross(b, side), foot) > 0:
            return unit(foot)
    return a if distance2(x, a) <= distance2(x, b) else b


def distance(x: Point, a: Point, b: Point) -> float:
    """From a point to an edge, in radians."""
    return angle_of_chord2(distance2_to_edge(x, a, b))


def distance2_to_edge(x: Point, a: Point, b: Point) -> float:
    """As `distance`, but the square of the straight line."""
    to_a, to_b = distance2(x, a), distance2(x, b)
    edge2 = distance2(a, b)
    if max(to_a, to_b) < min(to_a, to_b) + edge2:
        side = cross(a, b) if edge2 > 1e-3 else normal(a, b)
        size2 = norm2(side)
        along = cross(side, x)
        if size2 and dot(minus(a, x), along) < 0 < dot(minus(b, x), along):
            sine = dot(x, side)
            over2 = sine * sine / size2
            root = 1 - sqrt(norm2(along) / size2)
            return over2 + root * root
    return min(to_a, to_b)


def on_ray(start: Point, direction: Point, by: float) -> Point:
    """The point at an angle from a start, in a direction at right angles to it."""
    return unit(add(scale(start, cos(by)), scale(direction, sin(by))))


def between(a: Point, b: Point, share: float) -> Point:
    """The point that divides an edge."""
    if share in (0.0, 1.0):
        return b if share else a
    direction = unit(cross(normal(a, b), a))
    return on_ray(a, direction, share * angle(a, b))


def haversine(first: tuple[float, float], second: tuple[float, float]) -> float:
    """The angle between two longitudes and latitudes in degrees."""
    lat1, lat2 = radians(first[1]), radians(second[1])
    over, along = sin(0.5 * (lat2 - lat1)), sin(0.5 * radians(second[0] - first[0]))
    found = over * over + along * along * cos(lat1) * cos(lat2)
    return 2 * asin(sqrt(min(1.0, found)))
