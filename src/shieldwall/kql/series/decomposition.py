"""Series as the sum of what repeats, a trend and the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shieldwall.kql.series import outliers
from shieldwall.kql.series.arrays import Reals, shown, with_gaps
from shieldwall.kql.series.fits import Line
from shieldwall.kql.series.periods import Periodic

AUTO = -1
"""The period that stands for the one that is found in the series."""
SEASONAL_THRESHOLD = 0.7


@dataclass(slots=True)
class Parts:
    baseline: Reals
    seasonal: Reals
    trend: Reals
    residual: Reals


def decomposed(
    value: Any, period: int | None, trend: str | None, test_points: int | None, threshold: float | None
) -> Parts | None:
    """The parts of a series. Its last points are not learned from, and may be missing."""
    if period is None or threshold is None or trend not in ("avg", "linefit", "none"):
        return None
    if (split := _split(value, test_points)) is None:
        return None
    series, learned = split
    seasonal = season(learned, len(series), found_period(learned, period, threshold))
    plain = learned - seasonal[: len(learned)]
    if trend == "linefit":
        course = Line(plain).at(np.arange(1, len(series) + 1, dtype=np.float64))
    else:
        course = np.full(len(series), plain.mean() if trend == "avg" else 0.0)
    baseline = seasonal + course
    return Parts(baseline, seasonal, course, series - baseline)


def _split(value: Any, test_points: int | None) -> tuple[Reals, Reals] | None:
    """A series, and those of its points that are learned from: all but the last ones."""
    series = with_gaps(value)
    if series is None or test_points is None:
        return None
    learned = series[: max(len(series) - max(test_points, 0), 0)]
    return (series, learned) if len(learned) and np.isfinite(learned).all() else None


def found_period(series: Reals, period: int, threshold: float) -> int:
    """The period to use: 0 for none. A trend and outliers, which would hide it, are left aside."""
    if period != AUTO:
        return max(period, 0)
    plain = outliers.without(series - Line(series).fit)
    found = Periodic(plain).detect(0, len(series), 1)
    return found[0][0] if found and found[0][1] >= threshold else 0


def season(series: Reals, count: int, period: int) -> Reals:
    """So many points of what repeats: the medians of the points of a series at the same place in a period."""
    if not period:
        return np.zeros(count)
    period = min(period, len(series))
    rows = -(-len(series) // period)
    padded = np.full(rows * period, np.nan)
    padded[: len(series)] = series
    medians = np.nanmedian(padded.reshape(rows, period), axis=0)
    return np.resize(medians, count)


def seasonal_part(value: Any, period: int | None = AUTO, test_points: int | None = 0) -> Any:
    if period is None or (split := _split(value, test_points)) is None:
        return None
    series, learned = split
    return shown(season(learned, len(series), found_period(learned, period, SEASONAL_THRESHOLD)))


def decompose(
    value: Any, period: int | None, trend: str | None, test_points: int | None, threshold: float | None
) -> Any:
    parts = decomposed(value, period, trend, test_points, threshold)
    if parts is None:
        return None
    residual = [None if item == "NaN" else item for item in shown(parts.residual)]
    return shown(parts.baseline), shown(parts.seasonal), shown(parts.trend), residual


def forecast(
    value: Any, points: int | None, period: int | None, trend: str | None, threshold: float | None
) -> Any:
    parts = decomposed(value, period, trend, points, threshold)
    return None if parts is None else shown(parts.baseline)


def anomalies(
    value: Any,
    threshold: float | None,
    period: int | None,
    trend: str | None,
    test_points: int | None,
    method: str | None,
    seasonality_threshold: float | None,
) -> Any:
    """Flags (1 up, -1 down, 0 neither), scores and the baseline."""
    parts = decomposed(value, period, trend, test_points, seasonality_threshold)
    if parts is None or threshold is None or method not in ("ctukey", "tukey"):
        return None
    low, high = (25.0, 75.0) if method == "tukey" else (10.0, 90.0)
    scores = outliers.scores(_settled(parts), low, high, test_points or 0)
    flags = (scores > threshold).astype(np.int64) - (scores < -threshold).astype(np.int64)
    return flags.tolist(), shown(scores), shown(parts.baseline)


def _settled(parts: Parts) -> Reals:
    """What is left without what is nothing but the rounding of sums."""
    size = float(np.abs(parts.baseline).max(initial=0.0)) * 1e-12
    return np.where(np.abs(parts.residual) <= size, 0.0, parts.residual)
