"""What ClickHouse cannot compute: Python functions over rows, between two statements of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.frame import Frame, to_constant, to_python
from shieldwall.kql.relation import Column, Local, Relation, over
from shieldwall.kql.values import Value, constant

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

HIDDEN = "$"
"""What names of columns begin with that no query can name."""


@dataclass(frozen=True, slots=True)
class LocalFunction:
    """A scalar function in Python. Takes and gives values as a Frame holds them; None for null."""

    name: str
    returns: str
    work: Callable[..., Any]


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
    resolved: dict[int, str] = field(default_factory=dict)
    number: int = 0
    _open: set[str] = field(default_factory=set)

    def begin(self) -> None:
        self.pending, self.number, self._open = [], 0, set()

    def call(
        self, function: LocalFunction, args: list[Value], column: Callable[[str], Value | None]
    ) -> Value:
        """The value of a call: computed at once over constants, else a column of the relation below."""
        if all(arg.is_constant for arg in args):
            result = function.work(*(to_python(arg.type, arg.constant) for arg in args))
            return constant(function.returns, to_constant(function.returns, result))
        self.number += 1
        if (name := self.resolved.get(self.number)) is not None and (found := column(name)) is not None:
            return found
        placeholder = f"{HIDDEN}local{self.number}"
        # A call of a call waits for the next round, when the inner one is a column.
        if not any(name in arg.sql for arg in args for name in self._open):
            self.pending.append(_Call(self.number, function, args))
        self._open.add(sql.name(placeholder))
        deps: frozenset[Column] = frozenset().union(*(arg.deps for arg in args))
        return Value(
            function.returns, sql.ref(placeholder), deps, aggregate=any(arg.aggregate for arg in args)
        )


def map_rows(compiler: Compiler, relation: Relation, calls: LocalCalls) -> Local:
    """The relation with a column for each pending call, which are resolved by that."""
    below = over(relation)
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
        functions = {name: (function.work, args) for name, function, args in made}
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
