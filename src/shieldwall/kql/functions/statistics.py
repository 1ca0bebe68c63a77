"""Distributions that ClickHouse does not know: beta, and Student's as Welch's test wants it."""

from __future__ import annotations

import math

from shieldwall.kql.functions.registry import local

_TINY = 1e-300
_MOST = 10_000.0
"""The greatest parameter of a beta distribution."""


def _wrong(alpha: float, beta: float) -> bool:
    return not (0 < alpha <= _MOST and 0 < beta <= _MOST)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, for 0 <= x <= 1 and positive a and b."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Its continued fraction, by Lentz's method."""

    def kept(value: float) -> float:
        return value if abs(value) > _TINY else _TINY

    c, d = 1.0, 1 / kept(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 1000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / kept(1 + factor * d)
            c = kept(1 + factor / c)
            result *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return result


@local("beta_cdf(real, real, real) -> real")
def beta_cdf(x: float | None, alpha: float | None, beta: float | None) -> float | None:
    if x is None or alpha is None or beta is None:
        return None
    if _wrong(alpha, beta) or not 0 <= x <= 1:
        return math.nan
    return incomplete_beta(x, alpha, beta)


@local("beta_pdf(real, real, real) -> real")
def beta_pdf(x: float | None, alpha: float | None, beta: float | None) -> float | None:
    if x is None or alpha is None or beta is None:
        return None
    if _wrong(alpha, beta) or not 0 <= x <= 1:
        return math.nan
    if x in (0, 1):
        power = alpha if x == 0 else beta
        return math.inf if power < 1 else 0.0 if power > 1 else (beta if x == 0 else alpha)
    return math.exp(
        math.lgamma(alpha + beta)
        - math.lgamma(alpha)
        - math.lgamma(beta)
        + (alpha - 1) * math.log(x)
        + (beta - 1) * math.log1p(-x)
    )


@local("beta_inv(real, real, real) -> real")
def beta_inv(probability: float | None, alpha: float | None, beta: float | None) -> float | None:
    """Where the distribution reaches a probability; null for what is none."""
    if probability is None or alpha is None or beta is None:
        return None
    if _wrong(alpha, beta):
        return math.nan
    if not 0 <= probability <= 1:
        return None
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if incomplete_beta(middle, alpha, beta) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@local("welch_test(real, real, real, real, real, real) -> real")
def welch_test(*values: float | None) -> float | None:
    """How probable two samples, of mean, variance and count each, are if their means are the same."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < 6:
        return None
    mean1, variance1, count1, mean2, variance2, count2 = known
    if count1 <= 1 or count2 <= 1 or variance1 < 0 or variance2 < 0:
        return None
    first, second = variance1 / count1, variance2 / count2
    if first + second == 0:
        return 1.0 if mean1 == mean2 else 0.0
    square = (mean1 - mean2) ** 2 / (first + second)
    freedom = (first + second) ** 2 / (first**2 / (count1 - 1) + second**2 / (count2 - 1))
    return incomplete_beta(freedom / (freedom + square), freedom / 2, 0.5)
