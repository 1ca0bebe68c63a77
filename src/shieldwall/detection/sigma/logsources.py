"""From a log source of Sigma to rows of hunting tables, and from its fields to columns.

Categories are those of the mappings of sources: a rule finds the same event whatever source it came from.
Services and channels are read from SourceEvents, where each record is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from shieldwall.data_files import read_yaml
from shieldwall.detection.sigma.fields import Account, Field, Hashes, Known, Unnamed
from shieldwall.detection.sigma.literals import member, quoted
from shieldwall.sources.mapping import Field as Mapped
from shieldwall.sources.mapping import (
    Kind,
    Shape,
    kinds_of,
    load_mappings,
)
from shieldwall.telemetry.schema import SOURCE_EVENTS, TABLES

OTHERS = "AdditionalFields"
RECORD = "EventData"
_KINDS = {"int": "number", "long": "number", "real": "number", "bool": "bool", "datetime": "time"}


class UnmappedError(ValueError):
    """A log source of which no row is stored. The message says what is missing."""


@dataclass(frozen=True)
class Rows:
    """Rows of one table that a log source is, with how they hold its fields."""

    table: str
    actions: tuple[str, ...] = ()
    """Values of ActionType; none for all."""
    condition: str = ""
    """More of KQL that they fulfil."""
    columns: Mapping[str, Field] = field(hash=False, default_factory=dict)
    """By the name that Sigma has for a field."""
    rest: str = OTHERS
    """The column of JSON where all other fields are."""

    def field(self, name: str) -> Field:
        """How a field of a rule is read."""
        return self.columns.get(name) or Field(member(self.rest, name), "dynamic")


def rows_of(product: str | None, category: str | None, service: str | None) -> tuple[Rows, ...]:
    """What a log source is. UnmappedError where nothing of it is stored."""
    product, category, service = (text.lower() if text else "" for text in (product, category, service))
    rows = _rows(product, category, service)
    if not rows:
        named = ", ".join(text for text in (product, category, service) if text)
        raise UnmappedError(f"no source gives events of the log source {named}")
    return rows


@cache
def _rows(product: str, category: str, service: str) -> tuple[Rows, ...]:
    if category:
        return tuple(_of_category(product, category))
    if product == "windows":
        return _of_channels(service)
    return tuple(_of_service(product, service))


# Categories: rows of hunting tables


def _of_category(product: str, category: str) -> Iterator[Rows]:
    known = _read()["windows_categories"].get(category) if product == "windows" else None
    if known:
        (rows,) = _of_channels(known["service"])
        events = known["events"] if isinstance(known["events"], list) else [known["events"]]
        condition = f"{rows.condition} and {one_of('EventId', events)}"
        yield Rows(rows.table, (), condition, rows.columns, RECORD)
        return
    kinds = list(kinds_of(category, product))
    if product == "linux" and category in _read()["paths"]:
        # Our own agent's events are of the kinds that Windows has.
        kinds += kinds_of(category, "windows")
    # Sigma's names of fields are Sysmon's, whatever source the rows came from.
    named = [kind for mapping, kind in kinds if mapping.service == "sysmon"] or [kind for _, kind in kinds]
    grouped: dict[tuple[str, tuple[Mapped, ...], tuple[tuple[str, str], ...]], list[Kind]] = {}
    for _, kind in kinds:
        like = next(
            (
                other
                for wanted in ((kind.table, kind.action), (kind.table,))
                for other in named
                if (other.table, other.action)[: len(wanted)] == wanted
            ),
            kind,
        )
        same = (kind.table, kind.action) == (like.table, like.action)
        known = tuple(_known(like)) if same else ()
        grouped.setdefault((kind.table, like.fields, known), []).append(kind)
    path = _read()["paths"].get(category)
    side = {"windows": f'{path} !startswith "/"', "linux": f'{path} startswith "/"'}.get(product)
    for (table, fields, values), some in grouped.items():
        actions = tuple(dict.fromkeys(kind.action for kind in some))
        condition = side if side and path and TABLES[table].has(path) else ""
        columns = _columns(table, fields, with_domain=product != "linux")
        yield Rows(table, actions, condition, columns | {name: Known.of(value) for name, value in values})


def _known(kind: Kind) -> Iterator[tuple[str, str]]:
    """Fields whose values the kind tells: a condition of one value, or of one that is not so."""
    for name, values in kind.when.items():
        if len(values) == 1 and values[0]:
            yield name, values[0]
    for name, values in kind.unless.items():
        if values in (("false",), ("true",)):
            yield name, "true" if values == ("false",) else "false"


def _columns(table: str, fields: Sequence[Mapped], *, with_domain: bool) -> dict[str, Field]:
    """How fields are read. Accounts of Linux are names; a domain that is told is the machine's name."""
    found: dict[str, Field] = dict.fromkeys(("Computer", "ComputerName"), Field("DeviceName"))
    for mapped in fields:
        rest = member(OTHERS, mapped.name)
        if mapped.shape is Shape.HASHES:
            found[mapped.name] = Hashes(rest, "dynamic", mapped.columns)
        elif mapped.shape is Shape.ACCOUNT:
            domain, name = mapped.columns
            found[mapped.name] = Account.of(domain, name) if with_domain else Field(name)
        elif mapped.exact:
            column = mapped.columns[0]
            found[mapped.name] = Field(column, _KINDS.get(_type_of(table, column), "text"))  # type: ignore[arg-type]
    return found


def _type_of(table: str, name: str) -> str:
    return next(column.kusto_type for column in TABLES[table].columns if column.name == name)


# Channels and services: rows of SourceEvents


def _of_system(name: str) -> Field:
    """A field of the record's head: beside the event's own in some forms, under ``System`` in others."""
    return Field(f"coalesce({RECORD}.{name}, {RECORD}.System.{name})", "dynamic")


_WINDOWS = {
    **{name: _of_system(name) for name in ("Keywords", "Level", "Opcode", "Task", "Version")},
    "Data": Unnamed.of(RECORD, "Data"),
    "EventID": Field("EventId", "number"),
    "EventId": Field("EventId", "number"),
    "Provider_Name": Field("Provider"),
    "Channel": Field("Channel"),
    "Computer": Field("DeviceName"),
    "ComputerName": Field("DeviceName"),
}


def _of_channels(service: str) -> tuple[Rows, ...]:
    """Records of a Windows service, or of all channels."""
    if not service:
        return (Rows(SOURCE_EVENTS, (), "isnotempty(Channel)", _WINDOWS, RECORD),)
    channels = _read()["windows_services"].get(service)
    if channels is None:
        return ()
    listed = channels if isinstance(channels, list) else [channels]
    condition = (
        f"Channel =~ {quoted(listed[0])}"
        if len(listed) == 1
        else f"Channel in~ ({', '.join(map(quoted, listed))})"
    )
    return (Rows(SOURCE_EVENTS, (), condition, _WINDOWS, RECORD),)


def _of_service(product: str, service: str) -> Iterator[Rows]:
    """Records of the sources whose product and service they are."""
    if service and (named := _read()["channels"].get(product)):
        condition = f"Source == {quoted(named['source'])} and Channel == {quoted(service)}"
        others = named["fields"].get(service, {}).items()
        columns = {name: Field(member(RECORD, field), "dynamic") for name, field in others}
        yield Rows(SOURCE_EVENTS, (), condition, columns, RECORD)
        return
    sources = [
        mapping.source
        for mapping in load_mappings().values()
        if mapping.product == product and (not service or mapping.service == service)
    ]
    if sources:
        yield Rows(SOURCE_EVENTS, (), one_of("Source", sources), {}, RECORD)


def one_of(column: str, values: Sequence[Any]) -> str:
    """That a column is just one of several values."""
    texts = [str(value) if isinstance(value, int) else quoted(value) for value in values]
    return f"{column} == {texts[0]}" if len(texts) == 1 else f"{column} in ({', '.join(texts)})"


@cache
def _read() -> dict[str, Any]:
    read: dict[str, Any] = read_yaml(Path(__file__).with_name("logsources.yaml"))
    return read
