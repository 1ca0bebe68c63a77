"""The directions that an edge may take from a point, to pass near to some points and clear of others."""

from __future__ import annotations

from math import asin, atan2, inf, pi, sqrt

from shieldwall.kql.geo.sphere import Point, angle, cross, distance2, dot, ortho


class Window:
    """The directions in which an edge from a point may go."""

    def __init__(self, source: Point) -> None:
        self.source = source
        self._x = ortho(source)
        self._y = cross(source, self._x)
        self.low, self.high = 0.0, inf
        """From low to high counter-clockwise; all directions when high is infinite."""
        self._waiting: list[tuple[float, float, bool]] = []

    def _direction(self, point: Point) -> float:
        return atan2(dot(point, self._y), dot(point, self._x))

    def _half_width(self, point: Point, radius2: float) -> float:
        far2 = distance2(self.source, point)
        if far2 <= radius2:
            return pi
        ratio = radius2 * (1 - 0.25 * radius2) / (far2 * (1 - 0.25 * far2))
        return asin(min(1.0, sqrt(ratio)))

    def allows(self, point: Point) -> bool:
        if angle(self.source, point) > pi / 2:
            return False
        direction = self._direction(point)
        return self._within(direction) and not any(
            _span(low, direction) <= _span(low, high) for low, high, _ in self._waiting
        )

    def _within(self, direction: float) -> bool:
        return self.high == inf or _span(self.low, direction) <= self.high - self.low

    def target(self, point: Point, radius2: float) -> bool:
        """Demand that the edge passes within a distance of a point; False if it cannot."""
        half = self._half_width(point, radius2)
        if half < pi:
            middle = self._direction(point)
            if not self._narrow(middle - half, middle + half):
                return False
        waiting, self._waiting = self._waiting, []
        return all(self._avoid_range(*item) for item in waiting) if self.high != inf else self._wait(waiting)

    def _wait(self, waiting: list[tuple[float, float, bool]]) -> bool:
        self._waiting = waiting
        return True

    def avoid(self, point: Point, radius2: float, left: bool) -> bool:
        """Demand that the edge leaves a point on its left or right, at a distance; False if it cannot."""
        half = self._half_width(point, radius2)
        if half >= pi:
            return False
        middle = self._direction(point)
        low, high = middle - (half if left else pi / 2), middle + (pi / 2 if left else half)
        if self.high == inf:
            self._waiting.append((low, high, left))
            return True
        return self._avoid_range(low, high, left)

    def _avoid_range(self, low: float, high: float, left: bool) -> bool:
        size = self.high - self.low
        start = _span(self.low, low)
        if start <= size and start + (high - low) <= size:
            return (
                self._narrow(self.low, self.low + start)
                if left
                else self._narrow(self.low + start + (high - low), self.high)
            )
        return self._narrow(high, low + 2 * pi)

    def _narrow(self, low: float, high: float) -> bool:
        """Leave only the directions from low to high; False if none is left."""
        if self.high == inf:
            self.low, self.high = low, high
            return True
        size, length = self.high - self.low, high - low
        start = _span(self.low, low)
        begins, comes_round = start <= size, start + length >= 2 * pi
        if begins and comes_round:
            if length < size:
                self.low, self.high = low, high
        elif begins:
            self.low, self.high = self.low + start, self.low + min(size, start + length)
        elif comes_round:
            self.high = self.low + min(size, start + length - 2 * pi)
        else:
            return False
        return True


def _span(low: float, high: float) -> float:
    """From one direction counter-clockwise to another."""
    return (high - low) % (2 * pi)
