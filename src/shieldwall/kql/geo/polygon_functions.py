"""The functions of polygons."""

from __future__ import annotations

from typing import Any

from shieldwall.kql.geo import buffers, hexagons, measures, overlay, parsed, simplify
from shieldwall.kql.geo.cells import MAX_LEVEL, token
from shieldwall.kql.geo.covering import covering
from shieldwall.kql.geo.densify import densified
from shieldwall.kql.geo.line_functions import (
    LEAST_DENSIFIED,
    MOST_DENSIFIED,
    common_json,
    is_empty,
)
from shieldwall.kql.geo.points import pen
from shieldwall.kql.geo.shapes import (
    Polygon,
    Region,
    number,
    point_json,
    polygon_json,
    position_json,
    ring_positions,
    valid,
)
from shieldwall.kql.geo.sphere import EARTH_RADIUS, from_degrees

Json = dict[str, Any] | None


def distance_to_polygon(lng: float | None, lat: float | None, value: Any) -> float | None:
    place, region = valid(lng, lat), parsed.region(value)
    if place is None or region is None:
        return None
    return measures.distance_to_region(region, from_degrees(*place)) * EARTH_RADIUS


def closest_on_polygon(lng: float | None, lat: float | None, value: Any) -> Json:
    place, region = valid(lng, lat), parsed.region(value)
    if place is None or region is None:
        return None
    point = from_degrees(*place)
    if region.contains(point):
        return position_json(place)
    return point_json(measures.nearest_on(measures.region_edges(region), point))


def area(value: Any) -> float | None:
    region = parsed.region(value)
    return measures.area(region.united()) * EARTH_RADIUS**2 if region else None


def perimeter(value: Any) -> float | None:
    region = parsed.region(value)
    return measures.perimeter(region.united()) * EARTH_RADIUS if region else None


def centroid(value: Any) -> Json:
    region = parsed.region(value)
    centre = measures.centre(region.united()) if region else None
    return point_json(centre) if centre else None


def densify(value: Any, tolerance: float | None = 10.0, preserve_crossing: bool | None = False) -> Json:
    parts = ring_positions(value)
    if parts is None or parsed.region(value) is None or tolerance is None:
        return None
    if not LEAST_DENSIFIED <= tolerance <= MOST_DENSIFIED:
        return None
    found = [
        [
            [
                [number(lng), number(lat)]
                for lng, lat in densified(ring, tolerance / EARTH_RADIUS, short_way=bool(preserve_crossing))
            ]
            for ring in rings
        ]
        for rings in parts
    ]
    if value["type"] == "Polygon":
        return {"type": "Polygon", "coordinates": found[0]}
    return {"type": "MultiPolygon", "coordinates": found}


def simplified(value: Any, tolerance: float | None = 10.0) -> Json:
    region = parsed.region(value)
    return _simplified([region], tolerance) if region else None


def simplified_array(values: Any, tolerance: float | None = 10.0) -> Json:
    regions = _regions(values)
    return _simplified(regions, tolerance) if regions else None


def _simplified(regions: list[Region], tolerance: float | None) -> Json:
    if tolerance is None or not 0 <= tolerance < EARTH_RADIUS * simplify.MAX_TOLERANCE:
        return None
    polygon = _united(regions)
    if tolerance:
        polygon = simplify.simplified_polygon(polygon, tolerance / EARTH_RADIUS)
    return polygon_json(polygon) if polygon.rings else None


def _united(regions: list[Region]) -> Polygon:
    return overlay.union([polygon for region in regions for polygon in region.polygons])


def _regions(values: Any) -> list[Region] | None:
    if not isinstance(values, list) or not values:
        return None
    found = [parsed.region(value) for value in values]
    return [region for region in found if region] if all(found) else None


def union(values: Any) -> Json:
    regions = _regions(values)
    if regions is None:
        return None
    found = _united(regions)
    return polygon_json(found) if found.rings else None


def intersection(first: Any, second: Any) -> Json:
    one, other = parsed.region(first), parsed.region(second)
    if one is None or other is None:
        return None
    return common_json(overlay.intersected(one.united(), other.united()))


def intersects(first: Any, second: Any) -> bool | None:
    one, other = parsed.region(first), parsed.region(second)
    if one is None or other is None:
        return None
    return not is_empty(overlay.intersected(one.united(), other.united()))


def _buffered(region: Region, drawn: tuple[float, float]) -> Polygon:
    return buffers.around_polygon(region.united(), *drawn)


def buffer(value: Any, radius: float | None, tolerance: float | None = 10.0) -> Json:
    region, drawn = parsed.region(value), pen(radius, tolerance)
    if region is None or drawn is None:
        return None
    return polygon_json(_buffered(region, drawn))


def to_s2cells(value: Any, level: int | None = 11, radius: float | None = 0.0) -> list[str] | None:
    region = parsed.region(value)
    if region is None or level is None or radius is None or not 0 <= level <= MAX_LEVEL or not radius >= 0:
        return None
    found = covering(measures.region_edges(region), region.contains, level, radius / EARTH_RADIUS)
    return [token(cell) for cell in found] if found is not None else None


def to_h3cells(value: Any, level: int | None = 6, radius: float | None = 0.0) -> list[str] | None:
    region = parsed.region(value)
    if region is None or level is None or radius is None:
        return None
    if not 0 <= level <= hexagons.MAX_LEVEL or not radius >= 0:
        return None
    polygon = region.united()
    if radius:
        drawn = pen(radius, 10.0)
        if drawn is None:
            return None
        polygon = _buffered(region, drawn)
    return hexagons.inside(polygon, level, measures.area(polygon))
