"""Filters over series, and Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from shieldwall.kql.series.arrays import Reals, reals, shown

MOST_STEPS = 5_000_000
"""Multiplications that a recursive filter may take, one after the other."""
DIRECT = 2_000_000
"""Up to how many multiplications a filter is applied as written; Fourier transforms do more faster."""


def fir(value: Any, filter_: Any, normalize: bool | None = None, center: bool | None = False) -> Any:
    """Each point as the sum of those before it, weighed by a filter; beyond the series all is zero."""
    series, weights = reals(value), reals(filter_)
    if series is None or weights is None:
        return None
    negative = bool((weights < 0).any())
    if normalize is None:
        normalize = not negative
    if normalize:
        if negative or not weights.sum():
            return None
        weights = weights / weights.sum()
    found = _convolved(series, weights)
    start = (len(weights) - 1) // 2 if center else 0
    return None if found is None else shown(found[start : start + len(series)])


def _convolved(series: Reals, weights: Reals) -> Reals | None:
    if len(series) * len(weights) <= DIRECT:
        return np.convolve(series, weights)
    if not (np.isfinite(series).all() and np.isfinite(weights).all()):
        return None
    size = len(series) + len(weights) - 1
    return np.fft.irfft(np.fft.rfft(series, size) * np.fft.rfft(weights, size), size)


def iir(value: Any, numerators: Any, denominators: Any) -> Any:
    """Each point as a weighed sum of points of the series less one of results before it."""
    series, ahead, behind = reals(value), reals(numerators), reals(denominators)
    if series is None or ahead is None or behind is None or not behind[0]:
        return None
    count = len(series)
    if count * len(behind) > MOST_STEPS or count * len(ahead) > 50 * MOST_STEPS:
        return None
    pushed = (np.convolve(series, ahead)[:count] / behind[0]).tolist()
    back = (behind[1 : count + 1] / behind[0]).tolist()
    found: list[float] = []
    for place, item in enumerate(pushed):
        for distance, weight in enumerate(back[:place], 1):
            item -= weight * found[place - distance]
        found.append(item)
    return shown(np.array(found))


def fft(value: Any, imaginary: Any = None) -> tuple[Any, Any] | None:
    return _transformed(np.fft.fft, value, imaginary)


def ifft(value: Any, imaginary: Any = None) -> tuple[Any, Any] | None:
    return _transformed(np.fft.ifft, value, imaginary)


def _transformed(transform: Any, value: Any, imaginary: Any) -> tuple[Any, Any] | None:
    """The real and the imaginary parts of what a transform makes of a complex series."""
    series = reals(value)
    other = np.zeros(1) if imaginary is None else reals(imaginary)
    if series is None or other is None or (imaginary is not None and len(other) != len(series)):
        return None
    found = transform(series + 1j * other)
    return shown(found.real), shown(found.imag)
