"""What GeoJSON describes, as shapes on the sphere, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any

from shieldwall.kql.geo.noding import near_pairs
from shieldwall.kql.geo.rings import Ring
from shieldwall.kql.geo.sphere import Point, between, crossing, distance2, from_degrees, to_degrees

Position = tuple[float, float]
"""Longitude and latitude in degrees."""
_DIAMETER2 = 4 - 1e-14


@dataclass(eq=False, slots=True)
class Polygon:
    """Rings, each around its smaller side: shells, each before its holes. ``depths`` are odd for holes."""

    rings: list[Ring]
    depths: list[int]

    @property
    def size(self) -> int:
        return sum(len(ring.points) for ring in self.rings)

    def contains(self, point: Point) -> bool:
        return sum(ring.contains(point) for ring in self.rings) % 2 == 1

    def edges(self) -> list[tuple[Point, Point]]:
        """With the inside on the left."""
        found: list[tuple[Point, Point]] = []
        for ring, depth in zip(self.rings, self.depths, strict=True):
            points = ring.points[::-1] if depth % 2 else ring.points
            found += zip(points, [*points[1:], points[0]], strict=True)
        return found

    def winding_at_origin(self) -> int:
        return sum(
            (-1 if depth % 2 else 1) * ring.holds_origin
            for ring, depth in zip(self.rings, self.depths, strict=True)
        )


@dataclass(eq=False, slots=True)
class Lines:
    """Chains of points."""

    parts: list[list[Point]]

    def edges(self) -> list[tuple[Point, Point]]:
        return [edge for part in self.parts for edge in pairwise(part)]


@dataclass(eq=False, slots=True)
class Region:
    """A polygon or the union of several."""

    polygons: list[Polygon]
    _united: Polygon | None = field(default=None)

    def contains(self, point: Point) -> bool:
        return any(polygon.contains(point) for polygon in self.polygons)

    def united(self) -> Polygon:
        """As one polygon, which may have several shells."""
        if self._united is None:
            from shieldwall.kql.geo.overlay import union

            self._united = union(self.polygons)
        return self._united


def position(value: Any) -> Position | None:
    """A position as GeoJSON writes it, if it is one."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    return valid(value[0], value[1])


def valid(lng: Any, lat: Any) -> Position | None:
    """A longitude and latitude that are in range."""
    if isinstance(lng, bool) or isinstance(lat, bool):
        return None
    if not isinstance(lng, int | float) or not isinstance(lat, int | float):
        return None
    if not (isfinite(lng) and isfinite(lat)) or abs(lng) > 180 or abs(lat) > 90:
        return None
    return float(lng), float(lat)


def positions(value: Any) -> list[Position] | None:
    if not isinstance(value, list):
        return None
    found = [position(item) for item in value]
    return found if all(found) else None  # type: ignore[return-value]


def _members(value: Any, one: str, many: str) -> list[Any] | None:
    if not isinstance(value, dict):
        return None
    members = value.get("coordinates")
    if not isinstance(members, list) or not members:
        return None
    if value.get("type") == one:
        return [members]
    return members if value.get("type") == many else None


def line_positions(value: Any) -> list[list[Position]] | None:
    """The positions of a LineString or MultiLineString; None if it is none."""
    members = _members(value, "LineString", "MultiLineString")
    found = [positions(member) for member in members or ()]
    if not found or any(not part or len(part) < 2 for part in found):
        return None
    return found  # type: ignore[return-value]


def ring_positions(value: Any) -> list[list[list[Position]]] | None:
    """The positions of a Polygon's or MultiPolygon's rings, closed; None if it is none."""
    members = _members(value, "Polygon", "MultiPolygon")
    found: list[list[list[Position]]] = []
    for member in members or ():
        rings = [positions(ring) for ring in member] if isinstance(member, list) else []
        if not rings or any(not ring or len(ring) < 4 or ring[0] != ring[-1] for ring in rings):
            return None
        found.append(rings)  # type: ignore[arg-type]
    return found or None


def lines(value: Any) -> Lines | None:
    """The shape of a LineString or MultiLineString; None if it is invalid."""
    parts = line_positions(value)
    if parts is None:
        return None
    found: list[list[Point]] = []
    for part in parts:
        points: list[Point] = []
        for place in part:
            point = from_degrees(*place)
            if not points or points[-1] != point:
                points.append(point)
        if len(points) < 2 or any(_opposite(a, b) for a, b in pairwise(points)):
            return None
        found.append(points)
    return Lines(found)


def region(value: Any) -> Region | None:
    """The shape of a Polygon or MultiPolygon; None if it is invalid."""
    parts = ring_positions(value)
    if parts is None:
        return None
    found: list[Polygon] = []
    for part in parts:
        rings = [[from_degrees(*place) for place in ring[:-1]] for ring in part]
        if not all(map(_distinct, rings)) or _crossed(rings):
            return None
        found.append(nested([Ring(points).small() for points in rings]))
    return Region(found)


def _opposite(a: Point, b: Point) -> bool:
    return distance2(a, b) > _DIAMETER2


def _distinct(points: list[Point]) -> bool:
    return (
        len(points) >= 3
        and len(set(points)) == len(points)
        and not any(_opposite(a, b) for a, b in zip(points, [*points[1:], points[0]], strict=True))
    )


def _crossed(rings: list[list[Point]]) -> bool:
    """Whether edges cross or are shared."""
    edges = [edge for points in rings for edge in zip(points, [*points[1:], points[0]], strict=True)]
    if len(edges) == 3:
        return False
    for first, second in near_pairs(edges):
        (a, b), (c, d) = edges[first], edges[second]
        if crossing(a, b, c, d) > 0 or (a in (c, d) and b in (c, d)):
            return True
    return False


def nested(rings: Sequence[Ring]) -> Polygon:
    """A polygon of rings that do not cross; the depth of each says how many others it lies in."""
    children: dict[Ring | None, list[Ring]] = {None: []}
    for ring in rings:
        parent: Ring | None = None
        while True:
            inside = next((other for other in children[parent] if _within(ring, other)), None)
            if inside is None:
                break
            parent = inside
        taken = [other for other in children[parent] if _within(other, ring)] if len(rings) > 1 else []
        children[parent] = [other for other in children[parent] if other not in taken]
        children[parent].append(ring)
        children[ring] = taken
    order: list[Ring] = []
    depths: list[int] = []
    waiting = [(ring, 0) for ring in reversed(children[None])]
    while waiting:
        ring, depth = waiting.pop()
        order.append(ring)
        depths.append(depth)
        waiting += [(child, depth + 1) for child in reversed(children[ring])]
    return Polygon(order, depths)


def _within(ring: Ring, other: Ring) -> bool:
    """Whether a ring lies in another one, which it does not cross."""
    if ring is other or not other.may_hold(ring.points[0]):
        return False
    shared = set(other.points)
    for point in ring.points:
        if point not in shared:
            return other.contains(point)
    middle = between(ring.points[0], ring.points[1], 0.5)
    return other.contains(middle) and ring.area() < other.area()


# Shapes as GeoJSON


def number(value: float) -> float | int:
    """A coordinate as results write it."""
    return int(value) if value.is_integer() else value


def coordinates(point: Point) -> list[float | int]:
    lng, lat = to_degrees(point)
    return [number(lng), number(lat)]


def point_json(point: Point) -> dict[str, Any]:
    return {"type": "Point", "coordinates": coordinates(point)}


def position_json(place: Position) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [number(place[0]), number(place[1])]}


def lines_json(parts: Sequence[Sequence[Point]]) -> dict[str, Any]:
    found = [[coordinates(point) for point in part] for part in parts]
    if len(found) == 1:
        return {"type": "LineString", "coordinates": found[0]}
    return {"type": "MultiLineString", "coordinates": found}


def polygon_json(polygon: Polygon) -> dict[str, Any]:
    """A Polygon or, of several shells, a MultiPolygon."""
    found: list[list[list[list[float | int]]]] = []
    for ring, depth in zip(polygon.rings, polygon.depths, strict=True):
        points = ring.points[::-1] if depth % 2 else ring.points
        closed = [coordinates(point) for point in (*points, points[0])]
        if depth % 2:
            found[-1].append(closed)
        else:
            found.append([closed])
    if len(found) == 1:
        return {"type": "Polygon", "coordinates": found[0]}
    return {"type": "MultiPolygon", "coordinates": found}


def collection(geometries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The only geometry there is, or a collection."""
    if len(geometries) == 1:
        return geometries[0]
    return {"type": "GeometryCollection", "geometries": list(geometries)}
