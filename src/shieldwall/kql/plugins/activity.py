"""Plugins that count which ids are active in periods of a timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from shieldwall.kql.frame import Frame
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.plugins.timelines import ID, PERIOD, Timeline, answer, ratio
from shieldwall.kql.relation import Relation
from shieldwall.kql.syntax import Call, Literal, Name, Named, Query


def _with_window(use: Use, *names: str) -> Use:
    """The use with its arguments named: start and end may be left out."""
    if len(use.rest) < len(names):
        raise use.error(f"the argument {names[len(use.rest)]} is missing.", use.call.at)
    given = ["Start", "End", *names] if len(use.rest) > len(names) + 1 else list(names)
    args = use.args | dict(zip(given, use.rest, strict=False))
    return replace(use, args=args, rest=use.rest[len(given) :])


@plugin("activity_counts_metrics(IdColumn, TimelineColumn, Start, End, Window, dimensions...)")
def activity_counts_metrics(use: Use) -> Relation:
    """Rows, ids and new ids of each period, and the ids up to it."""
    line = Timeline(use, "Window")

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        for key, item in line.slices(frames[0]).items():
            seen: set[Any] = set()
            for period in sorted(item.counts):
                ids = item.ids(period)
                fresh = ids - seen
                seen |= ids
                yield [period, *key, item.total(period), len(ids), len(fresh), len(seen)]

    names = ("count", "dcount", "new_dcount", "aggregated_dcount")
    columns = line.columns(*((name, "long") for name in names))
    return answer(use, [line.counted()], columns, work)


@plugin("activity_metrics(IdColumn, TimelineColumn, arguments...)")
def activity_metrics(use: Use) -> Relation:
    """Ids of each period, and which of them are new, were kept or lost since the period before."""
    use = _with_window(use, "Window")
    line = Timeline(use, "Window")

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        for key, item in line.slices(frames[0]).items():
            before: set[Any] = set()
            follows = None
            for period in sorted(item.counts):
                ids = item.ids(period)
                last = before if period == follows else set()
                kept, lost = ratio(len(ids & last), len(last)), ratio(len(last - ids), len(last))
                yield [period, *key, len(ids), len(ids - last), kept, lost]
                before, follows = ids, line.after(period)

    columns = line.columns(
        ("dcount_values", "long"),
        ("dcount_newvalues", "long"),
        ("retention_rate", "real"),
        ("churn_rate", "real"),
    )
    return answer(use, [line.counted()], columns, work)


@plugin("activity_engagement(IdColumn, TimelineColumn, arguments...)")
def activity_engagement(use: Use) -> Relation:
    """The ids of each period beside those of a longer one that ends with it, as of a day and a month."""
    use = _with_window(use, "InnerActivityWindow", "OuterActivityWindow")
    line = Timeline(use, "InnerActivityWindow")
    outer = use.typed("OuterActivityWindow")[1]

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        for key, item in line.slices(frames[0]).items():
            periods = sorted(item.counts)
            for period in periods:
                ids = item.ids(period)
                longer = set().union(
                    *(item.ids(other) for other in periods if period - outer < other <= period)
                )
                yield [period, *key, len(ids), len(longer), ratio(len(ids), len(longer))]

    columns = line.columns(
        ("dcount_activities_inner", "long"), ("dcount_activities_outer", "long"), ("activity_ratio", "real")
    )
    return answer(use, [line.counted()], columns, work)


@plugin("sliding_window_counts(IdColumn, TimelineColumn, Start, End, LookbackWindow, Bin, dimensions...)")
def sliding_window_counts(use: Use) -> Relation:
    """Rows and ids of the periods that a window holds which ends with each period."""
    line = Timeline(use, "Bin", lookback="LookbackWindow")
    window = use.typed("LookbackWindow")[1]

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        periods = line.periods()
        for key, item in line.slices(frames[0]).items():
            for period in periods:
                inside = [other for other in item.counts if period - window < other <= period]
                if inside:
                    ids = set().union(*(item.ids(other) for other in inside))
                    yield [period, *key, sum(item.total(other) for other in inside), len(ids)]

    return answer(use, [line.counted()], line.columns(("Count", "long"), ("Dcount", "long")), work)


@plugin(
    "active_users_count(IdColumn, TimelineColumn, Start, End, LookbackWindow, "
    "Period, ActivePeriodsCount, Bin, dimensions...)"
)
def active_users_count(use: Use) -> Relation:
    """Ids that were there in so many periods of the time looked back on, by the bin where they were so."""
    line = Timeline(use, "Period", lookback="LookbackWindow")
    window, least = use.typed("LookbackWindow")[1], use.typed("ActivePeriodsCount")[1]
    step = use.typed("Bin")[1]
    last = Named(0, ["$last"], Call(0, "max", [Name(0, line.column.name)]))

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        places = frames[0].places()
        names = [places[item.name] for item in line.dimensions]
        seen: dict[Any, list[tuple[Any, Any]]] = {}
        for row in frames[0].rows:
            key = tuple(row[place] for place in names)
            seen.setdefault((key, row[places[ID]]), []).append((row[places[PERIOD]], row[places["$last"]]))
        found: dict[Any, set[Any]] = {}
        for (key, id_), periods in seen.items():
            for period, at in periods:
                active = sum(1 for other, _ in periods if period - window < other <= period)
                if at >= line.start and active >= least:
                    bin_ = line.start + (at - line.start) // step * step
                    found.setdefault((bin_, key), set()).add(id_)
        for (bin_, key), ids in sorted(found.items(), key=lambda pair: (pair[0][0], str(pair[0][1]))):
            yield [bin_, *key, len(ids)]

    return answer(use, [line.counted(aggregates=[last])], line.columns(("dcount", "long")), work)


@plugin("session_count(IdColumn, TimelineColumn, Start, End, Bin, LookBackWindow, dimensions...)")
def session_count(use: Use) -> Relation:
    """Sessions of each period: an id that was not there for the time looked back on begins one."""
    line = Timeline(use, "Bin", lookback="LookBackWindow")
    window = use.typed("LookBackWindow")[1]
    moment = Named(0, ["$at"], Name(0, line.column.name))

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        places = frames[0].places()
        names = [places[item.name] for item in line.dimensions]
        times: dict[Any, list[tuple[Any, Any]]] = {}
        for row in frames[0].rows:
            key = tuple(row[place] for place in names)
            times.setdefault((key, row[places[ID]]), []).append((row[places["$at"]], row[places[PERIOD]]))
        found: dict[Any, set[Any]] = {}
        for (key, id_), moments in times.items():
            session, before = 0, None
            for at, period in sorted(moments):
                session += before is not None and at - before > window
                before = at
                if at >= line.start:
                    found.setdefault((period, key), set()).add((id_, session))
        for (period, key), sessions in sorted(found.items(), key=lambda pair: (pair[0][0], str(pair[0][1]))):
            yield [period, *key, len(sessions)]

    return answer(use, [line.counted(moment)], line.columns(("count_sessions", "long")), work)


@plugin("new_activity_metrics(IdColumn, TimelineColumn, Start, End, Window, arguments...)")
def new_activity_metrics(use: Use) -> Relation:
    """For the ids that are new in a period, how many are there in each later one."""
    rest = list(use.rest)
    lookback: Relation | None = None
    if rest and isinstance(rest[-1], Name | Query | Call) and use.compiler.is_tabular(rest[-1], use.env):
        node = rest.pop()
        lookback = use.compiler.source(node.pipeline if isinstance(node, Query) else node, use.env)
    cohort: Any = None
    columns = {column.name for column in use.relation.columns}
    if rest and not (isinstance(rest[0], Name) and rest[0].name in columns):
        use.args["Cohort"] = rest.pop(0)
        if not (isinstance(use.args["Cohort"], Literal) and use.args["Cohort"].value == "~"):
            cohort = use.typed("Cohort")[1]
    use.rest = rest
    line = Timeline(use, "Window")
    id_place = None
    if lookback is not None:
        id_place = next(
            (place for place, column in enumerate(lookback.columns) if column.name == line.id.name), 0
        )

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        known = {row[id_place] for row in frames[1].rows} if id_place is not None else set()
        periods = line.periods()
        for key, item in line.slices(frames[0]).items():
            seen = set(known)
            for number, period in enumerate(periods):
                fresh = item.ids(period) - seen
                seen |= item.ids(period)
                if cohort is not None and cohort != period:
                    continue
                for later in periods[number:]:
                    ids = item.ids(later)
                    kept = len(fresh & ids)
                    new = len(fresh) if later == period else len(ids - seen)
                    lost = len(fresh) - kept
                    rates = [ratio(kept, len(fresh)), ratio(lost, len(fresh))]
                    yield [period, later, *key, new, kept, lost, *rates]

    name, kind = line.column.name, line.column.type
    shown = line.columns(
        ("dcount_new_values", "long"), ("dcount_retained_values", "long"), ("dcount_churn_values", "long"),
        ("retention_rate", "real"), ("churn_rate", "real"),
        before=[(f"from_{name}", kind), (f"to_{name}", kind)],
    )  # fmt: skip
    return answer(use, [line.counted(), *([lookback] if lookback is not None else [])], shown, work)
