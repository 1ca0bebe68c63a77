"""Which kinds of events rules ask for at all: rows of other kinds need not be read, let alone searched.

Kinds are told by columns of few values, such as ActionType or Channel and EventId. Of each rule it is taken
what it needs there, and the rest left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from shieldwall.detection.streaming.needs import NEVER, All, Anchor, Kind, Need, Not, is_common

Place = tuple[str, Kind]
Wanted = dict[Place, frozenset[Anchor]]
"""By column the texts of which one must be there; columns that are not in it may hold anything."""


def wanted(needs: Iterable[Need]) -> tuple[list[Wanted], list[Need]]:
    """What rows need there for rules that ask for kinds, one or the other; and the needs of other rules."""
    anywhere: list[Need] = []
    terms: dict[tuple[Place, ...], set[frozenset[tuple[Place, frozenset[Anchor]]]]] = {}
    for need in needs:
        if need == NEVER:
            continue
        found = _of_kinds(need)
        if not found:
            anywhere.append(need)
            continue
        terms.setdefault(tuple(sorted(found)), set()).add(frozenset(found.items()))
    return [term for places, some in terms.items() for term in _merged(places, some)], anywhere


def _of_kinds(need: Need) -> Wanted:
    if isinstance(need, Not):
        return {}
    if isinstance(need, Anchor):
        return {(need.column, need.kind): frozenset((need,))} if is_common(need) else {}
    parts = [_of_kinds(part) for part in need.parts]
    if isinstance(need, All):
        found: Wanted = {}
        for part in parts:
            for place, anchors in part.items():
                if place not in found or len(anchors) < len(found[place]):
                    found[place] = anchors
        return found
    shared = set.intersection(*map(set, parts)) if parts else set()
    return {place: frozenset().union(*(part[place] for part in parts)) for place in shared}


def _merged(
    places: tuple[Place, ...], terms: Iterable[frozenset[tuple[Place, frozenset[Anchor]]]]
) -> list[Wanted]:
    """Terms that differ in the last column only made one."""
    *first, last = places
    merged: dict[tuple[frozenset[Anchor], ...], frozenset[Anchor]] = {}
    for term in map(dict, terms):
        key = tuple(term[place] for place in first)
        merged[key] = merged.get(key, frozenset()) | term[last]
    return [{**dict(zip(first, key, strict=True)), last: anchors} for key, anchors in merged.items()]
