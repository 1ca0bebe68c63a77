"""Which kinds of events rules ask for at all: rows of other kinds need not be read, let alone searched.

Kinds are told by columns of few values, such as ActionType or Channel and EventId. Of each rule it is taken
what it needs there, and the rest left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shieldwall.detection.streaming.needs import NEVER, All, Anchor, Kind, Need, Not, commonness, is_common
from shieldwall.detection.streaming.texts import END, START
from shieldwall.kql import sql

Place = tuple[str, Kind]
Wanted = Mapping[Place, frozenset[Anchor]]
"""Texts by column."""


def wanted(needs: Iterable[Need]) -> tuple[Wanted, list[Need]]:
    """Texts of which a row has one at least if a rule asks for its kind; and the needs of other rules."""
    anywhere: list[Need] = []
    found: dict[Place, frozenset[Anchor]] = {}
    for need in needs:
        if need == NEVER:
            continue
        kinds = _of_kinds(need)
        if not kinds:
            anywhere.append(need)
            continue
        # One column of a need says enough: the more are asked, the longer is each question.
        place = min(kinds, key=lambda each: commonness(kinds[each]))
        found[place] = found.get(place, frozenset()) | kinds[place]
    return found, anywhere


def condition(needs: Iterable[Need]) -> str:
    """SQL over a row ``q`` that is true of all rows of the kinds that any of the needs asks for."""
    found: dict[str, None] = {}
    for need in needs:
        if need == NEVER:
            continue
        tests = [_test(place, anchors) for place, anchors in _of_kinds(need).items()]
        found[" AND ".join(filter(None, tests)) or "1"] = None
    return f"({' OR '.join(found) or '0'})"


def _test(place: Place, anchors: frozenset[Anchor]) -> str:
    """SQL that is true of rows that have one of the texts as the whole value; nothing where one is less."""
    column, kind = place
    name = f"q.{sql.name(column)}"
    texts = sorted(anchor.literal for anchor in anchors)
    if kind == "number":
        return f"ifNull(toInt64({name}) IN ({', '.join(texts)}), 0)"
    if kind != "text" or not all(text.startswith(START) and text.endswith(END) for text in texts):
        return ""
    values = ", ".join(sql.quote(text.removeprefix(START).removesuffix(END)) for text in texts)
    # What is beyond ASCII may be folded to letters of it.
    return f"(lower({name}) IN ({values}) OR NOT isASCII({name}))"


def _of_kinds(need: Need) -> Wanted:
    """Texts of columns that tell of kinds, of each of which one is there whenever the need is fulfilled."""
    if isinstance(need, Not):
        return {}
    if isinstance(need, Anchor):
        return {(need.column, need.kind): frozenset((need,))} if is_common(need) else {}
    parts = [_of_kinds(part) for part in need.parts]
    if isinstance(need, All):
        found: dict[Place, frozenset[Anchor]] = {}
        for part in parts:
            for place, anchors in part.items():
                if place not in found or len(anchors) < len(found[place]):
                    found[place] = anchors
        return found
    shared = set.intersection(*map(set, parts)) if parts else set()
    return {place: frozenset().union(*(part[place] for part in parts)) for place in shared}
