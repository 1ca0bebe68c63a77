"""What a tabular expression begins with: datatable, print, range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import to_python, write, written
from shieldwall.kql.operators.columns import Names, named_values
from shieldwall.kql.operators.registry import operator, source
from shieldwall.kql.relation import Column, Raw, Relation, Select
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Named, Operator
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import Value, convert, from_ticks, ticks_of

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


def constant_rows(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> Relation:
    """Rows written into the statement. Values are as a Frame holds them."""
    before, behind = written(columns)
    data = sql.quote(write(columns, rows))
    return Raw([Column(name, kind) for name, kind in columns], f"{before}{data}{behind}")


@source("datatable")
def datatable(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    from shieldwall.kql.compiler import type_named

    columns = [(name, type_named(kind, node.at)) for name, kind in node.parts["columns"]]
    columns_once(columns, node.at)
    values = node.parts["values"]
    if not columns or len(values) % len(columns):
        raise KqlError("The number of values is no multiple of the number of columns.", node.at, "SEM0030")
    binder = Binder(compiler, env)
    rows: list[list[Any]] = []
    for start in range(0, len(values), len(columns)):
        row: list[Any] = []
        for (name, kind), item in zip(columns, values[start : start + len(columns)], strict=True):
            value = binder.bind(item)
            if not value.is_constant:
                raise KqlError(f"The value of '{name}' is not constant.", item.at, "SEM0082")
            row.append(to_python(kind, constant_as(value, kind)))
        rows.append(row)
    return constant_rows(columns, rows)


def columns_once(columns: Sequence[tuple[str, str]], at: int) -> None:
    """KqlError where two columns have the same name."""
    names = [name for name, _ in columns]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise KqlError(f"A column named '{name}' is there already.", at, "SEM0021")


def constant_as(value: Value, kind: str) -> Any:
    """A constant as one of ``kind``; null if it stands for none."""
    from shieldwall.kql.frame import dynamic_text
    from shieldwall.kql.literals import json_value, parse_text
    from shieldwall.kql.syntax import Literal

    held = value.constant
    if value.type == kind or held is None:
        return "" if held is None and kind == "string" else held
    if kind == "dynamic":
        return dynamic_text(json_value(Literal(0, value.type, held)))
    if kind == "string":
        return str(json_value(Literal(0, value.type, held)))
    if isinstance(held, str):
        return parse_text(kind, held)
    if kind in ("int", "long"):
        return int(held)
    if kind == "real":
        return float(held)
    if kind == "decimal":
        return str(held)
    if kind == "bool":
        return bool(held)
    return None


@source("print")
def print_(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    """One row of values, named ``print_0`` and so on where nothing else names them."""

    def work(binder: Binder) -> list[tuple[str, Value, bool]]:
        found: list[tuple[str, Value, bool]] = []
        for item in node.parts["items"]:
            values = named_values(binder, item)
            if isinstance(item, Named):
                # Of several parts only those that are named.
                values = values[: len(item.names)]
            found += [(name, value, isinstance(item, Named)) for name, value in values]
        return found

    select, values = compiler.bind_into(Select([], None), env, work)
    names = Names({name for name, _, explicit in values if explicit})
    select.columns = []
    for place, (name, value, explicit) in enumerate(values):
        if not explicit:
            name = names.give(name or f"print_{place}")
        elif any(column.name == name for column in select.columns):
            raise KqlError(f"A column named '{name}' is there already.", node.at, "SEM0021")
        select.columns.append(Column(name, value.type, value.sql, value.deps))
    return select


MOST_STEPS = 1_000_000


@source("range")
def range_(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    """Numbers, times or timespans from one to another."""
    binder = Binder(compiler, env)
    start, stop, step = (binder.bind(node.parts[part]) for part in ("from", "to", "step"))
    kind = _range_type(start, stop, step, node.at)
    whole = "timespan" if kind == "datetime" else kind
    start, stop, step = (
        convert(start, kind, node.at),
        convert(stop, kind, node.at),
        convert(step, whole, node.at),
    )
    first, last = (ticks_of(start.sql), ticks_of(stop.sql)) if kind == "datetime" else (start.sql, stop.sql)
    by = f"nullIf({step.sql}, 0)"
    if kind in ("real", "decimal"):
        amount = f"floor(toFloat64({last} - {first}) / {by}) + 1"
    else:
        amount = (
            f"if(({last} < {first}) = ({by} < 0) OR {last} = {first}, intDiv({last} - {first}, {by}) + 1, 0)"
        )
    item = f"numbers(toUInt64(ifNull(least(greatest({amount}, 0), {MOST_STEPS}), 0)))"
    value = f"({first} + toInt64(q.number) * {by})"
    if kind == "datetime":
        value = from_ticks(value)
    elif kind in ("int", "long"):
        value = f"toInt{32 if kind == 'int' else 64}({value})"
    number = Column("number", "long")
    return Select([Column(node.parts["name"], kind, value, frozenset((number,)))], Raw([number], item))


def _range_type(start: Value, stop: Value, step: Value, at: int) -> str:
    """The type of a range by those of its ends and its step."""
    kinds = [value.type for value in (start, stop, step) if value.type != "dynamic"] or ["long"]
    if all(kind in NUMERIC for kind in kinds):
        kind = kinds[0]
        for other in kinds[1:]:
            kind = wider(kind, other)
        return kind
    ends = {start.type, stop.type} - {"dynamic"}
    if ends <= {"datetime", "string"} and "datetime" in ends and step.type in ("timespan", "dynamic"):
        return "datetime"
    if set(kinds) == {"timespan"}:
        return "timespan"
    raise KqlError(f"A range from a {start.type} to a {stop.type} by a {step.type} is not possible.", at)


@operator("as")
def as_(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return relation
