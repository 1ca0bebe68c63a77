"""Tabular expressions as nodes that become SELECTs; only the columns that are asked for are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shieldwall.kql import sql

INDENT = "  "


@dataclass(eq=False, slots=True)
class Column:
    """A column of a relation: SQL over the columns ``deps`` of the relation's inputs."""

    name: str
    type: str
    sql: str = ""
    deps: frozenset[Column] = frozenset()
    plain: bool = False
    """Whether it is just a column of the input, passed on."""
    indexed: bool = False
    """Whether a text index over lower-case terms lies on it."""
    value: Any = None
    """The Value that it holds, for expressions that are put into the same SELECT."""


@dataclass(eq=False, slots=True)
class SortKey:
    """What a relation is sorted by."""

    sql: str
    deps: frozenset[Column]
    descending: bool
    nulls_first: bool
    type: str = ""

    def text(self) -> str:
        way = "DESC" if self.descending else "ASC"
        return f"{self.sql} {way} NULLS {'FIRST' if self.nulls_first else 'LAST'}"


@dataclass(eq=False, slots=True)
class Condition:
    sql: str
    deps: frozenset[Column]


@dataclass(eq=False)
class Relation:
    """Rows with these columns, in this order."""

    columns: list[Column]
    needed: set[Column] = field(default_factory=set, init=False)
    uses: int = field(default=0, init=False)

    def inputs(self) -> Sequence[Relation]:
        return ()

    def require(self, columns: Iterable[Column]) -> None:
        """Note that these columns are read, here and in what they come from."""
        fresh = set(columns) - self.needed
        first = not self.uses
        self.uses += 1
        if not (fresh or first):
            # What is read twice at every level would be gone through twice as often at each.
            return
        self.needed |= fresh
        wanted = self.wanted(fresh, first=first)
        for relation in self.inputs():
            relation.require(column for column in wanted if relation.owns(column))

    def wanted(self, fresh: set[Column], *, first: bool) -> set[Column]:
        return {dep for column in fresh for dep in column.deps}

    def owns(self, column: Column) -> bool:
        return column in self.columns

    def text(self, depth: int = 0) -> str:
        """The SELECT."""
        raise NotImplementedError

    def source(self, alias: str, depth: int) -> str:
        """What stands behind FROM."""
        pad = INDENT * depth
        return f"(\n{self.text(depth + 1)}\n{pad}) AS {alias}"


@dataclass(eq=False)
class Table(Relation):
    """A stored table."""

    table: str

    def text(self, depth: int = 0) -> str:
        pad = INDENT * depth
        names = ", ".join(
            f"{column.sql} AS {sql.name(column.name)}" if column.sql else sql.name(column.name)
            for column in self.columns
            if column in self.needed
        )
        return f"{pad}SELECT {names or '1'} FROM {self.table}"

    def source(self, alias: str, depth: int) -> str:
        if any(column.sql and column in self.needed for column in self.columns):
            return super().source(alias, depth)
        return f"{self.table} AS {alias}"


@dataclass(eq=False)
class Raw(Relation):
    """A FROM item written out, such as constant rows; its columns need nothing."""

    item: str

    def text(self, depth: int = 0) -> str:
        return f"{INDENT * depth}SELECT * FROM {self.item}"

    def source(self, alias: str, depth: int) -> str:
        return f"{self.item} AS {alias}"


@dataclass(eq=False)
class Select(Relation):
    """One SELECT over one input, or over nothing."""

    over: Relation | None
    where: list[Condition] = field(default_factory=list)
    grouped: bool = False
    keys: list[Column] = field(default_factory=list)
    order: list[SortKey] = field(default_factory=list)
    limit: int | None = None
    arrays: list[Column] = field(default_factory=list)
    """Arrays that rows are repeated for; their names hold one element."""
    hidden: list[Column] = field(default_factory=list)
    """Columns behind those that can be named."""
    distinct: bool = False
    limit_by: tuple[int, list[Column]] | None = None
    windows: bool = False
    """Whether a column is computed over other rows, so that no condition may be put below it."""

    @property
    def open(self) -> bool:
        """Whether conditions and columns may still be added without changing what others mean."""
        return not (
            self.grouped
            or self.limit is not None
            or self.limit_by
            or self.distinct
            or self.arrays
            or self.windows
        )

    def inputs(self) -> Sequence[Relation]:
        return (self.over,) if self.over else ()

    def owns(self, column: Column) -> bool:
        return column in self.columns or column in self.hidden

    def wanted(self, fresh: set[Column], *, first: bool) -> set[Column]:
        found = {dep for column in fresh for dep in column.deps}
        if first:
            parts: tuple[Condition | SortKey | Column, ...] = (
                *self.where,
                *self.order,
                *self.keys,
                *self.arrays,
            )
            for part in parts:
                found |= part.deps
            if self.distinct:
                found |= {dep for column in self.columns for dep in column.deps}
            if self.limit_by:
                found |= {dep for column in self.limit_by[1] for dep in column.deps}
        return found

    def text(self, depth: int = 0) -> str:
        pad = INDENT * depth
        shown = [
            column
            for column in (*self.columns, *self.hidden)
            if column in self.needed or (self.distinct and column in self.columns)
        ]
        items = ", ".join(_item(column) for column in shown) or "1"
        lines = [f"{pad}SELECT {'DISTINCT ' if self.distinct else ''}{items}"]
        if self.over:
            lines.append(f"{pad}FROM {self.over.source('q', depth)}")
        if self.arrays:
            joined = ", ".join(f"{column.sql} AS {sql.name(column.name)}" for column in self.arrays)
            lines.append(f"{pad}ARRAY JOIN {joined}")
        if self.where:
            lines.append(f"{pad}WHERE " + f"\n{pad}  AND ".join(part.sql for part in self.where))
        if self.grouped and self.keys:
            lines.append(f"{pad}GROUP BY " + ", ".join(column.sql for column in self.keys))
        elif self.grouped and not any(column in shown for column in self.columns if column not in self.keys):
            lines.append(f"{pad}HAVING count() >= 0")
        if self.order:
            lines.append(f"{pad}ORDER BY " + ", ".join(key.text() for key in self.order))
        if self.limit_by:
            names = ", ".join(column.sql for column in self.limit_by[1])
            lines.append(f"{pad}LIMIT {self.limit_by[0]} BY {names}")
        if self.limit is not None:
            lines.append(f"{pad}LIMIT {self.limit}")
        return "\n".join(lines)


def _item(column: Column) -> str:
    return f"{column.sql} AS {sql.name(column.name)}"


@dataclass(eq=False)
class Join(Relation):
    """A join; its columns read from aliases l and r."""

    left: Relation
    right: Relation
    kind: str
    """In SQL, such as ``LEFT ANY JOIN``."""
    on: list[Condition]
    first: Select | None = None
    """The side that conditions over the join may be put into, if there is one."""

    def inputs(self) -> Sequence[Relation]:
        return (self.left, self.right)

    def wanted(self, fresh: set[Column], *, first: bool) -> set[Column]:
        found = {dep for column in fresh for dep in column.deps}
        return found | {dep for part in self.on for dep in part.deps} if first else found

    def text(self, depth: int = 0) -> str:
        pad = INDENT * depth
        items = ", ".join(_item(column) for column in self.columns if column in self.needed) or "1"
        on = f"\n{pad}  ON " + " AND ".join(part.sql for part in self.on) if self.on else ""
        return (
            f"{pad}SELECT {items}\n{pad}FROM {self.left.source('l', depth)}\n"
            f"{pad}{self.kind} {self.right.source('r', depth)}{on}"
        )


@dataclass(eq=False)
class Union(Relation):
    """Rows of all legs. Each leg has a column for each of ours, at the same place."""

    legs: list[Relation]

    def inputs(self) -> Sequence[Relation]:
        return self.legs

    def require(self, columns: Iterable[Column]) -> None:
        fresh = set(columns) - self.needed
        self.uses += 1
        if not fresh and self.uses > 1:
            return
        self.needed |= fresh
        places = [place for place, column in enumerate(self.columns) if column in fresh]
        for leg in self.legs:
            leg.require(leg.columns[place] for place in places)

    def text(self, depth: int = 0) -> str:
        return f"\n{INDENT * depth}UNION ALL\n".join(leg.text(depth) for leg in self.legs)


@dataclass(eq=False)
class Local(Relation):
    """Rows that Python makes of the rows of its inputs, between two statements."""

    name: str
    over: list[Relation]
    work: Callable[..., list[list[Any]]]

    def inputs(self) -> Sequence[Relation]:
        return self.over

    def require(self, columns: Iterable[Column]) -> None:
        fresh = set(columns) - self.needed
        self.uses += 1
        if not self.needed and not fresh:
            fresh = set(self.columns[:1])
        if not fresh and self.uses > 1:
            return
        self.needed |= fresh
        wanted = {dep for column in fresh for dep in column.deps}
        for relation in self.over:
            relation.require(column for column in wanted if relation.owns(column))

    def text(self, depth: int = 0) -> str:
        return f"{INDENT * depth}SELECT * FROM {self.name} "

    def source(self, alias: str, depth: int) -> str:
        return f"{self.name} AS {alias}"


@dataclass(eq=False)
class Shared(Relation):
    """A relation that is evaluated once, however often it is read."""

    name: str
    over: Relation

    def inputs(self) -> Sequence[Relation]:
        return (self.over,)

    def wanted(self, fresh: set[Column], *, first: bool) -> set[Column]:
        return {dep for column in fresh for dep in column.deps}

    def text(self, depth: int = 0) -> str:
        names = ", ".join(sql.name(column.name) for column in self.columns if column in self.needed)
        return f"{INDENT * depth}SELECT {names or '1'} FROM {self.name}"

    def source(self, alias: str, depth: int) -> str:
        return f"{self.name} AS {alias}"


PART = "$part"
"""What the names of columns begin with that tell to which part a row belongs."""
SEARCHED = "$table"
"""The column that search adds: visible, though its name begins like those of hidden ones."""
INGESTED = "$IngestionTime"
"""What ingestion_time() is called: visible too."""


def is_hidden(name: str) -> bool:
    """Whether a column goes along unseen, as no query can name it."""
    return name[:1] == "$" and name[1:2].isalpha() and name not in (SEARCHED, INGESTED)


def is_closed(relation: Relation) -> bool:
    """Whether it reads nothing but its inputs: no values of a row that it stands in."""
    pending, seen = [relation], {relation}
    while pending:
        found = pending.pop()
        inputs = [item for item in found.inputs() if item not in seen]
        pending += inputs
        seen.update(inputs)
        if isinstance(found, Select | Join):
            parts: list[Column | Condition | SortKey] = [*found.columns]
            if isinstance(found, Select):
                parts += [*found.where, *found.order, *found.keys, *found.arrays]
            owned = {column for item in found.inputs() for column in item.columns}
            owned |= {column for item in found.inputs() if isinstance(item, Select) for column in item.hidden}
            if not all(part.deps <= owned for part in parts):
                return False
    return True


def passed(column: Column, alias: str = "q", name: str = "") -> Column:
    """The same column, one SELECT further out."""
    return Column(
        name or column.name,
        column.type,
        sql.ref(column.name, alias),
        frozenset((column,)),
        True,
        column.indexed,
    )


def over(relation: Relation) -> Select:
    """A SELECT of everything in ``relation``; its order goes along, since no inner order is kept."""
    found = Select([passed(column) for column in relation.columns], relation)
    if isinstance(relation, Select) and relation.order:
        for number, key in enumerate(relation.order):
            hidden = Column(f"__order{number}", "dynamic", key.sql, key.deps)
            relation.hidden.append(hidden)
            outer = passed(hidden)
            found.order.append(SortKey(outer.sql, outer.deps, key.descending, key.nulls_first, key.type))
        if relation.limit is None and not relation.limit_by:
            relation.order = []
    return found
