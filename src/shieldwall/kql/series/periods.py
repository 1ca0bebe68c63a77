"""Periods of series: how well a series agrees with itself further on.

The score of a period is the autocorrelation at that distance, or at twice that distance where it is less:
what comes once more only may be chance. Spectral peaks tell which periods are worth a look.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shieldwall.kql.series.arrays import Reals, reals

LEAST = 4
"""Points that a period has at least; half the series it has at most."""
MOST_CANDIDATES = 64
"""Spectral peaks that are looked at, the strongest ones."""


class Periodic:
    """A series looked at for periods."""

    def __init__(self, series: Reals) -> None:
        self._count = count = len(series)
        away = series - series.mean()
        self._power = np.abs(np.fft.rfft(away)) ** 2
        agreement = np.zeros(count)
        # Unless nothing but rounding is left.
        if float(away @ away) > 1e-26 * float(series @ series):
            size = 1 << (2 * count - 1).bit_length()
            spectrum = np.fft.rfft(away, size)
            sums = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[:count]
            # The mean over the pairs that there are, of which there are less the further they lie apart.
            agreement = sums / sums[0] * count / (count - np.arange(count))
        most = (count - 1) // 2
        self._scores = np.clip(np.minimum(agreement[: most + 1], agreement[: 2 * most + 1 : 2]), 0, 1)
        self._scores[:LEAST] = 0
        # Where the series agrees less with itself both a little earlier and a little later.
        self._hills = np.zeros(most + 1, bool)
        inner = agreement[1 : most + 1]
        self._hills[1:] = (inner > agreement[:most]) & (inner >= agreement[2 : most + 2])

    def score(self, period: int) -> float:
        """How well a period fits, from 0 to 1; 0 if the periods next to it fit better."""
        inside = 0 <= period < len(self._scores) and self._hills[period]
        return float(self._scores[period]) if inside else 0.0

    def detect(self, least: float, most: float, number: int) -> list[tuple[int, float]]:
        """Up to so many periods between two bounds with their scores, the best first."""
        low = max(LEAST, math.ceil(min(least, self._count)))
        high = min(most, len(self._scores) - 1)
        candidates: dict[int, float] = {}
        for frequency in self._peaks():
            start = max(low, self._count // (frequency + 1))
            stop = math.floor(min(high, self._count / max(frequency - 1, 0.5) + 1)) + 1
            hills = np.flatnonzero(self._hills[start : max(stop, start)])
            if len(hills):
                best = start + int(hills[np.argmax(self._scores[start + hills])])
                candidates[best] = self.score(best)
        found: list[tuple[int, float]] = []
        for period in sorted(candidates):
            score = candidates[period]
            # What repeats after some time does so after twice that time, too.
            if score > 0 and not any(_is_multiple(period, of) and score <= other for of, other in found):
                found.append((period, score))
        return sorted(found, key=lambda pair: -pair[1])[:number]

    def _peaks(self) -> list[int]:
        """The frequencies with more power than those next to them and than most, the strongest first."""
        power = self._power[1:]
        if not len(power):
            return []
        padded = np.concatenate(([-1.0], power, [-1.0]))
        peaks = np.flatnonzero((power > padded[:-2]) & (power >= padded[2:]) & (power > power.mean()))
        strongest = peaks[np.argsort(-power[peaks], kind="stable")]
        return [int(place) + 1 for place in strongest[:MOST_CANDIDATES]]


def _is_multiple(period: int, of: int) -> bool:
    return abs(period / of - round(period / of)) * of <= 1


def detect(value: Any, least: float | None, most: float | None, number: int | None) -> Any:
    """As many periods as asked for, and their scores; zeros where there are no more."""
    series = reals(value)
    if least is None or most is None or number is None or not 0 < number <= 1000:
        return None
    if series is None or not np.isfinite(series).all() or math.isnan(least) or math.isnan(most):
        return None
    found: list[tuple[float, float]] = list(Periodic(series).detect(least, most, number))
    found += [(0.0, 0.0)] * (number - len(found))
    return [float(period) for period, _ in found], [score for _, score in found]


def validate(value: Any, *periods: float | None) -> Any:
    """The periods that were asked for, and their scores."""
    series = reals(value)
    if series is None or not np.isfinite(series).all():
        return None
    seen = Periodic(series)
    scores: list[float] = []
    for period in periods:
        if period is None or not math.isfinite(period):
            scores.append(0.0)
            continue
        near = {math.floor(period), math.ceil(period)}
        scores.append(max(map(seen.score, near)))
    return list(periods), scores
