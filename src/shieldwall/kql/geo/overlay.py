"""Unions and intersections of shapes on the sphere."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shieldwall.kql.geo.chains import lines as lines_of
from shieldwall.kql.geo.chains import loops
from shieldwall.kql.geo.faces import Faces, Pair, Windings
from shieldwall.kql.geo.rings import Ring
from shieldwall.kql.geo.shapes import Lines, Polygon, nested
from shieldwall.kql.geo.sphere import Point

EMPTY = Polygon([], [])


@dataclass(slots=True)
class Common:
    """What two shapes share: areas, lines where it is only edges, points where they only touch."""

    points: list[Point]
    lines: list[list[Point]]
    polygon: Polygon


def union(polygons: Sequence[Polygon]) -> Polygon:
    """The two smallest are united until one is left, which says where its rings begin."""
    queue = [(polygon.size, number, polygon) for number, polygon in enumerate(polygons)]
    queue.sort(key=lambda item: item[:2])
    number = len(queue)
    while len(queue) > 1:
        first, second = queue[:2]
        del queue[:2]
        # Sizes are not counted anew, as if no point were lost or won.
        insort(queue, (first[0] + second[0], number, united(first[2], second[2])))
        number += 1
    return queue[0][2] if queue else EMPTY


def united(first: Polygon, second: Polygon) -> Polygon:
    if not first.rings or not second.rings:
        return first if first.rings else second
    edges = [*first.edges(), *second.edges()]
    origin = first.winding_at_origin() + second.winding_at_origin()
    faces = Faces(edges, [0] * len(edges), (origin,))
    return bounded(faces, lambda windings: windings[0] > 0)


def intersected(first: Polygon, second: Polygon) -> Common:
    one, other = first.edges(), second.edges()
    origin = first.winding_at_origin(), second.winding_at_origin()
    faces = Faces([*one, *other], [0] * len(one) + [1] * len(other), origin)
    polygon = bounded(faces, lambda windings: windings[0] > 0 and windings[1] > 0)
    ids = _numbered(faces)
    touching: dict[Pair, int] = {}
    kept: set[int] = set()
    for (u, v), number in ids.items():
        sides = faces.left[u, v], faces.left[v, u]
        if any(side[0] > 0 and side[1] > 0 for side in sides):
            kept.update((u, v))
        elif all(any(side[region] > 0 for side in sides) for region in (0, 1)):
            if (v, u) not in touching:
                touching[u, v] = number
            kept.update((u, v))
    touched = [
        point
        for point, around in enumerate(faces.neighbours)
        if point not in kept
        and all(any(faces.left[point, v][region] > 0 for v in around) for region in (0, 1))
    ]
    return _common(faces, touched, touching, polygon)


def line_in_polygon(line: Lines, polygon: Polygon) -> Common:
    one, other = line.edges(), polygon.edges()
    regions: list[int | None] = [*([None] * len(one)), *([0] * len(other))]
    groups = [0] * len(one) + [1] * len(other)
    faces = Faces([*one, *other], regions, (polygon.winding_at_origin(),), groups)
    pieces: dict[Pair, int] = {}
    kept: set[int] = set()
    for number, chain in enumerate(faces.chains[: len(one)]):
        for u, v in pairwise(chain):
            if faces.left[u, v][0] > 0 or faces.left[v, u][0] > 0:
                pieces.setdefault((u, v), number)
                kept.update((u, v))
    of_line = {point for chain in faces.chains[: len(one)] for point in chain}
    touched = [
        point
        for point in sorted(of_line - kept)
        if any(faces.left[point, v][0] > 0 for v in faces.neighbours[point])
    ]
    return _common(faces, touched, pieces, EMPTY)


def line_in_line(first: Lines, second: Lines) -> Common:
    one, other = first.edges(), second.edges()
    groups = [0] * len(one) + [1] * len(other)
    faces = Faces([*one, *other], [None] * len(groups), (), groups)
    theirs = {
        pair for chain in faces.chains[len(one) :] for u, v in pairwise(chain) for pair in ((u, v), (v, u))
    }
    pieces: dict[Pair, int] = {}
    for number, chain in enumerate(faces.chains[: len(one)]):
        for pair in pairwise(chain):
            if pair in theirs:
                pieces.setdefault(pair, number)
    kept = {point for pair in pieces for point in pair}
    ours = {point for chain in faces.chains[: len(one)] for point in chain}
    shared = {point for chain in faces.chains[len(one) :] for point in chain} & ours - kept
    return _common(faces, sorted(shared), pieces, EMPTY)


def united_lines(parts: Sequence[Lines]) -> list[list[Point]]:
    """All that the lines cover, once, cut where one crosses or touches another."""
    chains = [part for line in parts for part in line.parts]
    edges = [edge for chain in chains for edge in pairwise(chain)]
    groups = [number for number, chain in enumerate(chains) for _ in chain[1:]]
    faces = Faces(edges, [None] * len(edges), (), groups)
    pieces: dict[Pair, int] = {}
    for number, chain in enumerate(faces.chains):
        for u, v in pairwise(chain):
            if (v, u) not in pieces:
                pieces.setdefault((u, v), number)
    return [[faces.points[point] for point in line] for line in lines_of(pieces, directed=False)]


def bounded(faces: Faces, inside: Callable[[Windings], bool]) -> Polygon:
    """The polygon of all faces that are inside."""
    numbers = _numbered(faces)
    ids: dict[Pair, int] = {}
    for (u, v), windings in faces.left.items():
        if inside(windings) and not inside(faces.left[v, u]):
            # A piece that only runs the other way bounds what was subtracted; none does here.
            ids[u, v] = numbers.get((u, v), numbers.get((v, u), 0))
    rings = [Ring([faces.points[point] for point in loop]) for loop in loops(faces, ids)]
    return nested([ring.small() for ring in rings])


def _numbered(faces: Faces) -> dict[Pair, int]:
    """For each piece the number of the last edge that it is part of."""
    found: dict[Pair, int] = {}
    for number, chain in enumerate(faces.chains):
        for pair in pairwise(chain):
            found[pair] = number
    return found


def _common(faces: Faces, touched: list[int], pieces: dict[Pair, int], polygon: Polygon) -> Common:
    points = [faces.points[point] for point in touched]
    lines = [[faces.points[point] for point in line] for line in lines_of(pieces)]
    return Common(points, lines, polygon)
