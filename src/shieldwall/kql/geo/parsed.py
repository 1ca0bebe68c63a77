"""Shapes of GeoJSON values, kept for the next row where the same value is given again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from shieldwall.kql.geo import shapes
from shieldwall.kql.geo.shapes import Lines, Region

T = TypeVar("T")
_KEPT = 64


class _Kept(Generic[T]):
    """A function of a value, remembered for the last values it was called with, which must not be changed."""

    def __init__(self, work: Callable[[Any], T | None]) -> None:
        self._work = work
        self._found: dict[int, tuple[Any, T | None]] = {}

    def __call__(self, value: Any) -> T | None:
        known = self._found.get(id(value))
        if known is not None and known[0] is value:
            return known[1]
        found = self._work(value)
        if isinstance(value, dict):
            while len(self._found) >= _KEPT:
                self._found.pop(next(iter(self._found)), None)
            self._found[id(value)] = value, found
        return found


lines: _Kept[Lines] = _Kept(shapes.lines)
region: _Kept[Region] = _Kept(shapes.region)
