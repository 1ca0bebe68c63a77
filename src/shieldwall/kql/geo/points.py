"""The functions of points."""

from __future__ import annotations

from math import atan2, pi

from shieldwall.kql.geo import buffers, measures, parsed, spheroid
from shieldwall.kql.geo.shapes import Position, polygon_json, valid
from shieldwall.kql.geo.sphere import (
    EARTH_RADIUS,
    Point,
    cross,
    dot,
    from_degrees,
    haversine,
    norm,
    ortho,
    unit,
)

Json = dict[str, object] | None
_NORTH: Point = (0.0, 0.0, 1.0)


def _positions(*values: float | None) -> list[Position] | None:
    """Pairs of longitude and latitude; None if one is invalid."""
    found = [valid(lng, lat) for lng, lat in zip(values[::2], values[1::2], strict=True)]
    return found if all(found) else None  # type: ignore[return-value]


def distance_between(
    lng1: float | None,
    lat1: float | None,
    lng2: float | None,
    lat2: float | None,
    use_spheroid: bool | None = False,
) -> float | None:
    places = _positions(lng1, lat1, lng2, lat2)
    if places is None:
        return None
    return spheroid.distance(*places) if use_spheroid else haversine(*places) * EARTH_RADIUS


def in_circle(
    lng: float | None,
    lat: float | None,
    centre_lng: float | None,
    centre_lat: float | None,
    radius: float | None,
) -> bool | None:
    away = distance_between(lng, lat, centre_lng, centre_lat)
    if away is None or radius is None or not radius > 0:
        return None
    return away <= radius


def azimuth(lng1: float | None, lat1: float | None, lng2: float | None, lat2: float | None) -> float | None:
    places = _positions(lng1, lat1, lng2, lat2)
    if places is None:
        return None
    a, b = (from_degrees(*place) for place in places)
    if norm(cross(a, b)) < _SAME:
        return None
    north = minus_along(_NORTH, a)
    east = cross(north, a)
    return atan2(dot(b, east), dot(b, north)) % (2 * pi)


_SAME = 1e-15
"""The sine of the angle between points that are the same, or opposite."""


def minus_along(direction: Point, at: Point) -> Point:
    """The part of a direction at right angles to a point; any such direction where nothing is left."""
    along = dot(direction, at)
    rest = (direction[0] - along * at[0], direction[1] - along * at[1], direction[2] - along * at[2])
    return unit(rest) if norm(rest) > _SAME else ortho(at)


def angle(
    lng1: float | None,
    lat1: float | None,
    lng2: float | None,
    lat2: float | None,
    lng3: float | None,
    lat3: float | None,
) -> float | None:
    places = _positions(lng1, lat1, lng2, lat2, lng3, lat3)
    if places is None:
        return None
    first, middle, last = (from_degrees(*place) for place in places)
    return measures.turn(first, middle, last)


def buffer(
    lng: float | None, lat: float | None, radius: float | None, tolerance: float | None = 10.0
) -> Json:
    place = valid(lng, lat)
    drawn = pen(radius, tolerance)
    if place is None or drawn is None:
        return None
    return polygon_json(buffers.around_point(from_degrees(*place), *drawn))


def pen(radius: float | None, tolerance: float | None) -> tuple[float, float] | None:
    """The radius as an angle and the tolerance as a share of it; None if they are invalid."""
    if radius is None or tolerance is None or not radius > 0 or not tolerance > 0:
        return None
    if radius >= EARTH_RADIUS * pi / 2:
        return None
    return radius / EARTH_RADIUS, tolerance / radius


def in_polygon(lng: float | None, lat: float | None, polygon: object) -> bool | None:
    place, region = valid(lng, lat), parsed.region(polygon)
    if place is None or region is None:
        return None
    return region.contains(from_degrees(*place))
