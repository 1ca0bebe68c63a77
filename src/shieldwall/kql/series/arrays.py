"""Series between JSON and numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

MOST = 1 << 20
"""Points that a series may have, as make-series allows."""
_NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def is_number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _real(item: Any) -> float | None:
    if is_number(item):
        return float(item)
    return _NAMES.get(item) if isinstance(item, str) else None


def reals(value: Any) -> Reals | None:
    """The numbers of an array; None unless it has some, and nothing else."""
    found = with_gaps(value)
    if found is None or not len(found):
        return None
    missing = np.isnan(found)
    if missing.any() and any(_real(value[place]) is None for place in np.flatnonzero(missing)):
        return None
    return found


def with_gaps(value: Any) -> Reals | None:
    """The numbers of an array, with NaN for what is none; None for what is no array."""
    if not isinstance(value, list) or len(value) > MOST:
        return None
    if {*map(type, value)} <= {int, float}:
        return np.array(value, np.float64)
    return np.array([math.nan if (real := _real(item)) is None else real for item in value], np.float64)


def shown(series: Reals) -> list[Any]:
    """The numbers as a dynamic holds them: those that JSON has no form for by their names."""
    if np.isfinite(series).all():
        return list(series.tolist())
    return [
        item if math.isfinite(item) else "NaN" if math.isnan(item) else f"{'-' * (item < 0)}Infinity"
        for item in series.tolist()
    ]
