"""Aggregates that give a number or one of the values: counts, sums, averages, extremes, spread."""

from __future__ import annotations

from shieldwall.kql.functions.registry import AGGREGATES, alias, declare

declare(
    """
count() -> long | toInt64(count())
countif(bool) -> long | toInt64(countIf({0}))
dcount(any, long = 1) -> long | toInt64(uniqCombined64(20)({0}))
dcountif(any, bool, long = 1) -> long | toInt64(uniqCombined64If(20)({0}, {1}))
count_distinct(any) -> long | toInt64(uniqExact({0}))
count_distinctif(any, bool) -> long | toInt64(uniqExactIf({0}, {1}))
sum(summable) -> same | ifNull(sum({0}), 0)
sumif(summable, bool) -> same | ifNull(sumIf({0}, {1}), 0)
avg(timespan) -> timespan | toInt64(avg({0}))
avg(datetime) -> datetime | reinterpret(toInt64(avg(reinterpretAsInt64({0}))), 'DateTime64(7, \\'UTC\\')')
avg(number) -> real | ifNull(avg({0}), nan)
avgif(timespan, bool) -> timespan | toInt64(avgIf({0}, {1}))
avgif(number, bool) -> real | ifNull(avgIf({0}, {1}), nan)
min(comparable) -> same | min({0})
max(comparable) -> same | max({0})
minif(comparable, bool) -> same | minIf({0}, {1})
maxif(comparable, bool) -> same | maxIf({0}, {1})
stdev(number) -> real | ifNull(nullIf(stddevSamp({0}), nan), 0)
stdevif(number, bool) -> real | ifNull(nullIf(stddevSampIf({0}, {1}), nan), 0)
stdevp(number) -> real | ifNull(nullIf(stddevPop({0}), nan), 0)
stdevpif(number, bool) -> real | ifNull(nullIf(stddevPopIf({0}, {1}), nan), 0)
variance(number) -> real | ifNull(nullIf(varSamp({0}), nan), 0)
varianceif(number, bool) -> real | ifNull(nullIf(varSampIf({0}, {1}), nan), 0)
variancep(number) -> real | ifNull(nullIf(varPop({0}), nan), 0)
variancepif(number, bool) -> real | ifNull(nullIf(varPopIf({0}, {1}), nan), 0)
""",
    AGGREGATES,
)
alias(AGGREGATES, countdistinct="count_distinct")
