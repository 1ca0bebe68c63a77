"""What a query may read, as its caller says: typed tables, other names for them, and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shieldwall.kql.relation import Relation


@dataclass(frozen=True, slots=True)
class TableColumn:
    """``type`` is Kusto's. ``indexed`` says that a text index over lower-case terms lies on it."""

    name: str
    type: str
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class TableSchema:
    """``source`` is SQL that may stand behind FROM."""

    name: str
    source: str
    columns: tuple[TableColumn, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Older names of columns, with the newer."""
    ingestion_time: str = ""
    """The stored column that ``ingestion_time()`` reads."""


TabularFunction = Callable[..., "Relation"]
"""Takes the compiler, the input relation (or None), the call and its environment, and gives a relation."""


@dataclass(frozen=True, slots=True)
class Schema:
    tables: Mapping[str, TableSchema] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of tables."""
    functions: Mapping[str, TabularFunction] = field(default_factory=dict)
    """Functions that give tables, such as FileProfile."""
    views: Mapping[str, str] = field(default_factory=dict)
    """Names that stand for queries."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """What those functions need, by their names."""

    def table(self, name: str) -> TableSchema | None:
        return self.tables.get(name) or self.tables.get(self.aliases.get(name, ""))


NO_TABLES = Schema()
