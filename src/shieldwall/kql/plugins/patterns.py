"""autocluster, basket and diffpatterns: values of several columns that many rows share.

A pattern is a tuple with a value or ANY for each column. Rows come grouped, with how much they weigh.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shieldwall.kql.frame import Frame, dynamic_text
from shieldwall.kql.interpreter import text_of
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.operators.rows import limited
from shieldwall.kql.plugins.registry import DEFAULT, Use, plugin
from shieldwall.kql.plugins.timelines import answer
from shieldwall.kql.relation import Relation, SortKey, is_hidden, over
from shieldwall.kql.syntax import Call, Expr, Name, Named

MOST_ROWS = 20_000
"""Different rows that are looked at: those of most weight."""
MOST_VISITS = 20_000_000
"""Rows that may be visited for finding frequent patterns, each as often as patterns have it."""
LEAST_CLUSTER = 0.02
_WEIGHT = "$weight"


class _Any:
    def __repr__(self) -> str:
        return "*"


ANY = _Any()
"""Any value, in a pattern."""
Pattern = tuple[Any, ...]
Weights = tuple[float, ...]
"""What rows weigh in each of the sets of rows."""
Rows = list[tuple[Pattern, Weights]]
Item = tuple[int, Any]
"""The place of a column, and a value."""


class Columns:
    """The columns that patterns are of, and what stands for any value in them."""

    def __init__(self, use: Use) -> None:
        self.use = use
        self.weight = use.column("WeightColumn").name if use.given("WeightColumn") else ""
        self.columns = [
            column
            for column in use.relation.columns
            if column.name != self.weight and not is_hidden(column.name)
        ]
        given: dict[str, Any] = {}
        for node in use.rest:
            use.args["CustomWildcard"] = node
            kind, value = use.typed("CustomWildcard")
            if value != DEFAULT:
                given.setdefault(kind, value)
        self.any = [
            given.get(column.type, "" if column.type == "string" else None) for column in self.columns
        ]

    def counted(self) -> Relation:
        """The different rows with their weights, the heaviest ones."""
        weight = Call(0, "sum", [Name(0, self.weight)]) if self.weight else Call(0, "count", [])
        by: list[Expr] = [Named(0, [column.name], Name(0, column.name)) for column in self.columns]
        found = over(
            grouped(
                self.use.compiler, over(self.use.relation), [Named(0, [_WEIGHT], weight)], by, self.use.env
            )
        )
        shown = found.columns[-1]
        found.order = [SortKey(shown.sql, shown.deps, True, False)]
        return limited(found, MOST_ROWS)

    def total(self) -> Relation:
        """One row with the weight of all."""
        weight = Call(0, "sum", [Name(0, self.weight)]) if self.weight else Call(0, "count", [])
        return grouped(
            self.use.compiler, over(self.use.relation), [Named(0, [_WEIGHT], weight)], [], self.use.env
        )

    def rows(self, frame: Frame) -> list[tuple[Pattern, float]]:
        places = frame.places()
        at = [(places[column.name], column.type) for column in self.columns]
        return [
            (
                tuple(row[place] if kind != "dynamic" else dynamic_text(row[place]) for place, kind in at),
                row[places[_WEIGHT]],
            )
            for row in frame.rows
            if row[places[_WEIGHT]] is not None and row[places[_WEIGHT]] > 0
        ]

    def shown(self, pattern: Pattern) -> list[Any]:
        return [
            wildcard if value is ANY else (json.loads(value) if column.type == "dynamic" and value else value)
            for value, wildcard, column in zip(pattern, self.any, self.columns, strict=True)
        ]

    def listed(self) -> list[tuple[str, str]]:
        return [(column.name, column.type) for column in self.columns]


class Search:
    """Rows by their values, for what patterns cover."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.width = len(rows[0][0]) if rows else 0
        self.having: dict[Item, set[int]] = {}
        for number, (row, _) in enumerate(rows):
            for item in enumerate(row):
                self.having.setdefault(item, set()).add(number)

    def covered(self, pattern: Pattern) -> set[int]:
        """The numbers of the rows that a pattern covers."""
        sets = sorted(
            (self.having.get(item, set()) for item in enumerate(pattern) if item[1] is not ANY), key=len
        )
        return set.intersection(*sets) if sets else set(range(len(self.rows)))

    def weights(self, numbers: set[int]) -> Weights:
        return tuple(map(sum, zip(*(self.rows[number][1] for number in numbers), strict=True)))

    def frequent(self, enough: Callable[[Weights], bool], most_values: int) -> dict[Pattern, Weights]:
        """Patterns of up to so many values whose rows weigh enough, each with one more value than another."""
        found: dict[Pattern, Weights] = {}
        visits = 0
        begun: list[tuple[tuple[Item, ...], set[int]]] = [
            ((item,), numbers)
            for item, numbers in sorted(self.having.items(), key=lambda pair: (pair[0][0], str(pair[0][1])))
            if enough(self.weights(numbers))
        ]
        pending = [(begun, 1)]
        while pending:
            siblings, size = pending.pop()
            for place, (items, numbers) in enumerate(siblings):
                found[self._pattern(items)] = self.weights(numbers)
                if size == most_values:
                    continue
                longer: list[tuple[tuple[Item, ...], set[int]]] = []
                for other, others in siblings[place + 1 :]:
                    if other[-1][0] == items[-1][0]:
                        continue
                    visits += min(len(numbers), len(others))
                    both = numbers & others
                    if both and enough(self.weights(both)):
                        longer.append(((*items, other[-1]), both))
                if visits > MOST_VISITS:
                    return found
                if longer:
                    pending.append((longer, size + 1))
        return found

    def _pattern(self, items: tuple[Item, ...]) -> Pattern:
        values = dict(items)
        return tuple(values.get(place, ANY) for place in range(self.width))


def closed(patterns: dict[Pattern, Weights]) -> dict[Pattern, Weights]:
    """Those without which another says the same rows with more values."""
    alike: dict[Weights, list[Pattern]] = {}
    for pattern, weights in patterns.items():
        alike.setdefault(weights, []).append(pattern)
    return {
        pattern: weights
        for pattern, weights in patterns.items()
        if not any(other != pattern and includes(pattern, other) for other in alike[weights])
    }


def includes(wide: Pattern, narrow: Pattern) -> bool:
    """Whether the wide pattern covers all that the narrow one does."""
    return all(value is ANY or value == own for value, own in zip(wide, narrow, strict=True))


def _size(pattern: Pattern) -> int:
    return sum(1 for value in pattern if value is not ANY)


_COUNTED = [("SegmentId", "long"), ("Count", "long"), ("Percent", "real")]


@plugin("basket(Threshold?, WeightColumn?, MaxDimensions?, wildcards...)")
def basket(use: Use) -> Relation:
    """All patterns that more than a part of the rows share."""
    threshold = use.constant("Threshold", 0.05, ["real", "int", "long"])
    most = use.constant("MaxDimensions", 5, ["int", "long"])
    if not 0.015 <= threshold <= 1:
        raise use.error("the threshold lies between 0.015 and 1.")
    columns = Columns(use)

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        rows: Rows = [(row, (weight,)) for row, weight in columns.rows(frames[0])]
        total = _total(frames[1])
        least = max(threshold * total, 1)
        found = closed(Search(rows).frequent(lambda weights: weights[0] >= least, max(most, 1)))
        ranked = sorted(found.items(), key=lambda item: (-item[1][0] * _size(item[0]), str(item[0])))
        for number, (pattern, (weight,)) in enumerate(ranked):
            yield [number, round(weight), 100.0 * weight / total, *columns.shown(pattern)]

    return answer(use, [columns.counted(), columns.total()], [*_COUNTED, *columns.listed()], work)


def _total(frame: Frame) -> float:
    return float(frame.rows[0][0] or 0) if frame.rows else 0.0


@plugin("autocluster(SizeWeight?, WeightColumn?, NumSeeds?, wildcards...)")
def autocluster(use: Use) -> Relation:
    """A few patterns that describe the rows: frequent rows, widened to what many rows have of many values."""
    balance = use.constant("SizeWeight", 0.5, ["real", "int", "long"])
    seeds = use.constant("NumSeeds", 25, ["int", "long"])
    if not 0 < balance < 1 or seeds < 1:
        raise use.error("the size's weight lies between 0 and 1, the number of seeds above 0.")
    columns = Columns(use)

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        rows: Rows = [(row, (weight,)) for row, weight in columns.rows(frames[0])]
        total = _total(frames[1])
        if not rows or total <= 0:
            return
        search = Search(rows)

        def score(pattern: Pattern) -> float:
            (weight,) = search.weights(search.covered(pattern)) or (0.0,)
            part = _size(pattern) / search.width
            return float((weight / total) ** balance * part ** (1 - balance))

        chosen = dict.fromkeys(_widened(row, score) for row, _ in rows[: int(seeds)])
        found: list[tuple[float, Pattern]] = []
        known: set[int] = set()
        for pattern in sorted(chosen, key=lambda pattern: -score(pattern)):
            own = search.covered(pattern)
            (weight,) = search.weights(own)
            fresh = search.weights(own - known) or (0.0,)
            # At least half of what a pattern says must be new, and there must be enough of it.
            if fresh[0] * 2 >= weight and (weight >= LEAST_CLUSTER * total or not found):
                found.append((weight, pattern))
                known |= own
        for number, (weight, pattern) in enumerate(sorted(found, key=lambda item: -item[0])):
            yield [number, round(weight), 100.0 * weight / total, *columns.shown(pattern)]

    return answer(use, [columns.counted(), columns.total()], [*_COUNTED, *columns.listed()], work)


def _widened(pattern: Pattern, score: Callable[[Pattern], float]) -> Pattern:
    """The pattern with values given up one after the other, as long as that makes the score better."""
    best = score(pattern)
    while _size(pattern) > 1:
        wider = [
            (*pattern[:place], ANY, *pattern[place + 1 :])
            for place, value in enumerate(pattern)
            if value is not ANY
        ]
        top, found = max(((score(other), other) for other in wider), key=lambda item: item[0])
        if top < best:
            break
        best, pattern = top, found
    return pattern


@plugin(
    "diffpatterns(SplitColumn, SplitValueA, SplitValueB, WeightColumn?, Threshold?, MaxDimensions?, "
    "wildcards...)"
)
def diffpatterns(use: Use) -> Relation:
    """Patterns that a larger part of one set of rows has than of the other."""
    split = use.column("SplitColumn")
    values = [str(use.constant(name)) for name in ("SplitValueA", "SplitValueB")]
    threshold = use.constant("Threshold", 0.05, ["real", "int", "long"])
    most = use.constant("MaxDimensions", 8, ["int", "long"])
    if not 0.015 <= threshold <= 1:
        raise use.error("the threshold lies between 0.015 and 1.")
    columns = Columns(use)
    if split not in columns.columns:
        raise use.error("the split column cannot be the weight.")
    at = columns.columns.index(split)

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        rows: Rows = []
        totals = [0.0, 0.0]
        for row, weight in columns.rows(frames[0]):
            text = text_of(row[at], split.type)
            if text in values:
                side = values.index(text)
                totals[side] += weight
                rows.append(((*row[:at], *row[at + 1 :]), (weight, 0.0) if side == 0 else (0.0, weight)))
        if not all(totals):
            return

        def parts(weights: Weights) -> list[float]:
            return [100.0 * weight / total for weight, total in zip(weights, totals, strict=True)]

        def difference(weights: Weights) -> float:
            one, other = parts(weights)
            return abs(one - other)

        least = 100.0 * threshold
        found = closed(Search(rows).frequent(lambda weights: max(parts(weights)) >= least, max(most, 1)))
        ranked = sorted(
            found, key=lambda pattern: (-difference(found[pattern]), -_size(pattern), str(pattern))
        )
        shown: list[Pattern] = []
        for pattern in ranked:
            # What only narrows or widens a better pattern says nothing new.
            beside = any(includes(other, pattern) or includes(pattern, other) for other in shown)
            if beside or difference(found[pattern]) < least:
                continue
            shown.append(pattern)
            cells = columns.shown((*pattern[:at], ANY, *pattern[at:]))
            del cells[at]
            counts = [round(weight) for weight in found[pattern]]
            yield [len(shown) - 1, *counts, *parts(found[pattern]), difference(found[pattern]), *cells]

    head = [
        ("SegmentId", "long"), ("CountA", "long"), ("CountB", "long"),
        ("PercentA", "real"), ("PercentB", "real"), ("PercentDiffAB", "real"),
    ]  # fmt: skip
    rest = [item for place, item in enumerate(columns.listed()) if place != at]
    return answer(use, [columns.counted()], [*head, *rest], work)
