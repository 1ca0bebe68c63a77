"""What a row must hold for a condition to be true of it: texts in its columns, joined by and/or.

A need may be weaker than its condition, never stronger: whoever finds it fulfilled asks the condition itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "json", "number"]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A text that a column must hold, as it is searched: see `texts`.

    A ``text`` column is searched as it stands, a ``json`` one in the JSON as ClickHouse writes it, and a
    ``number`` is the whole value.
    """

    column: str
    kind: Kind
    literal: str


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """That what ``part`` says is not so. Its anchors are there just where what they stand for is true."""

    part: Need


Need = Anchor | All | AnyOf | Not
NOTHING = All(())
"""What every row fulfils."""
NEVER = AnyOf(())
"""What no row fulfils."""


def all_of(parts: Iterable[Need]) -> Need:
    kept: dict[Need, None] = {}
    for part in parts:
        if part == NEVER:
            return NEVER
        for item in part.parts if isinstance(part, All) else (part,):
            kept[item] = None
    return next(iter(kept)) if len(kept) == 1 else All(tuple(kept))


def any_of(parts: Iterable[Need]) -> Need:
    kept: dict[Need, None] = {}
    for part in parts:
        if part == NOTHING:
            return NOTHING
        for item in part.parts if isinstance(part, AnyOf) else (part,):
            kept[item] = None
    return next(iter(kept)) if len(kept) == 1 else AnyOf(tuple(kept))


def negated(sure: Need) -> Need:
    """The need of the opposite of what is true at least where ``sure`` is fulfilled."""
    return NOTHING if sure == NEVER else Not(sure)


def anchors(need: Need) -> Iterator[Anchor]:
    if isinstance(need, Anchor):
        yield need
        return
    if isinstance(need, Not):
        yield from anchors(need.part)
        return
    for part in need.parts:
        yield from anchors(part)


def trigger(need: Need) -> frozenset[Anchor] | None:
    """Anchors of which one is there whenever the need is fulfilled, rarest first; None if none is known."""
    if isinstance(need, Anchor):
        return frozenset((need,))
    if isinstance(need, Not):
        return None
    found = [trigger(part) for part in need.parts]
    known = [item for item in found if item is not None]
    if isinstance(need, All):
        return min(known, key=commonness, default=None)
    return frozenset().union(*known) if len(known) == len(found) else None


def commonness(found: Collection[Anchor]) -> float:
    """How many rows have one of the texts, as a guess: longer texts are rarer, and kinds of events common."""
    return sum(
        _COMMON.get(item.column, 0.01) if is_common(item) else 1.0 / len(item.literal) ** 3 for item in found
    )


def is_common(item: Anchor) -> bool:
    """Whether it is of a kind of events, rather than of what happened in them."""
    return item.kind == "number" or item.column in _COMMON


_COMMON = {
    **dict.fromkeys(("ActionType", "Channel", "Provider"), 1.0),
    **dict.fromkeys(("Source", "DeviceName", "MachineGroup"), 10.0),
}
"""Columns of few values, each in many rows, and how much they tell."""


def to_data(need: Need) -> object:
    """As JSON can hold it."""
    if isinstance(need, Anchor):
        return [need.column, need.kind, need.literal]
    if isinstance(need, Not):
        return {"not": [to_data(need.part)]}
    return {"all" if isinstance(need, All) else "any": [to_data(part) for part in need.parts]}


def from_data(data: object) -> Need:
    if isinstance(data, list):
        return Anchor(*data)
    assert isinstance(data, dict)
    ((name, parts),) = data.items()
    if name == "not":
        return Not(from_data(parts[0]))
    return (All if name == "all" else AnyOf)(tuple(from_data(part) for part in parts))
