"""Lines and polynomials through series, by least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from shieldwall.kql.series.arrays import Reals, reals, shown

MOST_DEGREE = 64


class Line:
    """The straight line through a series whose points lie at 1, 2, 3 and so on."""

    def __init__(self, series: Reals) -> None:
        count = len(series)
        places = np.arange(1, count + 1, dtype=np.float64)
        away = places - places.mean()
        self.slope = float(away @ series / (away @ away)) if count > 1 else 0.0
        self.interception = float(series.mean() - self.slope * places.mean())
        self.fit = self.at(places)
        self.rsquare, self.variance, self.rvariance = quality(series, self.fit)

    def at(self, places: Reals) -> Reals:
        return self.slope * places + self.interception


def quality(series: Reals, fit: Reals) -> tuple[float, float, float]:
    """R-square, the variance of a series and that of what a fit leaves of it."""
    if len(series) < 2:
        return 1.0, 0.0, 0.0
    variance = float(series.var(ddof=1))
    left = float(((series - fit) ** 2).sum() / (len(series) - 1))
    return (1 - left / variance if variance else 1.0), variance, left


def line(value: Any) -> tuple[Any, ...] | None:
    series = reals(value)
    if series is None:
        return None
    found = Line(series)
    return (*_measures(found), found.interception, shown(found.fit))


def _measures(found: Line) -> tuple[float, float, float, float]:
    return found.rsquare, found.slope, found.variance, found.rvariance


def line_bag(value: Any) -> dict[str, Any] | None:
    series = reals(value)
    if series is None:
        return None
    found = Line(series)
    return _side(found) | {"line_fit": shown(found.fit)}


def _side(found: Line) -> dict[str, Any]:
    names = ("rsquare", "slope", "variance", "rvariance")
    return dict(zip(names, _measures(found), strict=True)) | {"interception": found.interception}


def two_lines(value: Any) -> tuple[Any, ...] | None:
    series = reals(value)
    if series is None or len(series) < 2:
        return None
    split = best_split(series)
    left, right = Line(series[:split]), Line(series[split:])
    fit = np.concatenate((left.fit, right.fit))
    rsquare, variance, left_over = quality(series, fit)
    found: list[Any] = [rsquare, split, variance, left_over, shown(fit)]
    for side in (right, left):
        found += [side.rsquare, side.slope, side.interception, side.variance, side.rvariance]
    return tuple(found)


def two_lines_bag(value: Any) -> dict[str, Any] | None:
    series = reals(value)
    if series is None or len(series) < 2:
        return None
    split = best_split(series)
    left, right = Line(series[:split]), Line(series[split:])
    fit = np.concatenate((left.fit, right.fit))
    rsquare, variance, left_over = quality(series, fit)
    return {
        "rsquare": rsquare,
        "split_idx": split,
        "variance": variance,
        "rvariance": left_over,
        "line_fit": shown(fit),
        "right": _side(right),
        "left": _side(left),
    }


def best_split(series: Reals) -> int:
    """Where the second line begins so that both fit best; each has two points at least, if there are four."""
    count = len(series)
    errors = _errors_of_heads(series)
    errors_behind = _errors_of_heads(series[::-1])[::-1]
    least = 2 if count >= 4 else 1
    total = errors[least - 1 : count - least] + errors_behind[least : count - least + 1]
    return int(np.argmin(total)) + least


def _errors_of_heads(series: Reals) -> Reals:
    """What a line leaves of the first point, of the first two, of the first three and so on, as squares."""
    series = series - series.mean()
    counts = np.arange(1, len(series) + 1, dtype=np.float64)
    # About the middle of each head, so that the sums stay small.
    sums = np.cumsum(series)
    products = np.cumsum(series * counts) - sums * (counts + 1) / 2
    spread = np.cumsum(series**2) - sums**2 / counts
    away = counts * (counts**2 - 1) / 12
    explained = np.divide(products**2, away, out=np.zeros_like(away), where=away > 0)
    return np.maximum(spread - explained, 0)


def polynomial(value: Any, at: Any = None, degree: int | None = 1) -> tuple[Any, ...] | None:
    """R-square, coefficients from the highest power down, variance, residual variance and the fit."""
    series = reals(value)
    if series is None or degree is None or not 0 <= degree <= MOST_DEGREE:
        return None
    places = np.arange(1, len(series) + 1, dtype=np.float64) if at is None else reals(at)
    if places is None or len(places) != len(series):
        return None
    if not (np.isfinite(series).all() and np.isfinite(places).all()):
        return None
    # From -1 to 1, where powers are well told apart; the coefficients are of the places as they are.
    middle = (places.max() + places.min()) / 2
    half = float(places.max() - places.min()) / 2 or 1.0
    scaled = np.vander((places - middle) / half, degree + 1, increasing=True)
    solution = np.linalg.lstsq(scaled, series, rcond=None)[0]
    fit = scaled @ solution
    inner = np.polynomial.Polynomial((-middle / half, 1 / half))
    coefficients = np.zeros(degree + 1)
    found = np.polynomial.Polynomial(solution)(inner).coef
    coefficients[: len(found)] = found
    rsquare, variance, left = quality(series, fit)
    return rsquare, shown(coefficients[::-1]), variance, left, shown(fit)
