"""geo_line_lookup and geo_polygon_lookup: positions beside the shapes that they lie in or near to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql.frame import Frame
from shieldwall.kql.local import local
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Column, Relation
from shieldwall.kql.scope import unknown
from shieldwall.kql.syntax import Name, Query

if TYPE_CHECKING:
    from shieldwall.kql.geo.index import Index

_NUMBER = ("int", "long", "real")
_SOURCE = "SourceLongitude, SourceLatitude"
_OPTIONS = "return_unmatched?, lookup_area_radius?, return_lookup_key?"


@plugin(f"geo_polygon_lookup(LookupTable, LookupPolygonKey, {_SOURCE}, radius?, {_OPTIONS})")
def geo_polygon_lookup(use: Use) -> Relation:
    radius = use.constant("radius", None, _NUMBER)
    if radius is not None and radius < 0:
        raise use.error("radius must not be negative.", use.args["radius"].at)

    def index(shapes: Sequence[Any]) -> Index:
        from shieldwall.kql.geo.index import of_polygons

        return of_polygons(shapes, radius)

    return _lookup(use, "LookupPolygonKey", index)


@plugin(f"geo_line_lookup(LookupTable, LookupLineKey, {_SOURCE}, radius, {_OPTIONS})")
def geo_line_lookup(use: Use) -> Relation:
    radius = use.constant("radius", None, _NUMBER)
    if radius is None or radius < 0:
        raise use.error("radius must be a number that is not negative.", use.args["radius"].at)

    def index(shapes: Sequence[Any]) -> Index:
        from shieldwall.kql.geo.index import of_lines

        return of_lines(shapes, radius)

    return _lookup(use, "LookupLineKey", index)


def _lookup(use: Use, key: str, index: Callable[[Sequence[Any]], Index]) -> Relation:
    """Each row with each row of the table whose shape holds its position. Hints change nothing."""
    lng, lat = use.column("SourceLongitude"), use.column("SourceLatitude")
    node = use.args["LookupTable"]
    table = use.compiler.source(node.pipeline if isinstance(node, Query) else node, use.env)
    shape = _column(table, use.args[key])
    unmatched = bool(use.constant("return_unmatched", False, ("bool",)))
    shown = [
        column
        for column in table.columns
        if column is not shape or use.constant("return_lookup_key", False, ("bool",))
    ]
    read = frozenset((lng, lat, shape))
    columns = [Column(column.name, column.type, deps=read | {column}) for column in use.relation.columns]
    taken = {column.name for column in columns}
    sources: dict[str, tuple[int, str]] = {column.name: (0, column.name) for column in columns}
    for column in shown:
        name, number = column.name, 0
        while name in taken:
            number += 1
            name = f"{column.name}{number}"
        taken.add(name)
        sources[name] = 1, column.name
        columns.append(Column(name, column.type, deps=read | {column}))

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        left, right = frames
        here, there = left.places(), right.places()
        parts = [sources[name] for name in wanted]
        places = [(side, (here, there)[side][name]) for side, name in parts]
        found = index([row[there[shape.name]] for row in right.rows])
        rows: list[list[Any]] = []
        for row in left.rows:
            matches = list(found.at(row[here[lng.name]], row[here[lat.name]]))
            rows += [
                [(right.rows[match] if side else row)[place] for side, place in places] for match in matches
            ]
            if unmatched and not matches:
                rows.append([None if side else row[place] for side, place in places])
        return rows

    return local(use.compiler, [use.relation, table], columns, work)


def _column(table: Relation, node: Any) -> Column:
    name = node.name if isinstance(node, Name) else ""
    for column in table.columns:
        if column.name == name:
            return column
    raise unknown("column", name, [column.name for column in table.columns], node.at)
