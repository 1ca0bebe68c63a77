"""Properties of the geometry on the sphere, over shapes at random."""

from __future__ import annotations

from itertools import pairwise
from math import cos, hypot, isclose, pi, radians, sin
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shieldwall.kql.functions.registry import LOCALS
from shieldwall.kql.geo import cells, geohash, shapes, sphere
from shieldwall.kql.geo.line_functions import simplified as line_simplified
from shieldwall.kql.geo.points import distance_between, in_polygon
from shieldwall.kql.geo.polygon_functions import (
    area,
    buffer,
    centroid,
    closest_on_polygon,
    densify,
    distance_to_polygon,
    intersection,
    simplified,
    to_s2cells,
    union,
)

LNG = st.floats(-180, 180)
LAT = st.floats(-89, 89)
POSITION = st.tuples(LNG, LAT)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "coordinates"]), inner, max_size=2)
        | st.fixed_dictionaries(
            {
                "type": st.sampled_from(["Polygon", "MultiPolygon", "LineString", "MultiLineString"]),
                "coordinates": inner,
            }
        )
    ),
    max_leaves=12,
)


@st.composite
def polygons(draw: Any) -> dict[str, Any]:
    """A polygon without crossings, seen from its middle."""
    lng, lat = draw(st.floats(-20, 20)), draw(st.floats(-60, 60))
    far = draw(st.lists(st.floats(0.3, 1), min_size=3, max_size=12))
    size = draw(st.sampled_from([0.01, 1.0, 5.0]))
    ring = [
        [
            lng + size * r * cos(2 * pi * i / len(far)) / cos(radians(lat)),
            lat + size * r * sin(2 * pi * i / len(far)),
        ]
        for i, r in enumerate(far)
    ]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def shared_area(value: Any) -> float:
    """The area of what an intersection gave."""
    if value["type"] == "GeometryCollection":
        return sum(shared_area(item) for item in value["geometries"])
    return area(value) or 0.0 if "Polygon" in value["type"] else 0.0


@settings(max_examples=150, deadline=None)
@given(polygons(), polygons())
def test_areas_of_union_and_intersection_add_up(one: Any, other: Any) -> None:
    together = union([one, other])
    assert together is not None
    total = (area(one) or 0) + (area(other) or 0)
    assert isclose(
        (area(together) or 0) + shared_area(intersection(one, other)), total, rel_tol=1e-7, abs_tol=1
    )


@settings(max_examples=100, deadline=None)
@given(polygons(), polygons(), POSITION)
def test_a_union_holds_what_either_holds(one: Any, other: Any, place: tuple[float, float]) -> None:
    place = (place[0] / 6, place[1])
    either = in_polygon(*place, one) or in_polygon(*place, other)
    assert in_polygon(*place, union([one, other])) == either


@settings(max_examples=60, deadline=None)
@given(polygons(), st.floats(100, 100_000), st.floats(0, 2 * pi), st.floats(0, 3))
def test_a_buffer_holds_what_is_near(shape: Any, radius: float, way: float, share: float) -> None:
    lng, lat = shape["coordinates"][0][0]
    at = radians(radius / 1000) * share / 111.2 * 57.3
    place = (lng + at * cos(way) / cos(radians(lat)), lat + at * sin(way))
    around = buffer(shape, radius, radius / 100)
    away = distance_to_polygon(*place, shape)
    assert away is not None
    if away < radius * 0.989:
        assert in_polygon(*place, around)
    elif away > radius * 1.0001:
        assert not in_polygon(*place, around)


@settings(max_examples=60, deadline=None)
@given(polygons(), st.integers(4, 10))
def test_cells_cover_all_of_a_polygon(shape: Any, level: int) -> None:
    covering = to_s2cells(shape, level)
    assume(covering is not None)
    middle = centroid(shape)["coordinates"]  # type: ignore[index]
    for lng, lat in [*shape["coordinates"][0], *([middle] if in_polygon(*middle, shape) else [])]:
        cell = cells.parent(cells.leaf(sphere.from_degrees(lng, lat)), level)
        assert cells.token(cell) in covering


@settings(max_examples=60, deadline=None)
@given(polygons(), st.sampled_from([1.0, 50.0, 1000.0, 20_000.0]))
def test_simplified_points_are_points_within_the_tolerance(shape: Any, tolerance: float) -> None:
    found = simplified(shape, tolerance)
    if found is None:
        return
    old = shapes.region(shape)
    new = shapes.region(found)
    assert old is not None
    assert new is not None
    for ring in new.polygons[0].rings:
        for point in ring.points:
            away = min(sphere.distance(point, *edge) for edge in old.polygons[0].edges())
            assert away <= 1.2 * tolerance / sphere.EARTH_RADIUS


@settings(max_examples=100, deadline=None)
@given(st.lists(POSITION, min_size=2, max_size=8, unique=True), st.floats(0, 100_000))
def test_a_simplified_line_stays_near(path: list[tuple[float, float]], tolerance: float) -> None:
    line = {"type": "LineString", "coordinates": [[lng / 100, lat / 100] for lng, lat in path]}
    found = line_simplified(line, tolerance)
    assume(found is not None)
    old, new = shapes.lines(line), shapes.lines(found)
    assert old is not None
    assert new is not None
    for point in (point for part in new.parts for point in part):
        away = min(sphere.distance(point, *edge) for edge in old.edges())
        assert away <= 1.2 * tolerance / sphere.EARTH_RADIUS + 1e-12


@settings(max_examples=80, deadline=None)
@given(polygons(), POSITION)
def test_the_closest_point_is_at_the_distance(shape: Any, place: tuple[float, float]) -> None:
    found = closest_on_polygon(*place, shape)
    away = distance_to_polygon(*place, shape)
    assert found is not None
    assert away is not None
    assert isclose(distance_between(*place, *found["coordinates"]) or 0, away, rel_tol=1e-7, abs_tol=1e-3)


@settings(max_examples=40, deadline=None)
@given(polygons(), st.sampled_from([10.0, 1000.0]))
def test_densified_edges_stay_on_their_straight_lines(shape: Any, tolerance: float) -> None:
    found = densify(shape, tolerance)
    assert found is not None
    ring = shape["coordinates"][0]
    for lng, lat in found["coordinates"][0]:
        assert min(_off(lng, lat, a, b) for a, b in pairwise(ring)) < 1e-9


def _off(x: float, y: float, a: list[float], b: list[float]) -> float:
    """How far a point is from a straight line between two others on the map."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    size = dx * dx + dy * dy
    share = min(1.0, max(0.0, ((x - a[0]) * dx + (y - a[1]) * dy) / size)) if size else 0.0
    return hypot(x - a[0] - share * dx, y - a[1] - share * dy)


@given(POSITION, st.integers(1, 18))
def test_a_geohash_holds_its_point(place: tuple[float, float], length: int) -> None:
    box = geohash.decode(geohash.encode(*place, length))
    assert box is not None
    assert box[0] <= place[0] <= box[2]
    assert box[1] <= place[1] <= box[3]


@given(POSITION, st.integers(0, 30))
def test_an_s2_cell_is_near_its_point_and_its_token_names_it(place: tuple[float, float], level: int) -> None:
    point = sphere.from_degrees(*place)
    cell = cells.parent(cells.leaf(point), level)
    assert cells.level_of(cell) == level
    assert cells.from_token(cells.token(cell)) == cell
    assert sphere.angle(point, cells.centre(cell)) <= 2.44 / (1 << level)
    around = cells.neighbours(cell)
    assert cell not in around
    assert {cells.level_of(other) for other in around} == {level}
    if level > 1:
        assert all(cell in cells.neighbours(other) for other in around)


@given(st.tuples(POSITION, POSITION, POSITION))
def test_three_points_turn_the_same_way_in_any_order(places: Any) -> None:
    a, b, c = (sphere.from_degrees(*place) for place in places)
    side = sphere.sign(a, b, c)
    assert (side == 0) == (len({a, b, c}) < 3)
    assert sphere.sign(b, c, a) == side
    assert sphere.sign(c, b, a) == -side


@pytest.mark.parametrize("name", [name for name in LOCALS if name.startswith("geo_")])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_functions_take_anything(name: str, data: Any) -> None:
    signatures, work = LOCALS[name]
    values = {
        "real": st.none() | st.floats() | st.sampled_from([0.0, 90.0, 180.0, -90.0, -180.0, 1e-300]),
        "long": st.none() | st.integers(-2, 33),
        "bool": st.none() | st.booleans(),
        "string": st.text(max_size=8) | st.sampled_from(["862a1072fffffff", "89c25", "sunny", "POINT (1 2)"]),
        "dynamic": ANYTHING | polygons() | st.lists(polygons(), max_size=3),
    }
    args = [data.draw(values[param.type]) for param in signatures[0].params]
    assert work(*args) is None or work(*args) == work(*args)
