"""What every form tells, as SQL over a raw JSON ``line``: a record's common columns and its data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """SQL expressions over ``line`` and over the tuple ``h`` that ``head`` extracts from it.

    Records of one kind of sensor come in several spellings; the form tells them apart line by line.
    """

    head: str
    """Elements of the tuple, read in one pass; keys that a line lacks are empty texts."""
    time: str
    """Nullable(DateTime64(7, 'UTC'))."""
    host: str
    """The machine that the record is of; where empty, the batch's own word for it counts."""
    channel: str
    data: str
    """The event's own fields as text of a JSON object."""
    inner: tuple[str, str] | None = None
    """An object in ``h`` that is read on as the tuple ``s``, and its elements."""
    rest: str = "''"
    """What else the record says, as text of a JSON object; goes to EventData as ``System``."""
    event: str = "CAST(NULL, 'Nullable(Int64)')"
    provider: str = "''"
    address: str = "''"
    """For sensors on the network: the address of the machine that the record is of."""
    inbound: str = "false"
    """And whether that machine was the one called."""
    envelope: tuple[str, ...] = ()
    """Fields of ``data`` that tell of the record's transport, and so go to no hunting table."""
    platform: str = "Linux"
    """The OS of a machine that is known by such records only."""


def texts(*names: str) -> str:
    """Elements of a head for keys at the top whose values are taken as text."""
    return ", ".join(f"`{name}` String" for name in names)


def time_of(text: str) -> str:
    """The time that a text says; UTC unless it says otherwise."""
    return f"parseDateTime64BestEffortOrNull({text}, 7, 'UTC')"


def seconds(text: str) -> str:
    """The time of seconds since 1970, written with or without a fraction."""
    return f"if(match({text}, '^\\\\d{{1,11}}(\\\\.\\\\d+)?$'), toDateTime64OrNull({text}, 7, 'UTC'), NULL)"


def first(*values: str) -> str:
    """The first text that is not empty."""
    *others, last = values
    return f"multiIf({', '.join(f'notEmpty({text}), {text}' for text in others)}, {last})" if others else last


def starts_object(text: str) -> str:
    return f"startsWith({text}, '{{')"


def written(pairs: str) -> str:
    """The members of a JSON object from an array of pairs of key and raw value."""
    return f"arrayStringConcat(arrayMap(p -> concat(toJSONString(p.1), ':', p.2), {pairs}), ',')"


def members(*path: str, without: tuple[str, ...]) -> str:
    """The members of the object at ``path`` of the line, some left out."""
    where = "".join(f", '{key}'" for key in path)
    names = ", ".join(f"'{name}'" for name in without)
    return written(f"arrayFilter(p -> p.1 NOT IN ({names}), JSONExtractKeysAndValuesRaw(line{where}))")
