"""What ClickHouse cannot compute: Python functions over rows, between two statements of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import Frame, to_constant, to_python
from shieldwall.kql.relation import Column, Local, Relation, Select, SortKey
from shieldwall.kql.values import Value, constant

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

HIDDEN = "$"
"""What names of columns begin with that no query can name."""


@dataclass(frozen=True, slots=True)
class LocalFunction:
    """A scalar function in Python. Takes and gives values as a Frame holds them; None for null.

    If it is ``stateful``, ``work()`` gives a new function to call with one row after the other.
    """

    name: str
    returns: str
    work: Callable[..., Any]
    stateful: bool = False


class OverAggregates(KqlError):
    """A local function is called on what aggregates give: the rows have to be grouped first."""


@dataclass(slots=True)
class _Call:
    number: int
    function: LocalFunction
    args: list[Value]


@dataclass
class LocalCalls:
    """Calls of local functions in one operator's expressions, numbered in the order of binding.

    Expressions are bound anew, in the same order, until all calls have become columns of the relation below.
    """

    pending: list[_Call] = field(default_factory=list)
    windows: list[Column] = field(default_factory=list)
    """Columns over other rows, which ClickHouse computes; they too must lie below, since they do not nest."""
    inferred: dict[str, None] = field(default_factory=dict)
    """Names that were taken for columns of rows that are not there to tell; see `Compiler.open`."""
    resolved: dict[int, str] = field(default_factory=dict)
    number: int = 0
    _open: set[str] = field(default_factory=set)
    _column: Callable[[str], Value | None] = field(default=lambda name: None)
    """Finds a column of the row that is bound over; functions that are called in it see other rows."""

    def begin(self, column: Callable[[str], Value | None]) -> None:
        self.pending, self.windows, self.number, self._open = [], [], 0, set()
        self._column = column

    def call(self, function: LocalFunction, args: list[Value]) -> Value:
        """The value of a call: computed at once over constants, else a column of the relation below."""
        if not function.stateful and all(arg.is_constant for arg in args):
            result = function.work(*(to_python(arg.type, arg.constant) for arg in args))
            return constant(function.returns, to_constant(function.returns, result))
        found, ready = self._next(args)
        if ready:
            self.pending.append(_Call(self.number, function, args))
        if found is not None:
            return found
        deps: frozenset[Column] = frozenset().union(*(arg.deps for arg in args))
        placeholder = sql.ref(f"{HIDDEN}local{self.number}")
        return Value(function.returns, placeholder, deps)

    def window(self, kind: str, text: str, args: list[Value]) -> Value:
        """The value of SQL with a window function, of these arguments: a column of the relation below."""
        found, ready = self._next(args)
        name = f"{HIDDEN}local{self.number}"
        deps: frozenset[Column] = frozenset().union(*(arg.deps for arg in args))
        if ready:
            self.windows.append(Column(name, kind, text, deps))
        return found or Value(kind, sql.ref(name), deps)

    def _next(self, args: list[Value]) -> tuple[Value | None, bool]:
        """What the next call has become, if it has; and else whether its arguments are all there."""
        if any(arg.aggregate for arg in args):
            raise OverAggregates("This cannot be computed over aggregates here.")
        self.number += 1
        if (name := self.resolved.get(self.number)) is not None and (found := self._column(name)) is not None:
            # In brackets, since it is no column that the query has.
            return replace(found, name="", sql=f"({found.sql})"), False
        # A call of a call waits for the next round, when the inner one is a column.
        ready = not any(name in arg.sql for arg in args for name in self._open)
        self._open.add(sql.name(f"{HIDDEN}local{self.number}"))
        return None, ready


def with_windows(select: Select, calls: LocalCalls) -> Select:
    """The relation with a column for each pending window function, which are resolved by that.

    Rows that its order leaves open get one here, which stays the same from now on.
    """
    select.columns += calls.windows
    select.windows = True
    for column in calls.windows:
        calls.resolved[int(column.name.removeprefix(f"{HIDDEN}local"))] = column.name
    deps: frozenset[Column] = frozenset().union(*(key.deps for key in select.order))
    order = f"row_number() OVER ({ordered(select.order)})"
    select.order = [SortKey(order, deps, False, False)]
    return select


def ordered(keys: Sequence[SortKey]) -> str:
    """The ORDER BY of a window; empty where rows have no order."""
    return f"ORDER BY {', '.join(key.text() for key in keys)}" if keys else ""


def map_rows(compiler: Compiler, below: Select, calls: LocalCalls) -> Local:
    """The relation with a column for each pending call, which are resolved by that."""
    columns = [
        Column(column.name, column.type, deps=frozenset((column,)), plain=True, indexed=False)
        for column in below.columns
    ]
    made: list[tuple[str, LocalFunction, list[Any]]] = []
    for call in calls.pending:
        args: list[Any] = []
        deps: list[Column] = []
        for place, value in enumerate(call.args):
            if value.is_constant:
                args.append((to_python(value.type, value.constant),))
                continue
            column = Column(f"{HIDDEN}arg{call.number}_{place}", value.type, value.sql, value.deps)
            below.hidden.append(column)
            deps.append(column)
            args.append(column.name)
        name = f"{HIDDEN}local{call.number}"
        columns.append(Column(name, call.function.returns, deps=frozenset(deps)))
        made.append((name, call.function, args))
        calls.resolved[call.number] = name

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        frame = frames[0]
        places = {name: place for place, (name, _) in enumerate(frame.columns)}
        functions = {
            name: (function.work() if function.stateful else function.work, args)
            for name, function, args in made
        }
        result: list[list[Any]] = []
        for row in frame.rows:
            values: list[Any] = []
            for name in wanted:
                if (found := functions.get(name)) is None:
                    values.append(row[places[name]])
                else:
                    function, args = found
                    values.append(
                        function(*(arg[0] if isinstance(arg, tuple) else row[places[arg]] for arg in args))
                    )
            result.append(values)
        return result

    return local(compiler, [below], columns, work)


LocalWork = Callable[[Sequence[Frame], Sequence[str]], list[list[Any]]]


def local(compiler: Compiler, inputs: list[Relation], columns: list[Column], work: LocalWork) -> Local:
    """A relation whose rows Python makes of its inputs' rows.

    ``work`` takes a Frame an input and the names of the wanted columns, and gives rows of those. A column's
    ``deps`` are the columns of inputs that it is made of.
    """
    found = Local(columns, f"step_{len(compiler.locals) + 1}", inputs, work)
    compiler.locals.append(found)
    return found


def whole(
    compiler: Compiler, inputs: list[Relation], columns: list[tuple[str, str]], work: LocalWork
) -> Local:
    """As `local`, where each column may depend on every column of the inputs."""
    deps = frozenset(column for relation in inputs for column in relation.columns)
    return local(compiler, inputs, [Column(name, kind, deps=deps) for name, kind in columns], work)


def fixed_rows(compiler: Compiler, relation: Relation) -> Local:
    """The same rows, evaluated once for all statements of a plan."""

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        places = frames[0].places()
        return [[row[places[name]] for name in wanted] for row in frames[0].rows]

    columns = [Column(column.name, column.type, deps=frozenset((column,))) for column in relation.columns]
    return local(compiler, [relation], columns, work)
