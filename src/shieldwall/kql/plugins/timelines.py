"""What plugins over a timeline have in common: periods, and which ids are there in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shieldwall.kql.frame import SECOND, Frame, ticks_datetime
from shieldwall.kql.local import whole
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.operators.rows import where
from shieldwall.kql.plugins.registry import Use
from shieldwall.kql.relation import Relation, over
from shieldwall.kql.syntax import Binary, Call, Expr, Name, Named, Operator

MOST_PERIODS = 100_000
_WORDS = {"week": "startofweek", "month": "startofmonth", "year": "startofyear"}
PERIOD, ID, COUNT = "$period", "$id", "$count"
_EPOCH = datetime(1970, 1, 1)

Key = tuple[Any, ...]
"""The values of the dimensions."""


@dataclass(slots=True)
class Slice:
    """The rows of one combination of dimensions: how many each id has, by period."""

    counts: dict[Any, dict[Any, int]] = field(default_factory=dict)

    def ids(self, period: Any) -> set[Any]:
        return set(self.counts.get(period, ()))

    def total(self, period: Any) -> int:
        return sum(self.counts.get(period, {}).values())


class Timeline:
    """The timeline of one use of a plugin, cut into periods of the argument named ``step``."""

    def __init__(self, use: Use, step: str, *, lookback: str = "") -> None:
        self.use = use
        self.column = use.column("TimelineColumn")
        self.id = use.column("IdColumn")
        self.dimensions = use.dimensions()
        if self.column.type not in ("datetime", "timespan", "int", "long", "real", "decimal"):
            raise use.error(f"a {self.column.type} is no timeline.")
        self.bounded = "Start" in use.args
        self.start: Any = use.typed("Start")[1] if self.bounded else None
        self.end: Any = use.typed("End")[1] if self.bounded else None
        kind, self.step = use.typed(step)
        self.word = self.step if kind == "string" else ""
        if self.word and (self.word not in _WORDS or self.column.type != "datetime"):
            raise use.error(f"'{self.word}' is no period; week, month and year are.")
        if not self.word and kind not in ("int", "long", "real", "decimal", "timespan"):
            raise use.error(f"{step} must be a number or a timespan.")
        if not self.word and not (self.step and self.step > 0):
            raise use.error(f"{step} must be greater than zero.")
        self._step = use.args[step]
        self._lookback = use.args[lookback] if lookback else None

    def columns(
        self, *more: tuple[str, str], before: Sequence[tuple[str, str]] = ()
    ) -> list[tuple[str, str]]:
        """The timeline, the dimensions, and the plugin's own columns."""
        own = before or [(self.column.name, self.column.type)]
        return [*own, *((item.name, item.type) for item in self.dimensions), *more]

    def period(self, step: Expr | None = None) -> Expr:
        """The expression of a row's period."""
        time = Name(0, self.column.name)
        if step is None and self.word:
            return Call(0, _WORDS[self.word], [time])
        if self.bounded:
            return Call(0, "bin_at", [time, step or self._step, self.use.args["Start"]])
        return Call(0, "bin", [time, step or self._step])

    def rows(self) -> Relation:
        """The rows between start, less what is looked back for, and end."""
        found: Relation = over(self.use.relation)
        if not self.bounded:
            return found
        time, start = Name(0, self.column.name), self.use.args["Start"]
        if self._lookback is not None:
            start = Binary(0, "-", start, self._lookback)
        since = Binary(0, ">=", time, start)
        inside = Binary(0, "and", since, Binary(0, "<=", time, self.use.args["End"]))
        return where(self.use.compiler, found, Operator(0, "where", {"predicate": inside}), self.use.env)

    def counted(self, *more: Expr, aggregates: Sequence[Expr] = ()) -> Relation:
        """How many rows each id has, by period and dimensions, and by ``more``."""
        by: list[Expr] = [Named(0, [PERIOD], self.period()), Named(0, [ID], Name(0, self.id.name))]
        by += [Named(0, [item.name], Name(0, item.name)) for item in self.dimensions]
        count = Named(0, [COUNT], Call(0, "count", []))
        return grouped(self.use.compiler, self.rows(), [count, *aggregates], [*by, *more], self.use.env)

    def slices(self, frame: Frame) -> dict[Key, Slice]:
        """The rows of `counted` by their dimensions."""
        places = frame.places()
        names = [places[item.name] for item in self.dimensions]
        found: dict[Key, Slice] = {}
        for row in frame.rows:
            period = row[places[PERIOD]]
            if period is None:
                continue
            item = found.setdefault(tuple(row[place] for place in names), Slice())
            item.counts.setdefault(period, {})[row[places[ID]]] = row[places[COUNT]]
        return found

    def periods(self) -> list[Any]:
        """All periods from start to end."""
        found: list[Any] = []
        period = self._first()
        while self.end is not None and period is not None and period <= self.end:
            found.append(period)
            if len(found) > MOST_PERIODS:
                raise self.use.error(f"there are more than {MOST_PERIODS} periods.")
            period = self.after(period)
        return found

    def _first(self) -> Any:
        if not self.word or self.start is None:
            return self.start
        moment = _moment(self.start).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.word == "week":
            return _ticks(moment - timedelta(days=(moment.weekday() + 1) % 7))
        return _ticks(moment.replace(day=1) if self.word == "month" else moment.replace(month=1, day=1))

    def after(self, period: Any) -> Any:
        """The period that follows."""
        if not self.word:
            return period + self.step
        moment = _moment(period)
        if self.word == "week":
            return period + 7 * 86_400 * SECOND
        if self.word == "month":
            return _ticks((moment.replace(day=1) + timedelta(days=32)).replace(day=1))
        return _ticks(moment.replace(year=moment.year + 1))


def _moment(ticks: int) -> datetime:
    return datetime.fromisoformat(ticks_datetime(ticks)[:19])


def _ticks(moment: datetime) -> int:
    span = moment - _EPOCH
    return (span.days * 86_400 + span.seconds) * SECOND


def answer(
    use: Use,
    inputs: list[Relation],
    columns: list[tuple[str, str]],
    work: Callable[[Sequence[Frame]], Iterator[list[Any]]],
) -> Relation:
    """The rows that Python makes of the inputs' rows, with all the columns in their order."""
    names = [name for name, _ in columns]

    def chosen(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        places = [names.index(name) for name in wanted]
        return [[row[place] for place in places] for row in work(frames)]

    return whole(use.compiler, inputs, columns, chosen)


def ratio(part: int, of: int) -> float:
    """Not a number where there is nothing to be a part of."""
    return part / of if of else float("nan")
