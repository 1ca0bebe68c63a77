"""H3 cells, by Uber's own library, which is loaded when a query first needs it."""

from __future__ import annotations

from typing import Any

from shieldwall.kql.geo.shapes import Polygon, Position, number
from shieldwall.kql.geo.sphere import Point, to_degrees

MAX_LEVEL = 15
MAX_RING = 142
MAX_CELLS = 61_680
MOST_LEVELS_DOWN = 5
_DIGITS = frozenset("0123456789abcdefABCDEF")
_SMALLEST_SHARE = 0.5
"""How much smaller than the average of its level a cell may be."""


def _library() -> Any:
    import h3

    return h3


def valid(cell: str) -> bool:
    return 0 < len(cell) <= 16 and set(cell) <= _DIGITS and bool(_library().is_valid_cell(cell))


def cell_at(place: Position, level: int) -> str:
    found: str = _library().latlng_to_cell(place[1], place[0], level)
    return found


def level_of(cell: str) -> int:
    found: int = _library().get_resolution(cell)
    return found


def parent(cell: str, level: int) -> str:
    found: str = _library().cell_to_parent(cell, level)
    return found


def children(cell: str, level: int) -> list[str]:
    return list(_library().cell_to_children(cell, level))


def rings(cell: str, distance: int) -> list[list[str]]:
    """The cell, its neighbours, theirs, and so on."""
    found, seen = [[cell]], {cell}
    disk: list[str] = list(_library().grid_disk(cell, distance))
    if distance:
        for step in range(1, distance + 1):
            inner = disk if step == distance else _library().grid_disk(cell, step)
            ring = [other for other in inner if other not in seen]
            seen.update(ring)
            found.append(ring)
    return found


def centre(cell: str) -> Position:
    lat, lng = _library().cell_to_latlng(cell)
    return lng, lat


def outline(cell: str) -> list[list[float | int]]:
    """The positions of a cell's corners, closed."""
    found = [[number(lng), number(lat)] for lat, lng in _library().cell_to_boundary(cell)]
    return [*found, found[0]]


def inside(polygon: Polygon, level: int, steradians: float) -> list[str] | None:
    """Cells whose centres lie in a polygon with straight edges on the map; None if there are too many."""
    h3 = _library()
    average = h3.average_hexagon_area(level, unit="km^2") / 6371.0**2
    if steradians / average * _SMALLEST_SHARE > MAX_CELLS:
        return None
    found: dict[str, None] = {}
    shell: list[tuple[float, float]] = []
    holes: list[list[tuple[float, float]]] = []

    def fill() -> None:
        if shell:
            found.update(dict.fromkeys(h3.h3shape_to_cells(h3.LatLngPoly(shell, *holes), level)))

    for ring, depth in zip(polygon.rings, polygon.depths, strict=True):
        if depth % 2:
            holes.append(_positions(ring.points))
        else:
            fill()
            shell, holes = _positions(ring.points), []
    fill()
    return list(found) if len(found) <= MAX_CELLS else None


def _positions(points: list[Point]) -> list[tuple[float, float]]:
    return [(lat, lng) for lng, lat in map(to_degrees, points)]
