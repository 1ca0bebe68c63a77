"""What the files under ``mappings/`` say: which events of a source become rows of which hunting table.

One file a source. Each *kind* of event names its table, ActionType and Sigma categories, and for each source
field the columns that it fills, written as ``shape(column, ...)`` or as a bare column. A field without a
column stays in AdditionalFields under its own name, as do fields whose shape is not exact: whatever a rule
asks for can be told from the stored row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shieldwall.data_files import read_yaml
from shieldwall.telemetry.schema import TABLES


class Shape(StrEnum):
    """How a field's text becomes the values of its columns."""

    VALUE = "value"
    """(column): as it stands, in the column's type."""
    HEX = "hex"
    """(number column): ``0x3e7``, or a decimal number."""
    TITLE = "title"
    """(column): with a capital first letter, as hunting tables write protocols."""
    NAMED = "named"
    """(column, ...): as it stands in each, and nothing for ``-``."""
    LOGON_TYPE = "logon_type"
    """(column): Windows' number of a kind of logon as hunting tables name it, RemoteInteractive for 10."""
    PROTOCOL = "protocol"
    """(column): the same, or the number of a protocol."""
    ADDRESS = "address"
    """(column): an IP address; an IPv4 address in IPv6's spelling as itself, and nothing for ``-``."""
    PATH = "path"
    """(folder path, file name): a whole path, and its part after the last slash or backslash."""
    ACCOUNT = "account"
    """(domain, name): ``DOMAIN\\name``, or a name alone."""
    HASHES = "hashes"
    """(SHA1, SHA256, MD5): ``SHA1=...,MD5=...``, in any order."""
    REGISTRY_KEY = "registry_key"
    """(key): with the hive's whole name, HKEY_LOCAL_MACHINE for HKLM."""
    REGISTRY_VALUE = "registry_value"
    """(key, value name): the same, with the part after the last backslash apart."""
    PROCESS = "process"
    """(unique id, creation time): a Sysmon ProcessGuid, which holds the second of the start."""
    TIME = "time"
    """(time column): UTC unless it says otherwise; a number is seconds since 1970."""
    JOINED = "joined"
    """(column): the parts of a list with commas between, text as it stands."""


EXACT = frozenset({Shape.TITLE, Shape.PATH, Shape.ACCOUNT})
"""Shapes whose field can be told from the columns, but for letter case: the path is the folder path, the
account is ``domain\\name``, or the name where the domain is empty."""

_COUNTS = {
    Shape.PATH: 2,
    Shape.ACCOUNT: 2,
    Shape.HASHES: 3,
    Shape.REGISTRY_VALUE: 2,
    Shape.PROCESS: 2,
}
_FIELD = re.compile(r"(?:(\w+)\()?([\w, ]+)\)?")


@dataclass(frozen=True)
class Field:
    """One field of the source's record and the columns it fills; slashes lead into nested objects."""

    name: str
    shape: Shape
    columns: tuple[str, ...]
    exact: bool
    """Whether the columns hold all of it. Otherwise AdditionalFields has it too, under its own name."""

    @property
    def names(self) -> tuple[str, ...]:
        """The fields whose texts it is made of, with blanks between; nearly always one."""
        return tuple(self.name.split(" + "))


@dataclass(frozen=True)
class Kind:
    """One kind of event, and the row that it becomes."""

    name: str
    channels: tuple[str, ...]
    """Which channels it comes from; the mapping's, unless it names its own."""
    events: tuple[int, ...]
    """Which event ids; empty means any."""
    when: Mapping[str, tuple[str, ...]]
    """Values, any letter case, that fields must have; an empty text stands for an absent field too."""
    unless: Mapping[str, tuple[str, ...]]
    """Values that fields must not have."""
    table: str
    action: str
    categories: tuple[str, ...]
    """Sigma's names of the log source categories that it answers."""
    fields: tuple[Field, ...]
    constants: Mapping[str, str]
    """Columns that are the same for every event of the kind."""

    def field(self, name: str) -> Field | None:
        """What becomes of a source field; None when it is only in AdditionalFields."""
        return next((field for field in self.fields if field.name == name), None)


@dataclass(frozen=True)
class SourceMapping:
    """Everything that is said of one source."""

    source: str
    """As column Source has it, and as ``POST /ingest/{source}`` names it."""
    form: str
    """Which records it is for: ``windows`` for event logs, otherwise the source's own."""
    title: str
    product: str
    """Sigma's name of the product, and of the service that its records are."""
    service: str
    channels: tuple[str, ...]
    kinds: tuple[Kind, ...]


@cache
def load_mappings() -> Mapping[str, SourceMapping]:
    """Every mapping by its source. ValueError names the file and what is wrong in it."""
    found = {}
    for path in sorted(Path(__file__).with_name("mappings").glob("*.yaml")):
        try:
            found[path.stem] = _mapping(path.stem, read_yaml(path))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: {error}") from None
    return MappingProxyType(found)


def kinds_of(category: str, product: str = "") -> Iterator[tuple[SourceMapping, Kind]]:
    """The kinds of events that answer a Sigma category, of one product or of all."""
    for mapping in load_mappings().values():
        if not product or mapping.product == product:
            yield from ((mapping, kind) for kind in mapping.kinds if category in kind.categories)


def _mapping(source: str, read: dict[str, Any]) -> SourceMapping:
    channels = _texts(read.get("channels"))
    kinds = tuple(_kind(name, entry, channels) for name, entry in read.get("kinds", {}).items())
    return SourceMapping(
        source,
        read.get("form", source),
        read["title"],
        read.get("product", ""),
        read.get("service", ""),
        channels,
        kinds,
    )


def _kind(name: str, entry: dict[str, Any], channels: tuple[str, ...]) -> Kind:
    known = {
        "event", "channel", "when", "unless", "table", "action", "categories", "fields", "constants",
    }  # fmt: skip
    if unknown := set(entry) - known:
        raise ValueError(f"{name}: there is no key {min(unknown)}")
    table = entry["table"]
    if table not in TABLES or not TABLES[table].from_agents:
        raise ValueError(f"{name}: {table} is no table of events")
    fields = tuple(_field(table, key, text) for key, text in entry.get("fields", {}).items())
    constants = {key: str(value) for key, value in entry.get("constants", {}).items()}
    for column in constants:
        _check(table, column)
    return Kind(
        name,
        _texts(entry.get("channel")) or channels,
        tuple(int(event) for event in _texts(entry.get("event"))),
        _conditions(entry.get("when")),
        _conditions(entry.get("unless")),
        table,
        entry["action"],
        _texts(entry.get("categories")),
        fields,
        MappingProxyType(constants),
    )


def _field(table: str, name: str, text: str) -> Field:
    found = _FIELD.fullmatch(text)
    if not found:
        raise ValueError(f"{name}: expected a column or shape(column, ...), got {text!r}")
    shape = Shape(found[1] or "value")
    columns = tuple(part.strip() for part in found[2].split(","))
    if len(columns) != _COUNTS.get(shape, 1) and shape is not Shape.NAMED:
        raise ValueError(f"{name}: {shape} fills {_COUNTS.get(shape, 1)} columns")
    types = [_check(table, column) for column in columns]
    # Numbers are written one way only; a time, a truth value or a hexadecimal number in several.
    exact = types[0] in ("string", "int", "long") if shape is Shape.VALUE else shape in EXACT
    return Field(name, shape, columns, exact)


def _check(table: str, column: str) -> str:
    for known in TABLES[table].columns:
        if known.name == column:
            return known.kusto_type
    raise ValueError(f"{table} has no column {column}")


def _conditions(read: dict[str, Any] | None) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({name: _texts(values) for name, values in (read or {}).items()})


def _texts(value: Any) -> tuple[str, ...]:
    """One value or a list of them, as text."""
    if value is None:
        return ()
    return tuple(_text(item) for item in value) if isinstance(value, list) else (_text(value),)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
