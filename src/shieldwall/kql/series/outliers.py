"""Outliers by Tukey's fences: how far points lie outside of a range that most points are in."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from shieldwall.kql.series.arrays import Reals, shown, with_gaps

FENCE = 2.7
"""Standard deviations at which the fences of a normal distribution lie: there the score is 1.5."""
_NORMAL = NormalDist()
_NINETY = 1.29682082
"""Where the service takes the 90th percentile of a normal distribution to lie."""


def outliers(
    value: Any,
    kind: str | None = "ctukey",
    ignored: float | None = None,
    low: float | None = 10.0,
    high: float | None = 90.0,
    test_points: int | None = 0,
) -> Any:
    """Scores of all points; 0 of those inside of the range, of missing ones and of ``ignored``."""
    series = with_gaps(value)
    if series is None or low is None or high is None:
        return None
    if ignored is not None:
        series = np.where(series == ignored, np.nan, series)
    if kind == "tukey":
        low, high = 25.0, 75.0
    elif kind != "ctukey" or not 2 <= low < high <= 98:
        return None
    found = scores(series, low, high, test_points or 0)
    return shown(found)


def scores(series: Reals, low: float = 10.0, high: float = 90.0, test_points: int = 0) -> Reals:
    """How far points lie below or above two percentiles of those that are known, but for the last ones."""
    learned = series[: max(len(series) - max(test_points, 0), 0)]
    learned = learned[np.isfinite(learned)]
    found = np.zeros(len(series))
    if not len(learned):
        return found
    bottom, top = np.percentile(learned, (low, high))
    width = top - bottom
    # Rounding makes no outliers, but where most points are the same any other one is.
    rounding = 1e-12 * np.abs(learned).max()
    if width <= rounding:
        found[series < bottom - rounding] = -np.inf
        found[series > top + rounding] = np.inf
        return found
    below, above = series < bottom, series > top
    found[below] = (series[below] - bottom) / width * _scale(low, high, -_z(low))
    found[above] = (series[above] - top) / width * _scale(low, high, _z(high))
    return found


def without(series: Reals) -> Reals:
    """The series with points beyond the fences drawn back to these."""
    low, high = 10.0, 90.0
    bottom, top = np.percentile(series, (low, high))
    reach = (top - bottom) * 1.5 / _scale(low, high, _z(high))
    return np.clip(series, bottom - reach, top + reach) if reach else series


def _scale(low: float, high: float, edge: float) -> float:
    """What makes the score 1.5 at the fences of a normal distribution, whatever the percentiles are."""
    if (low, high) == (25, 75):
        return 1.0
    return 1.5 * (_z(high) - _z(low)) / (FENCE - edge)


def _z(percentile: float) -> float:
    """Where a percentile of a normal distribution lies, in standard deviations."""
    return _NORMAL.inv_cdf(percentile / 100) * _NINETY / _NORMAL.inv_cdf(0.9)
