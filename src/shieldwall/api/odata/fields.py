"""How a collection of the API maps to tables: data that the compiler, the ordering and the paging share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression

from shieldwall.api.odata.errors import odata_error

Column = SQLColumnExpression[Any]


class Kind(Enum):
    """What a property's values are, and so how they are compared."""

    TEXT = "text"
    """Any text; compared without regard to case."""
    EXACT = "exact"
    """A name of ours such as an alert's id; compared as it is, so that the index serves."""
    LOWER = "lower"
    """A hash or id that is kept in lower case; the literal is lowered, the column is not touched."""
    CHOICE = "choice"
    """One of ``choices``, in any case."""
    TIME = "time"
    NUMBER = "number"
    FLAG = "flag"


@dataclass(frozen=True)
class Field:
    """One property of an entity, or of an element of a list."""

    name: str
    kind: Kind
    column: Column
    choices: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    """Other spellings of choices in lower case, each with what is kept."""


@dataclass(frozen=True)
class Rows:
    """A list that is a table of its own: ``link`` ties its rows to the entity's.

    ``fields`` has the one key ``""`` where an element is a plain value.
    """

    name: str
    key: Column
    link: ColumnElement[bool]
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class JsonList:
    """A list of strings that is kept as JSON in one column."""

    name: str
    column: Column


@dataclass(frozen=True)
class EntitySet:
    """A collection: its name in ``@odata.context``, its properties, its order where none is asked for."""

    name: str
    model: Any
    """A mapped class, or the table of rows that are in ClickHouse."""
    key: str
    fields: Mapping[str, Field]
    lists: Mapping[str, Rows | JsonList] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case that clients use for a property which is called otherwise."""
    order: tuple[tuple[str, bool], ...] = ()
    """Properties, each with True for descending; the key always comes last."""
    expand: frozenset[str] = frozenset()
    page_limit: int = 10_000

    def field(self, name: str) -> Field:
        """The property that ``name`` means in any case; ApiError ``ODataError`` for one that there is not.

        Clients live with that error, as the service answers it too; to pass over a condition in silence would
        answer more than was asked for.
        """
        found = self.fields.get(self._key(name))
        if found is None:
            raise odata_error(f"Could not find a property named '{name[:80]}' on {self.name}.")
        return found

    def list(self, name: str) -> Rows | JsonList | None:
        return self.lists.get(self._key(name))

    def _key(self, name: str) -> str:
        return self.aliases.get(name.lower(), name).lower()


def text(name: str, column: Column) -> Field:
    return Field(name, Kind.TEXT, column)


def exact(name: str, column: Column) -> Field:
    return Field(name, Kind.EXACT, column)


def lower(name: str, column: Column) -> Field:
    return Field(name, Kind.LOWER, column)


def time(name: str, column: Column) -> Field:
    return Field(name, Kind.TIME, column)


def number(name: str, column: Column) -> Field:
    return Field(name, Kind.NUMBER, column)


def flag(name: str, column: Column) -> Field:
    return Field(name, Kind.FLAG, column)


def choice(name: str, column: Column, *choices: str, words: Mapping[str, str] | None = None) -> Field:
    """``words`` are other spellings of ``choices`` in lower case, each with what is kept."""
    return Field(name, Kind.CHOICE, column, choices, words or {})


def by_name(fields: Iterable[Field]) -> dict[str, Field]:
    return {item.name.lower(): item for item in fields}
