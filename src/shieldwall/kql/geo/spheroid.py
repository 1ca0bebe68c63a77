"""Distances on the WGS-84 spheroid, which is a little flat."""

from __future__ import annotations

from math import atan, atan2, cos, radians, sin, sqrt, tan

from shieldwall.kql.geo.shapes import Position
from shieldwall.kql.geo.sphere import haversine

EQUATOR = 6378137.0
"""Its greatest radius, in metres."""
FLATTENING = 1 / 298.257223563
_POLE = EQUATOR * (1 - FLATTENING)
_MOST_STEPS = 200


def distance(first: Position, last: Position) -> float:
    """In metres, by Vincenty's formulae; almost opposite points, where they fail, have that of a sphere."""
    if first == last:
        return 0.0
    span = radians(last[0] - first[0])
    one, other = (atan((1 - FLATTENING) * tan(radians(lat))) for lat in (first[1], last[1]))
    sin1, cos1, sin2, cos2 = sin(one), cos(one), sin(other), cos(other)
    lng = span
    for _ in range(_MOST_STEPS):
        sin_lng, cos_lng = sin(lng), cos(lng)
        sine = sqrt((cos2 * sin_lng) ** 2 + (cos1 * sin2 - sin1 * cos2 * cos_lng) ** 2)
        if not sine:
            return 0.0
        cosine = sin1 * sin2 + cos1 * cos2 * cos_lng
        arc = atan2(sine, cosine)
        azimuth = cos1 * cos2 * sin_lng / sine
        flat = 1 - azimuth * azimuth
        middle = cosine - 2 * sin1 * sin2 / flat if flat else 0.0
        c = FLATTENING / 16 * flat * (4 + FLATTENING * (4 - 3 * flat))
        before = lng
        lng = span + (1 - c) * FLATTENING * azimuth * (
            arc + c * sine * (middle + c * cosine * (-1 + 2 * middle * middle))
        )
        if abs(lng - before) < 1e-13:
            break
    else:
        return haversine(first, last) * (2 * EQUATOR + _POLE) / 3
    u = flat * (EQUATOR * EQUATOR - _POLE * _POLE) / (_POLE * _POLE)
    a = 1 + u / 16384 * (4096 + u * (-768 + u * (320 - 175 * u)))
    b = u / 1024 * (256 + u * (-128 + u * (74 - 47 * u)))
    correction = (
        b
        * sine
        * (
            middle
            + b
            / 4
            * (
                cosine * (-1 + 2 * middle * middle)
                - b / 6 * middle * (-3 + 4 * sine * sine) * (-3 + 4 * middle * middle)
            )
        )
    )
    return _POLE * a * (arc - correction)
