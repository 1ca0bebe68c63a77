"""make-series: aggregates over equal steps of an axis, as arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operations import compare
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.operators.columns import Names
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import Column, Condition, Relation, Select, over, passed
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Expr, Name, Named, Operator
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import EPOCH_TICKS, Value, constant, convert, from_ticks, ticks_of, to_json

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

BIN, CELLS = "$bin", "$cells"
MOST = 1 << 20
"""Elements that a series may have."""


@dataclass(slots=True)
class Axis:
    """What a series runs along. Bins are numbered from that at ``start``, or from zero (year 1)."""

    name: str
    value: Value
    step: str
    """SQL of a number of the axis's type; of ticks for times. NULL unless it is positive."""
    start: Value | None
    stop: Value | None
    inclusive: bool
    """Whether bins count from zero in any case, and the last one is that in which ``stop`` lies."""

    @property
    def origin(self) -> str:
        """SQL of the number at which bin 0 begins."""
        if self.start is not None and not self.inclusive:
            return _number(self.start)
        return f"({-EPOCH_TICKS})" if self.value.type == "datetime" else "0"

    def place(self, value: Value) -> str:
        """SQL of the number of the bin in which a value lies."""
        number = f"({_number(value)} - {self.origin})"
        if value.type == "real":
            return f"accurateCastOrNull(floor({number} / {self.step}), 'Int64')"
        return f"intDiv({number} - positiveModulo({number}, {self.step}), {self.step})"

    def bounds(self) -> tuple[str, str]:
        """SQL of the number of the first bin, and of that behind the last one, over the bins of a series."""
        first, behind = f"min(q.`{BIN}`)", f"max(q.`{BIN}`) + 1"
        if self.start is not None:
            first = self.place(self.start) if self.inclusive else "0"
        if self.stop is not None:
            behind = f"{self.place(self.stop)} + 1"
            if not self.inclusive:
                # Unless the end is where a bin begins, which is no longer one.
                begun = f"{self.place(self.stop)} * {self.step} + {self.origin} < {_number(self.stop)}"
                behind = f"{self.place(self.stop)} + ({begun})"
        return first, behind

    def shown(self, place: str) -> str:
        """SQL of the JSON of where a bin begins."""
        kind, number = self.value.type, f"({self.origin} + {place} * {self.step})"
        return to_json(Value(kind, from_ticks(number) if kind == "datetime" else number))


def _number(value: Value) -> str:
    return ticks_of(value.sql) if value.type == "datetime" else value.sql


def _axis(binder: Binder, node: Operator) -> Axis:
    parts = node.parts
    named = parts["axis"]
    value = binder.bind(named.value if isinstance(named, Named) else named)
    name = named.names[0] if isinstance(named, Named) else value.name
    if parts["step"] is None:
        raise KqlError("make-series needs a step.", node.at)
    start, stop, step = (
        None if parts[part] is None else binder.bind(parts[part]) for part in ("from", "to", "step")
    )
    assert step is not None
    given = [bound for bound in (start, stop) if bound is not None]
    kind = value.type
    if kind == "dynamic":
        kind = given[0].type if given else "datetime" if step.type == "timespan" else step.type
    if kind in NUMERIC:
        for bound in (*given, step):
            kind = wider(kind, bound.type) if bound.type in NUMERIC else kind
        kind = "real" if kind == "decimal" else wider(kind, "long")
    elif kind not in ("datetime", "timespan"):
        raise KqlError(f"make-series cannot run along {kind} values.", node.at, "SEM0231")
    step = convert(step, "timespan" if kind == "datetime" else kind, node.at)
    if isinstance(step.constant, int | float) and step.constant <= 0:
        raise KqlError("The step of make-series must be positive.", node.at)
    size = step.sql if step.is_constant else f"if({step.sql} > 0, {step.sql}, NULL)"
    start, stop = (None if bound is None else convert(bound, kind, node.at) for bound in (start, stop))
    return Axis(name, convert(value, kind, node.at), size, start, stop, parts.get("inclusive", False))


@operator("make-series")
def make_series(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    items, groups = node.parts["items"], node.parts["by"]
    select, axis = compiler.bind_into(relation, env, lambda binder: _axis(binder, node))
    place = axis.place(axis.value)
    select.columns = [*select.columns, Column(BIN, "long", place, axis.value.deps)]
    _keep_inside(select, axis, place, node.at)
    aggregates: list[Expr] = [item["value"] for item in items]
    bins = grouped(compiler, select, aggregates, [*groups, Name(node.at, BIN)], env)
    number = len(bins.columns) - len(items) - 1
    by, values = bins.columns[:number], bins.columns[number + 1 :]
    if bins.columns[number].name != BIN:
        raise KqlError("An aggregate of make-series gives one column.", node.at)
    defaults = [
        _default(Binder(compiler, env), item["default"], column.type)
        for item, column in zip(items, values, strict=True)
    ]
    known = axis.start is not None and axis.stop is not None
    cells = _series(bins, by, values, defaults, axis)
    if node.parts.get("kind") == "nonempty" and not by and known:
        cells.keys = []
    result = over(cells)
    held = result.columns.pop()
    for part, column in enumerate(values, 3):
        text = _array(held.sql, f"t.{part}")
        result.columns.append(Column(column.name, "dynamic", text, held.deps))
    name = Names({column.name for column in (*by, *values)}).give(axis.name)
    result.columns.append(Column(name, "dynamic", _array(held.sql, axis.shown("t.1")), held.deps))
    return result


def _keep_inside(select: Select, axis: Axis, place: str, at: int) -> None:
    """Leave out rows that no bin takes."""
    if axis.inclusive:
        for op, bound in ((">=", axis.start), ("<=", axis.stop)):
            assert bound is not None
            select.where.append(Condition(f"{place} {op} {axis.place(bound)}", axis.value.deps))
        return
    for op, bound in ((">=", axis.start), ("<", axis.stop)):
        if bound is not None:
            inside = compare(op, axis.value, bound, at)
            select.where.append(Condition(inside.condition, inside.deps))
    if axis.start is None and axis.stop is None:
        select.where.append(Condition(f"isNotNull({place})", axis.value.deps))


def _default(binder: Binder, node: Expr | None, kind: str) -> str:
    """SQL of the JSON of what stands where a bin has no rows."""
    value = binder.bind(node) if node is not None else constant("long", 0)
    if kind in NUMERIC and value.type in NUMERIC:
        value = convert(value, kind)
    elif node is None:
        value = constant("timespan", 0) if kind == "timespan" else constant("dynamic", None)
    if isinstance(value.constant, int | float) and value.type in ("int", "long", "real"):
        return sql.quote(json.dumps(value.constant))
    return f"assumeNotNull({to_json(value)})"


def _array(cells: str, element: str) -> str:
    return f"concat('[', arrayStringConcat(arrayMap(t -> assumeNotNull({element}), {cells}), ','), ']')"


def _series(bins: Select, by: list[Column], values: list[Column], defaults: list[str], axis: Axis) -> Select:
    """A row a series: the columns of ``by``, and cells (number of the bin, 0 or 1 if filled in, JSON...)."""
    keys = [passed(column) for column in by]
    place = passed(next(column for column in bins.columns if column.name == BIN))
    shown = [f"assumeNotNull({to_json(Value(column.type, passed(column).sql))})" for column in values]
    given = f"groupArray((assumeNotNull({place.sql}), toUInt8(0), {', '.join(shown)}))"
    first, behind = (f"toInt64(ifNull({text}, 0))" for text in axis.bounds())
    numbers = f"range({first}, least({behind}, {first} + {MOST}))"
    filled = f"arrayMap(i -> (toInt64(i), toUInt8(1), {', '.join(defaults)}), {numbers})"
    cells = f"arrayCompact(t -> t.1, arraySort(t -> (t.1, t.2), arrayConcat({given}, {filled})))"
    column = Column(CELLS, "dynamic", cells, place.deps.union(values))
    # Without a key there would be a series where there are no rows.
    all_rows = Column("$all", "long", "materialize(1)")
    return Select([*keys, column], bins, grouped=True, keys=keys or [all_rows])
