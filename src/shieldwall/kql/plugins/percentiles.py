"""rolling_percentile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shieldwall.kql.frame import Frame
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.plugins.timelines import answer
from shieldwall.kql.relation import Relation, over
from shieldwall.kql.syntax import Call, Expr, Name, Named

_BIN, _VALUE, _COUNT = "$bin", "$value", "$count"


@plugin("rolling_percentile(ValueColumn, Percentile, IndexColumn, BinSize, BinsPerWindow, dimensions...)")
def rolling_percentile(use: Use) -> Relation:
    """The percentile of the values in the bins of a window that ends with each bin."""
    value, index = use.column("ValueColumn"), use.column("IndexColumn")
    percentile = use.typed("Percentile", ["int", "long", "real"])[1]
    bins = use.typed("BinsPerWindow", ["int", "long"])[1]
    size = use.typed("BinSize", ["int", "long", "real", "timespan"])[1]
    if not 0 <= percentile <= 100 or bins < 1 or not size or size <= 0:
        raise use.error("the percentile lies between 0 and 100, and the size and number of bins above 0.")
    dimensions = use.dimensions()
    by: list[Expr] = [Named(0, [item.name], Name(0, item.name)) for item in dimensions]
    by += [
        Named(0, [_BIN], Call(0, "bin", [Name(0, index.name), use.args["BinSize"]])),
        Named(0, [_VALUE], Name(0, value.name)),
    ]
    count: Expr = Named(0, [_COUNT], Call(0, "count", []))
    counted = grouped(use.compiler, over(use.relation), [count], by, use.env)

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        places = frames[0].places()
        names = [places[item.name] for item in dimensions]
        groups: dict[Any, dict[Any, list[tuple[Any, int]]]] = {}
        for row in frames[0].rows:
            if row[places[_BIN]] is None or row[places[_VALUE]] is None:
                continue
            own = groups.setdefault(tuple(row[place] for place in names), {})
            own.setdefault(row[places[_BIN]], []).append((row[places[_VALUE]], row[places[_COUNT]]))
        for key, own in groups.items():
            for bin_ in sorted(own):
                inside = [items for other, items in own.items() if bin_ - size * bins < other <= bin_]
                pairs = sorted(pair for items in inside for pair in items)
                yield [bin_, *key, nearest_rank(pairs, percentile)]

    shown = f"{percentile:g}" if isinstance(percentile, float) else str(percentile)
    columns = [
        (index.name, index.type),
        *((item.name, item.type) for item in dimensions),
        (f"rolling_{bins}_percentile_{value.name}_{shown}", value.type),
    ]
    return answer(use, [counted], columns, work)


def nearest_rank(pairs: Sequence[tuple[Any, int]], percentile: float) -> Any:
    """The percentile of sorted values with how often each is there."""
    total = sum(count for _, count in pairs)
    rank = max(-(-total * percentile // 100), 1)
    for value, count in pairs:
        rank -= count
        if rank <= 0:
            return value
    return None
