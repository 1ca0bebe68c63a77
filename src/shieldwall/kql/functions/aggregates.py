"""Aggregates that summarize knows."""

from __future__ import annotations

from shieldwall.kql.functions.registry import AGGREGATES, declare

declare(
    """
count() -> long | toInt64(count())
countif(bool) -> long | toInt64(countIf({0}))
dcount(any, long = 1) -> long | toInt64(uniqExact({0}))
sum(summable) -> same | sum({0})
avg(number) -> real | avg({0})
min(comparable) -> same | min({0})
max(comparable) -> same | max({0})
""",
    AGGREGATES,
)
