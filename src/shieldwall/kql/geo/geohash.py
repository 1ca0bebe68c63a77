"""Geohashes: rectangles of the map, halved alternately by longitude and latitude."""

from __future__ import annotations

DIGITS = "0123456789bcdefghjkmnpqrstuvwxyz"
MAX_LENGTH = 18
_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
_AROUND = ((-1, -1), (-1, 1), (1, -1), (0, 1), (-1, 0), (1, 1), (1, 0), (0, -1))

Box = tuple[float, float, float, float]
"""West, south, east and north, in degrees."""


def encode(lng: float, lat: float, length: int) -> str:
    west, east, south, north = -180.0, 180.0, -90.0, 90.0
    found: list[str] = []
    by_longitude = True
    for _ in range(length):
        value = 0
        for _ in range(5):
            if by_longitude:
                middle = (west + east) / 2
                upper = lng >= middle
                west, east = (middle, east) if upper else (west, middle)
            else:
                middle = (south + north) / 2
                upper = lat >= middle
                south, north = (middle, north) if upper else (south, middle)
            value = value << 1 | upper
            by_longitude = not by_longitude
        found.append(DIGITS[value])
    return "".join(found)


def decode(text: str) -> Box | None:
    """The rectangle of a geohash; None if the text is none."""
    if not 0 < len(text) <= MAX_LENGTH:
        return None
    west, east, south, north = -180.0, 180.0, -90.0, 90.0
    by_longitude = True
    for digit in text:
        value = _VALUES.get(digit)
        if value is None:
            return None
        for bit in (16, 8, 4, 2, 1):
            if by_longitude:
                middle = (west + east) / 2
                west, east = (middle, east) if value & bit else (west, middle)
            else:
                middle = (south + north) / 2
                south, north = (middle, north) if value & bit else (south, middle)
            by_longitude = not by_longitude
    return west, south, east, north


def neighbours(text: str) -> list[str] | None:
    """Geohashes of the same length around one; those at the poles have fewer. None if the text is none."""
    box = decode(text)
    if box is None:
        return None
    west, south, east, north = box
    width, height = east - west, north - south
    lng, lat = (west + east) / 2, (south + north) / 2
    found: list[str] = []
    for right, up in _AROUND:
        at = lat + up * height
        if abs(at) < 90:
            found.append(encode((lng + right * width + 180) % 360 - 180, at, len(text)))
    return [other for other in dict.fromkeys(found) if other != text]
