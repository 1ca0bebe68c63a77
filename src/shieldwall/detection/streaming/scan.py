"""One look at a table for the texts of all its rules: which rules may find which rows.

vectorscan, inside ClickHouse, looks for thousands of texts in about the time that it takes for one. On
100,000 command lines of 150 bytes, one thread: 0.1 s for 3,000 texts and 0.2 s for 6,000, where
multiSearchAllPositions takes 20 s for 3,000. Compiling 6,000 texts takes 0.15 s, once; with patterns that
ignore case it would be 1.8 s, which is why the column is put into lower case instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from shieldwall.detection.streaming import kinds
from shieldwall.detection.streaming.compiling import CompiledRule
from shieldwall.detection.streaming.kinds import Place
from shieldwall.detection.streaming.needles import Needles
from shieldwall.detection.streaming.needs import All, Anchor, Need, Not, anchors, is_common, trigger
from shieldwall.detection.streaming.texts import MARKS, SPECIAL, is_told, searched
from shieldwall.kql import sql
from shieldwall.kql.operations import quote_pattern
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import TABLES, Table

KEY_COLUMNS = ("DeviceId", "Timestamp", "ReportId")
RECENT = 256
"""Texts beside those that were compiled together before all are compiled anew."""
LISTED = 100
"""More numbers than these take longer to be read than what they would spare."""
REMEMBERED = 50_000
"""Sets of texts of which it is remembered what they mean."""

_Rows = Literal["kinds", "others", "all"]
Texts = tuple[tuple[str, ...], ...]
"""What is looked for in a column, in sets that are compiled each as one."""
Found = tuple[tuple[int, ...], ...]
"""For each set of each column, the numbers of the texts in it that a row has."""


class TableScan:
    """The rules of one table, by number, and the texts that lead to them.

    ``before`` is the scan that this one takes the place of: what is compiled for it is used again. ``turns``
    has, for sets of texts, by how many places they are turned.
    """

    def __init__(
        self,
        table: str,
        rules: Sequence[CompiledRule],
        before: TableScan | None = None,
        turns: Mapping[tuple[str, ...], int] | None = None,
    ) -> None:
        self.table = table
        self.rules = tuple(rules)
        self._turns: dict[tuple[str, ...], int] = dict(turns or (before._turns if before is not None else {}))
        wanted: dict[Place, set[str]] = {}
        for rule in self.rules:
            for anchor in anchors(rule.need):
                wanted.setdefault((anchor.column, anchor.kind), set()).add(anchor.literal)
        old = before.texts if before is not None else {}
        self.texts: dict[Place, Texts] = {
            place: _packed(old.get(place, ()), texts if place[1] == "number" else texts | {*SPECIAL})
            for place, texts in sorted(wanted.items())
        }
        self._numbers = {
            anchor: number
            for number, anchor in enumerate(
                dict.fromkeys(
                    Anchor(*place, text)
                    for place, sets in self.texts.items()
                    for texts in sets
                    for text in texts
                )
            )
        }
        self._kinds, self._anywhere = kinds.wanted(rule.need for rule in self.rules)
        self._searches = list(self._all_searches())
        self._sets = [
            tuple(self._numbers[Anchor(*search.place, text)] for text in search.turned)
            for search in self._searches
        ]
        self._unsure = {
            number: {self._numbers[Anchor(*place, other)] for others in self.texts[place] for other in others}
            for place in self.texts
            for text in SPECIAL
            if (number := self._numbers.get(Anchor(*place, text))) is not None
        }
        """Texts with which all others of their column may be there, differently written."""
        self._needs = [self._numbered(rule.need) for rule in self.rules]
        self._by_trigger: dict[int, list[int]] = {}
        self.always: tuple[int, ...] = ()
        """Rules that any row may be found by."""
        for number, rule in enumerate(self.rules):
            found = trigger(rule.need)
            if found is None:
                self.always += (number,)
                continue
            for anchor in found:
                self._by_trigger.setdefault(self._numbers[anchor], []).append(number)
        self._remembered: dict[Found, tuple[int, ...]] = {}

    @property
    def needles(self) -> list[Needles]:
        """Texts that are kept in tables, without which no statement can be run."""
        return [search.needles for search in self._searches if search.is_kept]

    def turned(self, place: int) -> TableScan:
        """The same with the texts of one search in another order."""
        search = self._searches[place]
        return TableScan(self.table, self.rules, self, self._turns | {search.texts: search.turn + 1})

    def each_search(self) -> list[str]:
        """SQL of each search, over no rows."""
        none = f"FROM {DATABASE}.{self.table} AS q WHERE 0"
        return [f"SELECT {search.expression} {none}" for search in self._searches]

    def _all_searches(self) -> Iterator[_Search]:
        """What is searched for: of rows of kinds that rules ask for all, of others what is of any kind."""
        wanted: dict[Place, set[str]] = {}
        for need in self._anywhere:
            for anchor in anchors(need):
                wanted.setdefault((anchor.column, anchor.kind), set()).add(anchor.literal)
        for place, sets in self.texts.items():
            apart = bool(self._anywhere and self._kinds) and not is_common(Anchor(*place, ""))
            for texts in sets:
                yield self._search(place, texts, "kinds" if apart else "all")
            if apart and place in wanted:
                texts = tuple(sorted(wanted[place] if place[1] == "number" else wanted[place] | {*SPECIAL}))
                yield self._search(place, texts, "others")

    def _search(self, place: Place, texts: tuple[str, ...], rows: _Rows) -> _Search:
        return _Search(place, texts, rows, self._turns.get(texts, 0))

    def statement(self, where: str) -> str:
        """SQL that gives the keys of rows under ``where`` for each tenant and set of texts that they have."""
        names = [f"s{place}" for place in range(len(self._searches))]
        some = "" if self.always else f" WHERE {self._leading}"
        if not self._anywhere:
            legs = [self._leg("kinds", where, self._of_kinds)]
        elif not self._kinds:
            legs = [self._leg("all", where, "1")]
        else:
            legs = [
                self._leg("kinds", where, self._of_kinds),
                self._leg("others", where, f"NOT {self._of_kinds}"),
            ]
        return (
            f"SELECT toString(TenantId), {', '.join(['groupArray(k)', *names])} "
            f"FROM ({' UNION ALL '.join(legs)}){some} GROUP BY {', '.join(['TenantId', *names])}"
        )

    @cached_property
    def _leading(self) -> str:
        """SQL that is true of rows with a text that leads to a rule, and of few others."""
        parts = []
        for name, numbers in enumerate(self._sets):
            leading = [
                str(place)
                for place, number in enumerate(numbers, 1)
                if number in self._by_trigger or number in self._unsure
            ]
            if leading:
                few = len(leading) < min(LISTED, len(numbers))
                parts.append(f"hasAny(s{name}, [{', '.join(leading)}])" if few else f"notEmpty(s{name})")
        return " OR ".join(parts) or "0"

    def _leg(self, rows: str, where: str, of_kinds: str) -> str:
        """SQL of what is searched for in these rows.

        What tells of kinds is found first, in a SELECT of its own: each of its names in the condition would
        be read as all that it stands for.
        """
        first: list[str] = []
        then: list[str] = []
        for place, search in enumerate(self._searches):
            name = f"s{place}"
            found = f"arraySort({search.expression}) AS {name}"
            if search.of_kinds:
                first.append(found)
                then.append(name)
            else:
                then.append(found if search.rows in (rows, "all") else f"emptyArrayUInt64() AS {name}")
        return (
            f"SELECT {', '.join(['TenantId', f'{row_key(TABLES[self.table])} AS k', *then])} "
            f"FROM (SELECT {', '.join([*self._columns, *first])} "
            f"FROM {DATABASE}.{self.table} AS q WHERE {where}) AS q "
            f"WHERE {of_kinds}"
        )

    @cached_property
    def _columns(self) -> list[str]:
        """The columns that are read: of tables that have a hundred, to name all takes a while."""
        keys = [name for name in KEY_COLUMNS if TABLES[self.table].has(name)]
        searched = [search.place[0] for search in self._searches]
        return [sql.name(name) for name in dict.fromkeys(("TenantId", *keys, *searched))]

    @cached_property
    def _of_kinds(self) -> str:
        """SQL that is true of rows of the kinds that rules ask for."""
        parts = [
            self._one_of(place, {anchor.literal for anchor in found}) for place, found in self._kinds.items()
        ]
        return f"({' OR '.join(parts) or 'false'})"

    def _one_of(self, place: Place, texts: set[str]) -> str:
        """SQL that is true of rows with one of the texts, or with a character that may stand for others."""
        parts = []
        for number, search in enumerate(self._searches):
            if search.place == place:
                found = [
                    str(at) for at, text in enumerate(search.turned, 1) if text in texts or text in SPECIAL
                ]
                parts.append(f"hasAny(s{number}, [{', '.join(found)}])" if found else "false")
        return f"({' OR '.join(parts)})"

    def candidates(self, found: Found) -> tuple[int, ...]:
        """The rules that may find a row with these texts."""
        known = self._remembered.get(found)
        if known is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            known = self._remembered[found] = self._candidates(found)
        return known

    def _candidates(self, found: Found) -> tuple[int, ...]:
        present = {
            numbers[place - 1] for numbers, places in zip(self._sets, found, strict=True) for place in places
        }
        possible = present
        for number in present & self._unsure.keys():
            possible = possible | self._unsure[number]
        rules = {rule for number in possible for rule in self._by_trigger.get(number, ())}
        rules.update(self.always)
        return tuple(sorted(rule for rule in rules if _fulfilled(self._needs[rule], possible, present)))

    def _numbered(self, need: Need) -> _Numbered:
        if isinstance(need, Anchor):
            return self._numbers[need]
        if isinstance(need, Not):
            return _Without(self._numbered(need.part))
        parts = [self._numbered(part) for part in need.parts]
        if isinstance(need, All):
            return tuple(parts)
        plain = frozenset(part for part in parts if isinstance(part, int))
        return _Either(plain, tuple(part for part in parts if not isinstance(part, int)))


@dataclass(frozen=True)
class _Search:
    """Texts that are searched for in a column, of rows of the kinds that rules ask for, of others, or all."""

    place: Place
    texts: tuple[str, ...]
    rows: _Rows
    turn: int = 0

    @cached_property
    def turned(self) -> tuple[str, ...]:
        """The texts in the order in which they are searched."""
        at = self.turn % max(1, len(self.texts))
        return self.texts[at:] + self.texts[:at]

    @property
    def of_kinds(self) -> bool:
        """Whether it tells of what kind a row is."""
        return is_common(Anchor(*self.place, ""))

    @property
    def is_kept(self) -> bool:
        return self.place[1] != "number" and self.needles.is_kept

    @cached_property
    def needles(self) -> Needles:
        return Needles(tuple(map(quote_pattern, self.turned)))

    @cached_property
    def expression(self) -> str:
        """SQL of the numbers of the texts that are there, from 1."""
        column, kind = self.place
        name = f"q.{sql.name(column)}"
        if kind == "number":
            places = ", ".join(map(str, range(1, len(self.turned) + 1)))
            place = f"transform(ifNull(toInt64({name}), 0), [{', '.join(self.turned)}], [{places}], 0)"
            return f"if(isNotNull({name}) AND {place} > 0, [toUInt64({place})], [])"
        told = all(text in SPECIAL or is_told(text) for text in self.texts)
        marks = any(mark in text for text in self.texts for mark in MARKS)
        text = searched(name, json=kind == "json", told=told, marks=marks)
        return f"multiMatchAllIndices({text}, {self.needles.expression})"


@dataclass(frozen=True, slots=True)
class _Either:
    plain: frozenset[int]
    parts: tuple[_Numbered, ...]


@dataclass(frozen=True, slots=True)
class _Without:
    part: _Numbered


_Numbered = int | tuple["_Numbered", ...] | _Either | _Without
"""A need by the numbers of its anchors; a tuple is of parts that must all be fulfilled."""


def _fulfilled(need: _Numbered, possible: set[int], present: set[int]) -> bool:
    """Whether a row may fulfil a need, of which the texts of ``present`` are there for sure."""
    if isinstance(need, int):
        return need in possible
    if isinstance(need, tuple):
        return all(_fulfilled(part, possible, present) for part in need)
    if isinstance(need, _Without):
        return not _fulfilled(need.part, present, present)
    return not need.plain.isdisjoint(possible) or any(
        _fulfilled(part, possible, present) for part in need.parts
    )


def _packed(before: Texts, wanted: set[str]) -> Texts:
    """The texts in sets, of which large ones stay as they were while few texts come and go."""
    present = {text for texts in before for text in texts}
    fresh = wanted - present
    if before and len(present - wanted) <= len(wanted):
        recent = (*(before[1] if len(before) > 1 else ()), *sorted(fresh))
        if len(recent) <= RECENT:
            return (before[0], recent) if recent else (before[0],)
    return (tuple(sorted(wanted)),)


def row_key(table: Table) -> str:
    """SQL of what tells rows of a table apart, nearly: rows with the same key are looked at together."""
    kinds_of = {column.name: column.kusto_type for column in table.columns}
    parts = ["q.TenantId"]
    for name in KEY_COLUMNS:
        if name in kinds_of:
            parts.append(f"ifNull(q.{name}, 0)" if kinds_of[name] == "long" else f"q.{name}")
    return f"cityHash64({', '.join(parts)})"


def scans(
    rules: Iterable[CompiledRule], before: Mapping[str, TableScan] | None = None
) -> dict[str, TableScan]:
    """A scan for each table that rules read."""
    by_table: dict[str, list[CompiledRule]] = {}
    for rule in rules:
        by_table.setdefault(rule.table, []).append(rule)
    return {name: TableScan(name, found, (before or {}).get(name)) for name, found in by_table.items()}
