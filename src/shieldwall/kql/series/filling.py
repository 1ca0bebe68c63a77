"""Missing points of a series filled along lines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from shieldwall.kql.series.arrays import MOST, is_number


def linear(
    value: Any,
    placeholder: float | None = None,
    edges: bool | None = True,
    constant: float | None = 0.0,
) -> list[Any] | None:
    """The series with what is missing between points on the line between these.

    Before the first point and behind the last it is as those, with ``edges``; where there is no point at all,
    ``constant`` stands. A series of whole numbers stays one.
    """
    if not isinstance(value, list) or len(value) > MOST:
        return None

    def missing(item: Any) -> bool:
        return item is None if placeholder is None else is_number(item) and item == placeholder

    known = [place for place, item in enumerate(value) if not missing(item)]
    if not known:
        return [constant] * len(value)
    whole = all(not isinstance(value[place], float) for place in known)
    found = list(value)
    if edges:
        first, last = known[0], known[-1]
        found[:first] = [value[first]] * first
        found[last + 1 :] = [value[last]] * (len(value) - last - 1)
    for start, stop in pairwise(known):
        low, high = value[start], value[stop]
        if stop == start + 1 or not (is_number(low) and is_number(high)):
            continue
        for place in range(start + 1, stop):
            item = low + (high - low) * ((place - start) / (stop - start))
            found[place] = int(item) if whole else float(item)
    return found
