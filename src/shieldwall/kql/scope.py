"""What names mean where an expression stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError, UnknownSourceError
from shieldwall.kql.relation import PART, Column, Relation, Select, SortKey, is_hidden
from shieldwall.kql.syntax import Expr, Function, Pipeline
from shieldwall.kql.values import Value


@dataclass(eq=False)
class Binding:
    """What a let statement gave a name to, bound when it is first used."""

    node: Expr | Pipeline | Function
    env: Environment
    value: Value | None = None
    shared: Relation | None = None
    """The relation, if all uses read the same one."""
    busy: bool = False
    columns: list[tuple[str, str]] | None = None
    """Columns that it must have, if it is the tabular argument of a function that says so."""


@dataclass(eq=False)
class Environment:
    """Names of let statements and parameters, inner ones before outer ones."""

    outer: Environment | None = None
    names: dict[str, Binding | Value | Relation] = field(default_factory=dict)

    def find(self, name: str) -> Binding | Value | Relation | None:
        env: Environment | None = self
        while env is not None:
            if (found := env.names.get(name)) is not None:
                return found
            env = env.outer
        return None

    def visible(self) -> list[str]:
        names: list[str] = []
        env: Environment | None = self
        while env is not None:
            names += env.names
            env = env.outer
        return names


class Row:
    """The columns that an expression can name."""

    def __init__(
        self,
        columns: Iterable[Column] = (),
        alias: str = "q",
        order: Iterable[SortKey] = (),
        sides: Mapping[str, Row] | None = None,
    ) -> None:
        self._columns = {column.name: column for column in columns}
        self._values: dict[str, Value] = {}
        self.alias = alias
        self.order = tuple(order)
        self.sides = sides or {}
        """The rows of a join's two inputs, by ``$left`` and ``$right``."""

    @property
    def names(self) -> Iterable[str]:
        return self._columns

    def columns(self) -> list[Value]:
        """All of them, in order."""
        return [value for name in self._columns if (value := self.column(name))]

    @property
    def parts(self) -> list[Value]:
        """What tells to which part a row belongs, where parts are computed at once."""
        return [value for name in self._columns if name.startswith(PART) and (value := self.column(name))]

    def column(self, name: str) -> Value | None:
        found = self._values.get(name)
        if found is None and (column := self._columns.get(name)) is not None:
            found = self._values[name] = self._value(column)
        return found

    def _value(self, column: Column) -> Value:
        return Value(
            column.type,
            sql.ref(column.name, self.alias),
            frozenset((column,)),
            name=column.name,
            refers=True,
            indexed=column.indexed,
        )


class InnerRow(Row):
    """The columns of an open SELECT as what they are made of, for conditions and columns put into it."""

    def __init__(self, select: Select) -> None:
        super().__init__(select.columns, order=select.order)
        self.computed = False
        """Whether a column was named that is not just passed on."""

    def _value(self, column: Column) -> Value:
        held: Value | None = column.value
        if held is not None and held.sql == column.sql and held.is_cheap:
            return replace(held, name=column.name, refers=True, parts=())
        self.computed = self.computed or not column.plain
        return Value(
            column.type, column.sql, column.deps, name=column.name, refers=True, indexed=column.indexed
        )


NO_ROW = Row()


def unknown(kind: str, name: str, known: Iterable[str], at: int) -> KqlError:
    """The error for a name that means nothing, with the nearest that does."""
    names = [other for other in known if other != name]
    near = [other for other in names if other.lower() == name.lower()] or get_close_matches(
        name, names, 1, 0.7
    )
    hint = f" Did you mean '{near[0]}'?" if near else ""
    error = UnknownSourceError if kind.startswith("table") else KqlError
    return error(f"Failed to resolve {kind} named '{name}'.{hint}", at, "SEM0100")


def matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern with ``*``."""
    if is_hidden(name):
        return False
    return pattern == "*" or fnmatchcase(name, pattern.replace("[", "[[]"))
