"""Plugins that look for rows that follow each other: funnels, sequence_detect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame
from shieldwall.kql.interpreter import converted
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.plugins.timelines import answer
from shieldwall.kql.relation import Column, Relation, over
from shieldwall.kql.syntax import Named
from shieldwall.kql.values import Value, to_string

MOST_FOUND = 1_000_000
MOST_SAMPLES = 128
_ID, _TIME, _STATE = "$id", "$time", "$state"


@dataclass(slots=True)
class Event:
    time: Any
    state: str


class Funnel:
    """What both funnels take: events of ids on a timeline, and the states that are looked for in them."""

    def __init__(self, use: Use) -> None:
        self.use = use
        self.time = use.column("TimelineColumn")
        self.state = use.column("StateColumn")
        self.start, self.end = use.typed("Start")[1], use.typed("End")[1]
        self.step = use.typed("Step")[1]
        sequence = use.constant("Sequence", None, ["dynamic"])
        if not isinstance(sequence, list) or not sequence:
            raise use.error("the sequence must be an array of states.")
        if not self.step or self.step <= 0:
            raise use.error("Step must be greater than zero.")
        self.sequence = [str(item) for item in sequence]

    def relation(self) -> Relation:
        select = over(self.use.relation)
        outer = dict(zip(self.use.relation.columns, select.columns, strict=True))
        id_, time, state = (outer[item] for item in (self.use.column("IdColumn"), self.time, self.state))
        text = to_string(Value(state.type, state.sql, state.deps))
        select.columns = [
            Column(_ID, id_.type, id_.sql, id_.deps),
            Column(_TIME, time.type, time.sql, time.deps),
            Column(_STATE, "string", text.sql, state.deps),
        ]
        select.order = []
        return select

    def events(self, frame: Frame) -> dict[Any, list[Event]]:
        """The events between start and end of each id, in their order."""
        places = frame.places()
        found: dict[Any, list[Event]] = {}
        for row in frame.rows:
            time = row[places[_TIME]]
            if time is not None and self.start <= time < self.end:
                found.setdefault(row[places[_ID]], []).append(Event(time, row[places[_STATE]]))
        for events in found.values():
            events.sort(key=lambda event: event.time)
        return found

    def bin(self, time: Any) -> Any:
        return self.start + (time - self.start) // self.step * self.step


@plugin(
    "funnel_sequence(IdColumn, TimelineColumn, Start, End, MaxSequenceStepWindow, Step, "
    "StateColumn, Sequence)"
)
def funnel_sequence(use: Use) -> Relation:
    """How many ids went through the states one right after the other, by the states before and after."""
    funnel = Funnel(use)
    gap = use.typed("MaxSequenceStepWindow")[1]
    id_kind = use.column("IdColumn").type

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        found: dict[Any, dict[Any, None]] = {}
        size = len(funnel.sequence)
        for id_, events in funnel.events(frames[0]).items():
            for first in range(len(events) - size + 1):
                part = events[first : first + size]
                if [event.state for event in part] != funnel.sequence or not _close(part, gap):
                    continue
                before, after = events[max(first - 1, 0) : first], events[first + size : first + size + 1]
                key = (
                    funnel.bin(part[0].time),
                    before[0].state if before and _close([*before, part[0]], gap) else "",
                    after[0].state if after and _close([part[-1], *after], gap) else "",
                )
                found.setdefault(key, {})[id_] = None
        for key, ids in sorted(found.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1:])):
            samples = [converted(id_, id_kind, "dynamic") for id_ in list(ids)[:MOST_SAMPLES]]
            yield [*key, len(ids), samples]

    columns = [
        (funnel.time.name, funnel.time.type),
        ("prev", "string"),
        ("next", "string"),
        ("dcount", "long"),
        ("samples", "dynamic"),
    ]
    return answer(use, [funnel.relation()], columns, work)


def _close(events: Sequence[Event], gap: Any) -> bool:
    return all(later.time - event.time <= gap for event, later in pairwise(events))


@plugin(
    "funnel_sequence_completion(IdColumn, TimelineColumn, Start, End, Step, StateColumn, Sequence, "
    "MaxSequenceStepWindows)"
)
def funnel_sequence_completion(use: Use) -> Relation:
    """How many ids came how far in the states, within each of several spans of time."""
    funnel = Funnel(use)
    windows = use.constant("MaxSequenceStepWindows", None, ["dynamic"])
    if not isinstance(windows, list) or not windows:
        raise use.error("MaxSequenceStepWindows must be an array of timespans.")
    kind = "timespan" if funnel.time.type == "datetime" else funnel.time.type
    spans = [span for item in windows if (span := _span(item, kind)) is not None]

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        events = funnel.events(frames[0])
        for span in spans:
            reached: dict[Any, list[int]] = {}
            for own in events.values():
                depths: dict[Any, int] = {}
                for place, event in enumerate(own):
                    if event.state == funnel.sequence[0]:
                        bin_ = funnel.bin(event.time)
                        depth = _depth(own, place, funnel.sequence, span)
                        depths[bin_] = max(depth, depths.get(bin_, 0))
                for bin_, depth in depths.items():
                    counts = reached.setdefault(bin_, [0] * len(funnel.sequence))
                    for number in range(depth):
                        counts[number] += 1
            for bin_ in sorted(reached):
                for state, count in zip(funnel.sequence, reached[bin_], strict=True):
                    yield [bin_, state, span, count]

    columns = [
        (funnel.time.name, funnel.time.type),
        (funnel.state.name, "string"),
        ("Period", kind),
        ("dcount", "long"),
    ]
    return answer(use, [funnel.relation()], columns, work)


def _span(item: Any, kind: str) -> Any:
    return converted(item, "string" if isinstance(item, str) else "long", kind)


def _depth(events: list[Event], place: int, sequence: list[str], span: Any) -> int:
    """How many states follow one after another from a place on, others between them or not."""
    depth, first = 1, events[place].time
    for event in events[place + 1 :]:
        if depth == len(sequence) or event.time - first > span:
            break
        depth += event.state == sequence[depth]
    return depth


@plugin("sequence_detect(TimelineColumn, MaxSequenceStepWindow, MaxSequenceSpan, arguments...)")
def sequence_detect(use: Use) -> Relation:
    """Each way in which rows fulfil the conditions one after the other, within spans of time."""
    time = use.column("TimelineColumn")
    gap, span = use.typed("MaxSequenceStepWindow")[1], use.typed("MaxSequenceSpan")[1]

    def bind(binder: Binder) -> list[Value]:
        return [binder.bind(node.value if isinstance(node, Named) else node) for node in use.rest]

    select, values = use.compiler.bind_into(over(use.relation), use.env, bind)
    outer = next(column for column in select.columns if column.name == time.name)
    steps: list[tuple[str, Value]] = []
    dimensions: list[tuple[str, Value]] = []
    for node, value in zip(use.rest, values, strict=True):
        name = node.names[0] if isinstance(node, Named) else value.name
        if value.type == "bool" and not value.is_column:
            steps.append((name or f"Step{len(steps) + 1}", value))
        else:
            dimensions.append((name or f"Dim{len(dimensions) + 1}", value))
    if not steps:
        raise use.error("a condition is missing.")
    select.columns = [
        Column(_TIME, time.type, outer.sql, outer.deps),
        *(
            Column(f"$step{number}", "bool", f"ifNull({value.sql}, false)", value.deps)
            for number, (_, value) in enumerate(steps)
        ),
        *(
            Column(f"$by{number}", value.type, value.sql, value.deps)
            for number, (_, value) in enumerate(dimensions)
        ),
    ]
    select.order = []

    def work(frames: Sequence[Frame]) -> Iterator[list[Any]]:
        places = frames[0].places()
        groups: dict[Any, list[list[Any]]] = {}
        for row in frames[0].rows:
            if row[places[_TIME]] is None:
                continue
            key = tuple(row[places[f"$by{number}"]] for number in range(len(dimensions)))
            matches = groups.setdefault(key, [[] for _ in steps])
            for number, times in enumerate(matches):
                if row[places[f"$step{number}"]]:
                    times.append(row[places[_TIME]])
        left = MOST_FOUND
        for key, matches in groups.items():
            for chain in _chains([sorted(times) for times in matches], gap, span):
                left -= 1
                if left < 0:
                    raise use.error(f"there are more than {MOST_FOUND} sequences.")
                yield [*key, *chain, chain[-1] - chain[0]]

    duration = "timespan" if time.type == "datetime" else time.type
    columns = [
        *((name, value.type) for name, value in dimensions),
        *((f"{name}_{time.name}", time.type) for name, _ in steps),
        ("Duration", duration),
    ]
    return answer(use, [select], columns, work)


def _chains(times: list[list[Any]], gap: Any, span: Any, begun: tuple[Any, ...] = ()) -> Iterator[list[Any]]:
    """All ways to take one time of each list, each no earlier than the one before, and near enough."""
    if len(begun) == len(times):
        yield list(begun)
        return
    for time in times[len(begun)]:
        if begun and time < begun[-1]:
            continue
        if begun and (time - begun[-1] > gap or time - begun[0] > span):
            break
        yield from _chains(times, gap, span, (*begun, time))
