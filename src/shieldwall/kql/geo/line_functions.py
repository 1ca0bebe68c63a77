"""The functions of lines."""

from __future__ import annotations

from typing import Any

from shieldwall.kql.geo import buffers, measures, overlay, parsed, simplify, spheroid
from shieldwall.kql.geo.cells import MAX_LEVEL, token
from shieldwall.kql.geo.covering import covering
from shieldwall.kql.geo.densify import densified
from shieldwall.kql.geo.points import pen
from shieldwall.kql.geo.shapes import (
    Lines,
    collection,
    line_positions,
    lines_json,
    number,
    point_json,
    polygon_json,
    valid,
)
from shieldwall.kql.geo.sphere import EARTH_RADIUS, Point, angle, from_degrees, to_degrees

Json = dict[str, Any] | None
MAX_SIMPLIFIED = EARTH_RADIUS * simplify.MAX_TOLERANCE
LEAST_DENSIFIED, MOST_DENSIFIED = 0.1, 10_000


def _single(value: Any) -> Lines | None:
    """A line that is no MultiLineString of several."""
    line = parsed.lines(value)
    return line if line is not None and len(line.parts) == 1 else None


def distance_to_line(lng: float | None, lat: float | None, value: Any) -> float | None:
    place, line = valid(lng, lat), parsed.lines(value)
    if place is None or line is None:
        return None
    return measures.nearest_edge(line.edges(), from_degrees(*place))[1] * EARTH_RADIUS


def closest_on_line(lng: float | None, lat: float | None, value: Any) -> Json:
    place, line = valid(lng, lat), parsed.lines(value)
    if place is None or line is None:
        return None
    return point_json(measures.nearest_on(line.edges(), from_degrees(*place)))


def length(value: Any) -> float | None:
    line = parsed.lines(value)
    return measures.length(measures.separate_parts(line)) * EARTH_RADIUS if line else None


def centroid(value: Any) -> Json:
    line = parsed.lines(value)
    centre = measures.line_centre(measures.separate_parts(line)) if line else None
    return point_json(centre) if centre else None


def interpolate(value: Any, share: float | None) -> Json:
    line = _single(value)
    if line is None or share is None or not 0 <= share <= 1:
        return None
    return point_json(measures.along(line.parts[0], share))


def locate(
    value: Any, lng: float | None, lat: float | None, use_spheroid: bool | None = False
) -> float | None:
    line, place = _single(value), valid(lng, lat)
    if line is None or place is None:
        return None
    apart = _on_spheroid if use_spheroid else angle
    return measures.share_of(line.parts[0], from_degrees(*place), apart)


def _on_spheroid(a: Point, b: Point) -> float:
    return spheroid.distance(to_degrees(a), to_degrees(b))


def densify(value: Any, tolerance: float | None = 10.0, preserve_crossing: bool | None = False) -> Json:
    parts = line_positions(value)
    if parsed.lines(value) is None or parts is None or tolerance is None:
        return None
    if not LEAST_DENSIFIED <= tolerance <= MOST_DENSIFIED:
        return None
    found = [
        [[number(lng), number(lat)] for lng, lat in path]
        for path in (
            densified(part, tolerance / EARTH_RADIUS, short_way=bool(preserve_crossing)) for part in parts
        )
    ]
    if value["type"] == "LineString":
        return {"type": "LineString", "coordinates": found[0]}
    return {"type": "MultiLineString", "coordinates": found}


def simplified(value: Any, tolerance: float | None = 10.0) -> Json:
    line = parsed.lines(value)
    if line is None or tolerance is None or not 0 <= tolerance < MAX_SIMPLIFIED:
        return None
    parts = measures.separate_parts(line)
    if tolerance:
        parts = simplify.simplified_lines(parts, tolerance / EARTH_RADIUS)
    return lines_json(parts) if parts else None


def buffer(value: Any, radius: float | None, tolerance: float | None = 10.0) -> Json:
    line, drawn = parsed.lines(value), pen(radius, tolerance)
    if line is None or drawn is None:
        return None
    return polygon_json(buffers.around_lines(line.parts, *drawn))


def to_s2cells(value: Any, level: int | None = 11, radius: float | None = 0.0) -> list[str] | None:
    line = parsed.lines(value)
    if line is None or level is None or radius is None or not 0 <= level <= MAX_LEVEL or not radius >= 0:
        return None
    found = covering(line.edges(), None, level, radius / EARTH_RADIUS)
    return [token(cell) for cell in found] if found is not None else None


def union(values: Any) -> Json:
    if not isinstance(values, list) or not values:
        return None
    found = [parsed.lines(value) for value in values]
    if not all(found):
        return None
    return lines_json(overlay.united_lines([line for line in found if line]))


def intersection(first: Any, second: Any) -> Json:
    one, other = parsed.lines(first), parsed.lines(second)
    if one is None or other is None:
        return None
    return common_json(overlay.line_in_line(one, other))


def intersects(first: Any, second: Any) -> bool | None:
    one, other = parsed.lines(first), parsed.lines(second)
    if one is None or other is None:
        return None
    return not is_empty(overlay.line_in_line(one, other))


def intersection_with_polygon(first: Any, second: Any) -> Json:
    line, region = parsed.lines(first), parsed.region(second)
    if line is None or region is None:
        return None
    return common_json(overlay.line_in_polygon(line, region.united()))


def intersects_polygon(first: Any, second: Any) -> bool | None:
    line, region = parsed.lines(first), parsed.region(second)
    if line is None or region is None:
        return None
    return not is_empty(overlay.line_in_polygon(line, region.united()))


def is_empty(common: overlay.Common) -> bool:
    return not (common.points or common.lines or common.polygon.rings)


def common_json(common: overlay.Common) -> Json:
    """What two shapes have in common as one geometry."""
    found: list[dict[str, Any]] = []
    if len(common.points) == 1:
        found.append(point_json(common.points[0]))
    elif common.points:
        positions = [point_json(point)["coordinates"] for point in common.points]
        found.append({"type": "MultiPoint", "coordinates": positions})
    if common.lines:
        found.append(lines_json(common.lines))
    if common.polygon.rings:
        found.append(polygon_json(common.polygon))
    return collection(found)
