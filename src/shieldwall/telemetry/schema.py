"""The hunting tables as data: what `tables.yaml` declares, with the type of each column in both worlds, and
what `aliases.yaml` says of the other names that queries use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shieldwall.data_files import read_yaml

CLICKHOUSE_TYPES = {
    "string": "String",
    "guid": "String",
    "dynamic": "String",
    "bool": "Nullable(Bool)",
    "int": "Nullable(Int32)",
    "long": "Nullable(Int64)",
    "real": "Nullable(Float64)",
    "datetime": "Nullable(DateTime64(7, 'UTC'))",
}
"""A Kusto string is never null; everything else may be."""

SOURCE_EVENTS = "SourceEvents"
"""The table of the records of other sensors, whole, whether or not another table takes them too."""

FEW_VALUES = (
    "ActionType",
    "DeviceName",
    "Protocol",
    "LogonType",
    "MachineGroup",
    "OSPlatform",
    "AccountDomain",
    "InitiatingProcessAccountDomain",
    "InitiatingProcessAccountName",
    "InitiatingProcessIntegrityLevel",
    "InitiatingProcessTokenElevation",
    "ProcessIntegrityLevel",
    "ProcessTokenElevation",
    "LocalIPType",
    "RemoteIPType",
    "Source",
    "Channel",
    "Provider",
)
"""Columns kept as dictionaries: smaller and faster wherever values repeat."""


@dataclass(frozen=True)
class Column:
    """One column: its documented name and Kusto type."""

    name: str
    kusto_type: str

    @property
    def clickhouse_type(self) -> str:
        if self.name == "Timestamp":
            return "DateTime64(7, 'UTC')"
        if self.name == "DeviceId" or (self.kusto_type == "string" and self.name in FEW_VALUES):
            return "LowCardinality(String)"
        return CLICKHOUSE_TYPES[self.kusto_type]


@dataclass(frozen=True)
class Table:
    """One hunting table. ``text`` columns are searched by term, ``find`` columns by exact value."""

    name: str
    columns: tuple[Column, ...]
    text: tuple[str, ...]
    find: tuple[str, ...]

    @property
    def is_event(self) -> bool:
        """Whether rows happen at a time."""
        return self.has("Timestamp")

    @property
    def from_agents(self) -> bool:
        """Whether agents send rows of it; no other table takes theirs."""
        return self.is_event and self.name.startswith("Device")

    @property
    def grouped(self) -> bool:
        """Whether its rows are stored in groups, each kept or undone as a whole."""
        return self.from_agents or self.name == SOURCE_EVENTS

    def has(self, column: str) -> bool:
        return any(found.name == column for found in self.columns)


@dataclass(frozen=True)
class Aliases:
    """Names that queries use for what is declared under another one; declared names go first."""

    tables: Mapping[str, tuple[str, ...]]
    """What a table became: one table, or several to be joined."""
    columns: Mapping[str, Mapping[str, str]]
    """By table as the query names it, older names of columns with today's; ``*`` for every table."""
    action_types: Mapping[str, Mapping[str, str]]
    """By table, older values of ActionType with today's."""
    values: Mapping[str, Mapping[str, str]]
    """By column, older values with today's."""

    def column(self, table: str, name: str) -> str | None:
        """Today's name of a column, if ``name`` is an older one."""
        return self.columns.get(table, {}).get(name) or self.columns["*"].get(name)


@cache
def load_tables() -> Mapping[str, Table]:
    """Every declared table by name."""
    return MappingProxyType({name: _table(name, entry) for name, entry in _read("tables.yaml").items()})


@cache
def load_aliases() -> Aliases:
    """The other names."""
    found = _read("aliases.yaml")
    tables = {old: _names(new) for old, new in found["tables"].items()}
    return Aliases(tables, found["columns"], found["action_types"], found["values"])


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = read_yaml(Path(__file__).with_name(name))
    return read


def _table(name: str, entry: dict[str, str]) -> Table:
    columns = tuple(
        Column(words[0], words[1] if len(words) > 1 else "string")
        for words in (part.split() for part in entry["columns"].split(","))
    )
    return Table(name, columns, _names(entry.get("text")), _names(entry.get("find")))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


TABLES = load_tables()
ALIASES = load_aliases()
