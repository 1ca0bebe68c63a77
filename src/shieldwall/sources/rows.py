"""From staged records to rows of the hunting tables: each kind of event compiled to one SELECT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from shieldwall.sources.forms.every import FORMS
from shieldwall.sources.mapping import Field, Kind, SourceMapping, load_mappings
from shieldwall.sources.shapes import converted
from shieldwall.telemetry.row_filters import literal
from shieldwall.telemetry.schema import TABLES

INBOUND = "@inbound"
"""In a kind's conditions: whether a network sensor's record is of the machine that was called."""
_EVENTS = 1_000_000
"""More than any event id."""
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
ADDRESSES = {"LocalIP": "LocalIPType", "RemoteIP": "RemoteIPType"}
"""Columns of addresses with those of their types."""


@cache
def numbered() -> Mapping[int, tuple[SourceMapping, Kind]]:
    """Every kind of every source by its number in staged records; 0 stands for none."""
    every = [(mapping, kind) for mapping in load_mappings().values() for kind in mapping.kinds]
    return dict(enumerate(every, 1))


def candidate(form: str) -> str:
    """SQL over ``channel`` and ``event``: the number of the first kind of a form that might fit."""
    keys = {key: found[0][0] for key, found in _by_key(form).items()}
    if not keys:
        return "0"
    # Channels are few, and numbers quickly looked up: no text is made for each record.
    channels = {
        channel: place for place, channel in enumerate(dict.fromkeys(channel for channel, _ in keys), 1)
    }
    place = f"transform(lower(channel), [{', '.join(map(literal, channels))}], {list(channels.values())}, 0)"
    numbers = [channels[channel] * _EVENTS + (event or 0) for channel, event in keys]
    with_event = any(event is not None for _, event in keys)
    told = (
        f"if(event BETWEEN 0 AND {_EVENTS - 1}, assumeNotNull(event), {_EVENTS - 1})" if with_event else "0"
    )
    return f"transform(toInt64({place}) * {_EVENTS} + {told}, {numbers}, {list(keys.values())}, 0)"


def kind_number(form: str) -> str:
    """SQL over ``candidate`` and ``data``: the number of the first kind that does fit."""
    chosen = {
        found[0][0]: ", ".join(f"{_fits(kind)}, {number}" for number, kind in found)
        for found in _by_key(form).values()
        if any(kind.when or kind.unless for _, kind in found)
    }
    if not chosen:
        return "candidate"
    tried = ", ".join(f"candidate = {number}, multiIf({tries}, 0)" for number, tries in chosen.items())
    return f"multiIf({tried}, candidate)"


def hunting_rows(numbers: Sequence[int], staged: str, group_id: int) -> tuple[list[str], str]:
    """Columns, and the SELECT of the rows that staged records of these kinds, all of one table, become.

    Before these columns the SELECT has those that every row has.
    """
    kinds = [(number, *numbered()[number]) for number in numbers]
    table = TABLES[kinds[0][2].table]
    filled: dict[str, None] = {}
    made = [(number, _columns(mapping, kind)) for number, mapping, kind in kinds]
    for _, columns in made:
        filled |= dict.fromkeys(columns)
    types = {column.name: column.clickhouse_type for column in table.columns}
    selects = []
    for number, columns in made:
        values = ", ".join(f"{columns.get(name, _nothing(types[name]))} AS `{name}`" for name in filled)
        _, kind = numbered()[number]
        selects.append(
            f"SELECT tenant, now64(3), {group_id}, time, device, name, device_group, report, {values}\n"
            f"FROM (SELECT *, JSONExtract(data, {literal(_tuple(_tree(kind)))}) AS f\n"
            f"FROM {staged} WHERE kind = {number})"
        )
    return list(filled), "\nUNION ALL\n".join(selects)


def _by_key(form: str) -> dict[tuple[str, int | None], list[tuple[int, Kind]]]:
    """Kinds with their numbers by channel, in lower case, and event id, None where any will do."""
    groups: dict[tuple[str, int | None], list[tuple[int, Kind]]] = {}
    for number, (mapping, kind) in numbered().items():
        if mapping.form == form:
            for channel in kind.channels:
                for event in kind.events or (None,):
                    groups.setdefault((channel.lower(), event), []).append((number, kind))
    return groups


def _fits(kind: Kind) -> str:
    """SQL over ``data`` of a kind's conditions."""
    conditions = [
        f"{_value(name)} IN ({', '.join(literal(value.lower()) for value in values)})"
        for name, values in kind.when.items()
    ] + [
        f"{_value(name)} NOT IN ({', '.join(literal(value.lower()) for value in values)})"
        for name, values in kind.unless.items()
    ]
    return " AND ".join(conditions) or "true"


def _value(name: str) -> str:
    if name == INBOUND:
        return "toString(inbound)"
    path = ", ".join(literal(part) for part in name.split("/"))
    return f"lower(JSONExtract(data, {path}, 'String'))"


def _columns(mapping: SourceMapping, kind: Kind) -> dict[str, str]:
    """The SQL of each column that the kind fills, over the tuple ``f`` of its fields' texts."""
    table = TABLES[kind.table]
    types = {column.name: column.clickhouse_type for column in table.columns}
    found: dict[str, list[tuple[str, str]]] = {}
    for field in kind.fields:
        text = _text(field)
        for column, value in converted(field.shape, field.columns, text, types):
            found.setdefault(column, []).append((text, value))
    columns = {name: _first(values) for name, values in found.items()}
    for name, text in kind.constants.items():
        columns[name] = f"CAST({literal(text)}, {literal(types[name])})"
    columns["ActionType"] = literal(kind.action)
    columns["AdditionalFields"] = _additional_fields(mapping, kind)
    for address, kind_of in ADDRESSES.items():
        if address in columns and kind_of in types:
            columns[kind_of] = _address_type(columns[address])
    return columns


def _first(values: list[tuple[str, str]]) -> str:
    """The value of the first field that is there, where several fill one column."""
    if len(values) == 1:
        return values[0][1]
    *others, last = values
    tried = (f"{text} NOT IN ('', '-'), {value}" for text, value in others)
    return f"multiIf({', '.join(tried)}, {last[1]})"


def _text(field: Field) -> str:
    parts = ["f" + "".join(f".`{part}`" for part in name.split("/")) for name in field.names]
    joined = ", ' ', ".join(parts)
    return f"trimBoth(concat({joined}))" if len(parts) > 1 else joined


def _tree(kind: Kind) -> dict[str, Any]:
    """The fields as a tree of nested objects, with None at the ends."""
    tree: dict[str, Any] = {}
    for name in (name for field in kind.fields for name in field.names):
        *above, last = name.split("/")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = None
    return tree


def _tuple(tree: dict[str, Any]) -> str:
    """The ClickHouse type of such a tree; a kind without fields has one that is never there."""
    parts = [f"`{name}` {'String' if below is None else _tuple(below)}" for name, below in tree.items()]
    return f"Tuple({', '.join(parts or ['`-` String'])})"


def _nothing(kind: str) -> str:
    return "''" if "String" in kind else f"CAST(NULL, {literal(kind)})"


def _additional_fields(mapping: SourceMapping, kind: Kind) -> str:
    """The source and the event id, and what the columns do not hold."""
    held = [field.name for field in kind.fields if field.exact and "/" not in field.name]
    left_out = [*held, *FORMS[mapping.form].envelope, "EventID"]
    others = (
        f"arrayFilter(p -> p.1 NOT IN ({', '.join(map(literal, left_out))}), "
        "JSONExtractKeysAndValuesRaw(data))"
    )
    start = literal('{"Source":"' + mapping.source + '"')
    event = "concat(',\"EventID\":', toString(event)), " if kind.events else ""
    return (
        f"concat({start}, {event}"
        f"arrayStringConcat(arrayMap(p -> concat(',', toJSONString(p.1), ':', p.2), {others})), '}}')"
    )


def _address_type(address: str) -> str:
    """The documented kind of an address, as agents tell it."""
    address = f"if({address} LIKE '::ffff:%.%', substring({address}, 8), {address})"

    def within(*ranges: str) -> str:
        return " OR ".join(f"isIPAddressInRange(a, '{range_}')" for range_ in ranges)

    return (
        f"arrayElement(arrayMap(a -> multiIf(NOT isIPv4String(a) AND NOT isIPv6String(a), '', "
        f"{within('127.0.0.0/8', '::1/128')}, 'Loopback', "
        f"{within('224.0.0.0/4', '255.255.255.255/32', 'ff00::/8')}, 'Broadcast', "
        f"{within(*_PRIVATE)}, 'Private', "
        f"{within('240.0.0.0/4', '0.0.0.0/8', '::/128')}, 'Reserved', 'Public'), [{address}]), 1)"
    )


def kinds_by_table(numbers: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """The kinds that are there, by the table that takes them."""
    tables: dict[str, list[int]] = {}
    for number in numbers:
        if number:
            tables.setdefault(numbered()[number][1].table, []).append(number)
    yield from tables.items()
