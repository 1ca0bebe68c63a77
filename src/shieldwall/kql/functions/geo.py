"""Geospatial functions: those of hunts over many rows in SQL, the others in Python.

The modules that compute are loaded when a query first calls one of their functions.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shieldwall.kql.frame import to_python
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import LOCALS, coded, coerce, fitted, local, result_type
from shieldwall.kql.geo.limits import TooMany
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_TABLE = """
geo_angle(real, real, real, real, real, real) -> real | points.angle
geo_azimuth(real, real, real, real) -> real | points.azimuth
geo_distance_2points(real, real, real, real, bool = 0) -> real | points.distance_between
geo_point_buffer(real, real, real, real = 10.0) -> dynamic | points.buffer
geo_point_in_circle(real, real, real, real, real) -> bool | points.in_circle
geo_point_in_polygon(real, real, dynamic) -> bool | points.in_polygon

geo_closest_point_on_line(real, real, dynamic) -> dynamic | line_functions.closest_on_line
geo_distance_point_to_line(real, real, dynamic) -> real | line_functions.distance_to_line
geo_intersection_2lines(dynamic, dynamic) -> dynamic | line_functions.intersection
geo_intersection_line_with_polygon(dynamic, dynamic) -> dynamic | line_functions.intersection_with_polygon
geo_intersects_2lines(dynamic, dynamic) -> bool | line_functions.intersects
geo_intersects_line_with_polygon(dynamic, dynamic) -> bool | line_functions.intersects_polygon
geo_line_buffer(dynamic, real, real = 10.0) -> dynamic | line_functions.buffer
geo_line_centroid(dynamic) -> dynamic | line_functions.centroid
geo_line_densify(dynamic, real = 10.0, bool = 0) -> dynamic | line_functions.densify
geo_line_interpolate_point(dynamic, real) -> dynamic | line_functions.interpolate
geo_line_length(dynamic) -> real | line_functions.length
geo_line_locate_point(dynamic, real, real, bool = 0) -> real | line_functions.locate
geo_line_simplify(dynamic, real = 10.0) -> dynamic | line_functions.simplified
geo_line_to_s2cells(dynamic, long = 11, real = 0.0) -> dynamic | line_functions.to_s2cells
geo_union_lines_array(dynamic) -> dynamic | line_functions.union

geo_closest_point_on_polygon(real, real, dynamic) -> dynamic | polygon_functions.closest_on_polygon
geo_distance_point_to_polygon(real, real, dynamic) -> real | polygon_functions.distance_to_polygon
geo_intersection_2polygons(dynamic, dynamic) -> dynamic | polygon_functions.intersection
geo_intersects_2polygons(dynamic, dynamic) -> bool | polygon_functions.intersects
geo_polygon_area(dynamic) -> real | polygon_functions.area
geo_polygon_buffer(dynamic, real, real = 10.0) -> dynamic | polygon_functions.buffer
geo_polygon_centroid(dynamic) -> dynamic | polygon_functions.centroid
geo_polygon_densify(dynamic, real = 10.0, bool = 0) -> dynamic | polygon_functions.densify
geo_polygon_perimeter(dynamic) -> real | polygon_functions.perimeter
geo_polygon_simplify(dynamic, real = 10.0) -> dynamic | polygon_functions.simplified
geo_polygon_to_h3cells(dynamic, long = 6, real = 0.0) -> dynamic | polygon_functions.to_h3cells
geo_polygon_to_s2cells(dynamic, long = 11, real = 0.0) -> dynamic | polygon_functions.to_s2cells
geo_simplify_polygons_array(dynamic, real = 10.0) -> dynamic | polygon_functions.simplified_array
geo_union_polygons_array(dynamic) -> dynamic | polygon_functions.union

geo_from_wkt(string) -> dynamic | grid_functions.from_wkt
geo_geohash_neighbors(string) -> dynamic | grid_functions.geohash_neighbours
geo_geohash_to_central_point(string) -> dynamic | grid_functions.geohash_centre
geo_geohash_to_polygon(string) -> dynamic | grid_functions.geohash_polygon
geo_h3cell_children(string, long = -99) -> dynamic | grid_functions.h3cell_children
geo_h3cell_level(string) -> int | grid_functions.h3cell_level
geo_h3cell_neighbors(string) -> dynamic | grid_functions.h3cell_neighbours
geo_h3cell_parent(string, long = -99) -> string | grid_functions.h3cell_parent
geo_h3cell_rings(string, long) -> dynamic | grid_functions.h3cell_rings
geo_h3cell_to_central_point(string) -> dynamic | grid_functions.h3cell_centre
geo_h3cell_to_polygon(string) -> dynamic | grid_functions.h3cell_polygon
geo_point_to_geohash(real, real, long = 5) -> string | grid_functions.geohash_of
geo_point_to_h3cell(real, real, long = 6) -> string | grid_functions.h3cell_of
geo_point_to_s2cell(real, real, long = 11) -> string | grid_functions.s2cell_of
geo_s2cell_neighbors(string) -> dynamic | grid_functions.s2cell_neighbours
geo_s2cell_to_central_point(string) -> dynamic | grid_functions.s2cell_centre
geo_s2cell_to_polygon(string) -> dynamic | grid_functions.s2cell_polygon
"""


def _later(name: str) -> Callable[..., Any]:
    """A function of the package `geo`, loaded when it is first called; null where it finds too much to do."""
    module, _, attribute = name.partition(".")
    loaded: list[Callable[..., Any]] = []

    def work(*args: Any) -> Any:
        if not loaded:
            loaded.append(getattr(import_module(f"shieldwall.kql.geo.{module}"), attribute))
        try:
            return loaded[0](*args)
        except (ArithmeticError, ValueError, TooMany):
            return None

    return work


for _line in filter(None, _TABLE.splitlines()):
    _signature, _, _name = _line.partition(" | ")
    local(_signature)(_later(_name))


# In SQL, where it is the same to the last digits

_VALID = "abs({a}) <= 180 AND abs({b}) <= 90"
_BOTH = f"{_VALID} AND abs({{c}}) <= 180 AND abs({{d}}) <= 90"
_HAVERSINE = (
    "12742020. * asin(sqrt(least(1., pow(sin(radians({d} - {b}) / 2), 2) + "
    "pow(sin(radians({c} - {a}) / 2), 2) * cos(radians({b})) * cos(radians({d})))))"
)
"""Metres between longitude a, latitude b and longitude c, latitude d; the earth's diameter stands first."""


def _written(values: list[Value], body: str, to: str) -> str:
    """SQL of a body over {a}, {b} and so on, which stand for the values; each of them is computed once."""
    names = "abcdefgh"[: len(values)]
    simple = all(value.is_constant or value.is_column for value in values)
    for name, value in zip(names, values, strict=True):
        body = body.replace(f"{{{name}}}", value.sql if simple else name)
    if simple:
        return body
    arrays = ", ".join(f"[CAST({value.sql} AS Nullable(Float64))]" for value in values)
    return f"CAST(arrayMap(({', '.join(names)}) -> {body}, {arrays})[1] AS {to})"


def _in_python(binder: Binder, call: Call, args: list[Value]) -> Value:
    signatures, work = LOCALS[call.name]
    signature, values = fitted(signatures, call, args)
    return binder.in_python(call.name, values, result_type(signature, values), work)


def _reals(call: Call, args: list[Value]) -> list[Value] | None:
    """The arguments as reals; None if all are constant."""
    values = [coerce(value, "real", call, number) for number, value in enumerate(args)]
    return None if all(value.is_constant for value in values) else values


@coded("geo_distance_2points")
def geo_distance_2points(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Metres between two points."""
    args = bound(binder, call, 4, 5)
    values = _reals(call, args[:4])
    if values is None or len(args) > 4:
        return _in_python(binder, call, args)
    text = _written(values, f"if({_BOTH}, {_HAVERSINE}, NULL)", "Nullable(Float64)")
    return made("real", text, *values)


@coded("geo_point_in_circle")
def geo_point_in_circle(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether a point is within metres of another one."""
    args = bound(binder, call, 5)
    values = _reals(call, args)
    if values is None:
        return _in_python(binder, call, args)
    body = f"if({_BOTH} AND {{e}} > 0, {_HAVERSINE} <= {{e}}, NULL)"
    return made("bool", _written(values, body, "Nullable(Bool)"), *values)


@coded("geo_point_to_geohash")
def geo_point_to_geohash(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The geohash of a point; ClickHouse makes those of up to twelve characters."""
    args = bound(binder, call, 2, 3)
    values = _reals(call, args[:2])
    length = args[2].constant if len(args) > 2 else 5
    if values is None or not isinstance(length, int) or not 0 < length <= 12:
        return _in_python(binder, call, args)
    body = f"if({_VALID}, geohashEncode({{a}}, {{b}}, {length}), NULL)"
    return made("string", f"ifNull({_written(values, body, 'Nullable(String)')}, '')", *values)


@coded("geo_point_in_polygon")
def geo_point_in_polygon(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether a polygon holds a point."""
    args = bound(binder, call, 3)
    values = _reals(call, args[:2])
    polygon = coerce(args[2], "dynamic", call, 2)
    if values is None or not polygon.is_constant:
        return _in_python(binder, call, args)
    from shieldwall.kql.geo.meridians import crossings
    from shieldwall.kql.geo.shapes import region

    found = region(to_python("dynamic", polygon.constant))
    if found is None:
        return constant("bool", None)
    counted = crossings(found)
    if counted is None:
        return _in_python(binder, call, args)
    parts = [
        "arrayCount((l, h, p, q) -> if(x < l, x + 2 * pi(), x) < h "
        "AND p * sin(h - x) + q * sin(x - l) > t, "
        f"{', '.join(str(column) for column in columns)}) % 2 = {odd}"
        for columns, odd in counted
    ]
    x, t = "radians(if({a} = 180, -180., {a}))", "tan(radians({b}))"
    body = f"if({_VALID}, arrayMap((x, t) -> {' OR '.join(parts)}, [{x}], [{t}])[1], NULL)"
    return made("bool", _written(values, body, "Nullable(Bool)"), *values)
