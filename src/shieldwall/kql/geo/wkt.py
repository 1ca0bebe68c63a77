"""Well-known text of shapes."""

from __future__ import annotations

import re
from typing import Any

from shieldwall.kql.geo.shapes import number

_TOKEN = re.compile(r"\s*([A-Za-z]+|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[(),])")
_NAMES = {
    "POINT": ("Point", 0),
    "LINESTRING": ("LineString", 1),
    "MULTIPOINT": ("MultiPoint", 1),
    "POLYGON": ("Polygon", 2),
    "MULTILINESTRING": ("MultiLineString", 2),
    "MULTIPOLYGON": ("MultiPolygon", 3),
}
"""What shapes are called in GeoJSON, and how deep their positions are nested."""
_DEEPEST = 50


class _Wrong(Exception):
    pass


def parse(text: str) -> dict[str, Any] | None:
    """The shape as GeoJSON; None if the text describes none."""
    tokens: list[str] = []
    place = 0
    text = text.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return None
        tokens.append(found[1])
        place = found.end()
    reader = _Reader(tokens)
    try:
        shape = reader.shape()
    except _Wrong:
        return None
    return shape if reader.done else None


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def done(self) -> bool:
        return self._place == len(self._tokens)

    def _next(self) -> str:
        if self.done:
            raise _Wrong
        self._place += 1
        return self._tokens[self._place - 1]

    def _skip(self, token: str) -> bool:
        if not self.done and self._tokens[self._place] == token:
            self._place += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise _Wrong

    def shape(self, depth: int = 0) -> dict[str, Any]:
        name = self._next().upper()
        if name == "GEOMETRYCOLLECTION":
            if depth > _DEEPEST:
                raise _Wrong
            self._expect("(")
            shapes = [self.shape(depth + 1)]
            while self._skip(","):
                shapes.append(self.shape(depth + 1))
            self._expect(")")
            return {"type": "GeometryCollection", "geometries": shapes}
        if name not in _NAMES:
            raise _Wrong
        kind, nesting = _NAMES[name]
        if not nesting:
            self._expect("(")
            position = self._position()
            self._expect(")")
            return {"type": kind, "coordinates": position}
        return {"type": kind, "coordinates": self._nested(nesting, loose=kind == "MultiPoint")}

    def _nested(self, nesting: int, *, loose: bool) -> list[Any]:
        """Items in parentheses; a position of a MultiPoint may have its own ones."""
        self._expect("(")
        found: list[Any] = []
        while True:
            if nesting > 1:
                found.append(self._nested(nesting - 1, loose=loose))
            elif loose and self._skip("("):
                found.append(self._position())
                self._expect(")")
            else:
                found.append(self._position())
            if not self._skip(","):
                break
        self._expect(")")
        return found

    def _position(self) -> list[float | int]:
        return [self._number(), self._number()]

    def _number(self) -> float | int:
        try:
            return number(float(self._next()))
        except ValueError:
            raise _Wrong from None
