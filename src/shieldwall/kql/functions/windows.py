"""Functions over the rows before and after, in their order: prev, next, row_number and their like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce, number_constant
from shieldwall.kql.local import LocalFunction, ordered
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC, SQL_TYPES
from shieldwall.kql.values import Value, constant, convert

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

FAR = 1 << 31
"""The greatest distance of prev and next."""
_SO_FAR = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


def over(binder: Binder, group: Value | None = None, frame: str = "") -> str:
    """The OVER of a window function: rows in their order, those of a group for themselves."""
    groups = [*([group] if group else []), *binder.row.parts]
    partition = f"PARTITION BY {', '.join(item.sql for item in groups)}" if groups else ""
    return f"OVER ({' '.join(filter(None, (partition, ordered(binder.row.order), frame)))})"


def window(binder: Binder, kind: str, text: str, values: Sequence[Value | None]) -> Value:
    keys = [Value("dynamic", "", key.deps) for key in binder.row.order]
    given = [value for value in values if value is not None]
    return binder.local.window(kind, text, [*given, *keys, *binder.row.parts])


def _group(binder: Binder, call: Call, restart: list[Value]) -> Value | None:
    """A number for the rows since the last restart, if there may be any."""
    if not restart:
        return None
    value = convert(restart[0], "bool", call.at)
    if value.constant is False:
        return None
    text = f"sum(toInt64(ifNull({value.sql}, false))) {over(binder, frame=_SO_FAR)}"
    return window(binder, "long", text, [value])


def _beside(binder: Binder, call: Call, function: str) -> Value:
    """``lag`` or ``lead``: the value so many rows away, or a default."""
    value, *more = bound(binder, call, 1, 3)
    distance = number_constant(more[0], call, "the offset") if more else 1
    if distance < 0:
        function, distance = "lead" if function == "lag" else "lag", -distance
    kind = value.type
    default = convert(more[1], kind, call.at) if len(more) > 1 else constant(kind, None)
    # Both of just the same type, or ClickHouse refuses them.
    text, missing = (f"CAST({item.sql} AS {SQL_TYPES[kind]})" for item in (value, default))
    shown = f"{function}({text}, {min(distance, FAR)}, {missing}) {over(binder)}"
    return window(binder, kind, shown, [value, default])


@coded("prev")
def prev(binder: Binder, call: Call, args: list[Value]) -> Value:
    return _beside(binder, call, "lag")


@coded("next")
def next_(binder: Binder, call: Call, args: list[Value]) -> Value:
    return _beside(binder, call, "lead")


@coded("row_number")
def row_number(binder: Binder, call: Call, args: list[Value]) -> Value:
    """From 1, or from the first argument; anew where the second one holds."""
    values = bound(binder, call, 0, 2)
    first = coerce(values[0], "long", call, 0) if values else constant("long", 1)
    group = _group(binder, call, values[1:])
    offset = "" if first.constant == 1 else f" + {first.sql} - 1"
    return window(binder, "long", f"toInt64(row_number() {over(binder, group)}){offset}", [first, group])


@coded("row_cumsum")
def row_cumsum(binder: Binder, call: Call, args: list[Value]) -> Value:
    term, *restart = bound(binder, call, 1, 2)
    if term.type == "dynamic":
        term = convert(term, "real", call.at)
    if term.type not in (*NUMERIC, "timespan"):
        raise KqlError(f"row_cumsum() does not take {term.type} values.", call.at, "SEM0231")
    group = _group(binder, call, restart)
    return window(binder, term.type, f"sum({term.sql}) {over(binder, group, _SO_FAR)}", [term, group])


def _changed(binder: Binder, term: Value, group: Value | None) -> Value:
    """Whether a row's term is another one than that of the row before."""
    text = term.sql if term.type in ("string", "dynamic") else f"toNullable({term.sql})"
    # Where there is no row before, the row itself is taken.
    before = f"lag(tuple({text}), 1, tuple({text})) {over(binder, group)}"
    return window(binder, "bool", f"tuple({text}) IS DISTINCT FROM {before}", [term, group])


@coded("row_rank_dense", "row_rank")
def row_rank_dense(binder: Binder, call: Call, args: list[Value]) -> Value:
    """How often the term has changed since the restart, from 1."""
    term, *restart = bound(binder, call, 1, 2)
    group = _group(binder, call, restart if call.name == "row_rank_dense" else [])
    changed = _changed(binder, term, group)
    text = f"sum(toInt64({changed.sql})) {over(binder, group, _SO_FAR)} + 1"
    return window(binder, "long", text, [changed, group])


@coded("row_rank_min")
def row_rank_min(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The number, since the restart, of the first row with the same term."""
    term, *restart = bound(binder, call, 1, 2)
    group = _group(binder, call, restart)
    changed = _changed(binder, term, group)
    number = window(binder, "long", f"toInt64(row_number() {over(binder, group)})", [group])
    text = f"max(if({changed.sql}, {number.sql}, 1)) {over(binder, group, _SO_FAR)}"
    return window(binder, "long", text, [changed, number, group])


Session = Callable[[int | None, int | None, int | None, bool | None], int | None]


def sessions() -> Session:
    """A function of time, greatest distance from the first and from the last one, and restart."""
    start: int | None = None
    last = 0

    def work(time: int | None, longest: int | None, gap: int | None, restart: bool | None) -> int | None:
        nonlocal start, last
        if time is None:
            start = None
            return None
        if (
            start is None
            or restart
            or (longest is not None and time >= start + longest)
            or (gap is not None and time >= last + gap)
        ):
            start = time
        last = time
        return start

    return work


@coded("row_window_session")
def row_window_session(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The time at which the session of a row has begun."""
    time, longest, gap, *restart = bound(binder, call, 3, 4)
    values = [
        coerce(time, "datetime", call, 0),
        coerce(longest, "timespan", call, 1),
        coerce(gap, "timespan", call, 2),
        convert(restart[0], "bool", call.at) if restart else constant("bool", False),
    ]
    function = LocalFunction(call.name, "datetime", sessions, stateful=True)
    return binder.local.call(function, values)
