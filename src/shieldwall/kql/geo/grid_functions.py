"""The functions of geohashes, S2 cells and H3 cells, and of well-known text."""

from __future__ import annotations

from typing import Any

from shieldwall.kql.geo import cells, geohash, hexagons, wkt
from shieldwall.kql.geo.shapes import coordinates, number, point_json, position_json, valid
from shieldwall.kql.geo.sphere import from_degrees

Json = dict[str, Any] | None
UNSAID = -99
"""The level of a parent or of children, where the query names none."""


def geohash_of(lng: float | None, lat: float | None, length: int | None = 5) -> str | None:
    place = valid(lng, lat)
    if place is None or length is None or not 0 < length <= geohash.MAX_LENGTH:
        return None
    return geohash.encode(*place, length)


def geohash_centre(text: str) -> Json:
    box = geohash.decode(text)
    return position_json(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)) if box else None


def geohash_polygon(text: str) -> Json:
    box = geohash.decode(text)
    if box is None:
        return None
    west, south, east, north = map(number, box)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def geohash_neighbours(text: str) -> list[str] | None:
    return geohash.neighbours(text)


def s2cell_of(lng: float | None, lat: float | None, level: int | None = 11) -> str | None:
    place = valid(lng, lat)
    if place is None or level is None or not 0 <= level <= cells.MAX_LEVEL:
        return None
    return cells.token(cells.parent(cells.leaf(from_degrees(*place)), level))


def s2cell_centre(text: str) -> Json:
    cell = cells.from_token(text)
    return point_json(cells.centre(cell)) if cell is not None else None


def s2cell_polygon(text: str) -> Json:
    cell = cells.from_token(text)
    if cell is None:
        return None
    corners = [coordinates(corner) for corner in cells.corners(cell)]
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


def s2cell_neighbours(text: str) -> list[str] | None:
    cell = cells.from_token(text)
    return [cells.token(other) for other in cells.neighbours(cell)] if cell is not None else None


def h3cell_of(lng: float | None, lat: float | None, level: int | None = 6) -> str | None:
    place = valid(lng, lat)
    if place is None or level is None or not 0 <= level <= hexagons.MAX_LEVEL:
        return None
    return hexagons.cell_at(place, level)


def h3cell_centre(text: str) -> Json:
    return position_json(hexagons.centre(text)) if hexagons.valid(text) else None


def h3cell_polygon(text: str) -> Json:
    if not hexagons.valid(text):
        return None
    return {"type": "Polygon", "coordinates": [hexagons.outline(text)]}


def h3cell_level(text: str) -> int | None:
    return hexagons.level_of(text) if hexagons.valid(text) else None


def h3cell_parent(text: str, level: int | None = UNSAID) -> str | None:
    if level is None or not hexagons.valid(text):
        return None
    own = hexagons.level_of(text)
    level = own - 1 if level == UNSAID else level
    return hexagons.parent(text, level) if 0 <= level < own else None


def h3cell_children(text: str, level: int | None = UNSAID) -> list[str] | None:
    if level is None or not hexagons.valid(text):
        return None
    own = hexagons.level_of(text)
    level = own + 1 if level == UNSAID else level
    if not own < level <= min(hexagons.MAX_LEVEL, own + hexagons.MOST_LEVELS_DOWN):
        return None
    return hexagons.children(text, level)


def h3cell_rings(text: str, distance: int | None) -> list[list[str]] | None:
    if distance is None or not hexagons.valid(text) or not 0 <= distance <= hexagons.MAX_RING:
        return None
    return hexagons.rings(text, distance)


def h3cell_neighbours(text: str) -> list[str] | None:
    return hexagons.rings(text, 1)[1] if hexagons.valid(text) else None


def from_wkt(text: str) -> Json:
    return wkt.parse(text)
