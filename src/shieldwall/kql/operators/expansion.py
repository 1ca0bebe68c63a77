"""mv-expand and mv-apply: rows for the members of arrays and bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators import bodies
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.rows import row_count
from shieldwall.kql.operators.sources import constant_rows
from shieldwall.kql.relation import (
    PART,
    Column,
    Condition,
    Join,
    Relation,
    Select,
    SortKey,
    is_hidden,
    over,
    passed,
)
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Expr, Name, Named, Operator
from shieldwall.kql.types import NUMERIC, TYPE_NAMES
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MOST = 2_147_483_647
"""Rows for one row, unless the query says less."""
MOST_LEGACY = 128
"""The same for mvexpand, as mv-expand was called first."""
_NAMES = "'\"NaN\"', '\"Infinity\"', '\"-Infinity\"'"
MEMBER, INDEX, VALUE = "$member", "$index", "$expanded"


@dataclass(slots=True)
class Item:
    """What is expanded: the name of the column that its members become, and their type."""

    name: str
    value: Value
    kind: str


@dataclass(slots=True)
class Expansion:
    """What is expanded of the rows of ``below``, where hidden columns hold the values."""

    below: Select
    items: list[Item]
    values: list[Column]
    pairs: bool
    limit: int

    def lists(self) -> str:
        """SQL of one array over ``below``: of JSON texts, or of tuples of them if there are several items."""
        # Without the name of the relation, which may be that of a column, too.
        texts = [_members(sql.name(column.name), pairs=self.pairs) for column in self.values]
        if self.limit < MOST:
            texts = [f"arraySlice({text}, 1, {self.limit})" for text in texts]
        return texts[0] if len(texts) == 1 else f"arrayZipUnaligned({', '.join(texts)})"

    def member(self, place: int) -> str:
        """SQL of the JSON text of an item's member where the array is joined."""
        if len(self.items) == 1:
            return f"if({sql.name(MEMBER)} = 'null', '', {sql.name(MEMBER)})"
        return f"ifNull(nullIf({sql.name(MEMBER)}.{place + 1}, 'null'), '')"


def _expansion(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Expansion:
    way = str(node.parts.get("bagexpansion") or node.parts.get("kind") or "bag")
    if way not in ("bag", "array"):
        raise KqlError(f"'{way}' is not a way to expand bags.", node.at)
    limit = MOST_LEGACY if node.name == "mvexpand" else MOST
    if node.parts.get("limit") is not None:
        limit = row_count(compiler, node.parts["limit"], env)

    def work(binder: Binder) -> list[Item]:
        return [_item(binder, item["value"], item["type"]) for item in node.parts["items"]]

    below, items = compiler.bind_into(relation, env, work)
    values = [
        Column(f"{VALUE}{place}", "dynamic", item.value.sql, item.value.deps)
        for place, item in enumerate(items)
    ]
    return Expansion(below, items, values, way == "array", limit)


def _item(binder: Binder, node: Expr, kind: str) -> Item:
    value = binder.bind(node.value if isinstance(node, Named) else node)
    name = node.names[0] if isinstance(node, Named) else value.name
    if value.type != "dynamic":
        raise KqlError(f"A {value.type} has no members to expand; use parse_json().", node.at, "SEM0100")
    if kind and kind not in TYPE_NAMES:
        raise KqlError(f"'{kind}' is not a type.", node.at)
    return Item(name, value, TYPE_NAMES.get(kind, "dynamic"))


def _members(text: str, *, pairs: bool) -> str:
    """SQL of the JSON texts of an array's members, or of a bag's as bags or pairs; null has itself as one."""
    shape = "concat('[', toJSONString(x.1), ',', x.2, ']')"
    if not pairs:
        shape = "concat('{', toJSONString(x.1), ':', x.2, '}')"
    of_bag = f"arrayMap(x -> {shape}, JSONExtractKeysAndValuesRaw({text}))"
    return (
        f"multiIf(startsWith({text}, '['), JSONExtractArrayRaw({text}), "
        f"startsWith({text}, '{{'), {of_bag}, [{text}])"
    )


def _expanded(of: Expansion, below: Relation, node: Operator, part: str = "") -> Select:
    """A row for each member; several items go in step, with null where one has no more members.

    With a column that numbers the rows, members are in order by that.
    """
    select = over(below)
    deps = frozenset(of.values) if below is of.below else frozenset(below.columns[-len(of.values) :])
    joined = of.lists()
    select.arrays = [Column(MEMBER, "dynamic", joined, deps)]
    index = f"toInt64({sql.name(INDEX)} - 1)"
    name = node.parts.get("with_itemindex")
    if part:
        number = next(column for column in below.columns if column.name == part)
        select.order.append(SortKey(sql.ref(part), frozenset((number,)), False, False, "long"))
    if name or select.order:
        select.arrays.append(Column(INDEX, "long", f"arrayEnumerate({joined})", deps))
    for place, item in enumerate(of.items):
        value = _cast(Value("dynamic", of.member(place), deps), item.kind, node.at)
        _put(select, Column(item.name or f"Column{place + 1}", item.kind, value.sql, deps))
    if name:
        _put(select, Column(str(name), "long", index, deps))
    if select.order:
        select.order.append(SortKey(index, deps, False, False, "long"))
    return select


def _cast(value: Value, kind: str, at: int) -> Value:
    """A member as a type that it must have in JSON already: text is not read as a number."""
    if kind in (*NUMERIC, "bool"):
        # Only the reals that JSON has no numbers for are held as text.
        named = f" AND {value.sql} NOT IN ({_NAMES})" if kind == "real" else ""
        text = f"if(startsWith({value.sql}, '\"'){named}, '', {value.sql})"
        value = Value("dynamic", text, value.deps)
    return convert(value, kind, at)


def _put(select: Select, column: Column) -> None:
    """Replace the column of that name, or append it."""
    for place, other in enumerate(select.columns):
        if other.name == column.name:
            select.columns[place] = column
            return
    select.columns.append(column)


@operator("mv-expand", "mvexpand")
def mv_expand(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    of = _expansion(compiler, relation, node, env)
    of.below.hidden += of.values
    return _expanded(of, of.below, node)


@operator("mv-apply", "mvapply")
def mv_apply(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """Run operators over the members of each row; its other columns go along."""
    body: list[Operator] = node.parts["body"]
    of = _expansion(compiler, relation, node, env)
    shown = list(of.below.columns)
    along = bodies.along_columns(of.below)
    rows: Relation = of.below
    part: Column | None = None
    if not bodies.by_row(body):
        part = bodies.part_column("toInt64(rowNumberInAllBlocks())", of.below)
        of.below.columns.append(part)
        of.below.windows = True
    of.below.columns += [*along, *of.values]
    needy = bodies.places_of_defaults(body)
    if needy:
        rows = compiler.share(of.below)
    found: Relation = _expanded(of, rows, node, part.name if part else "")
    start = [(column.name, column.type) for column in found.columns]
    for place, step in enumerate(body):
        found = bodies.run(compiler, found, step, env)
        if place in needy:
            # What the operators so far give of no rows.
            empty: Relation = constant_rows(start, [])
            for earlier in body[: place + 1]:
                empty = compiler.operator(empty, earlier, env)
            found = _with_defaults(of, rows, found, empty)
    applied = {item["value"].name for item in node.parts["items"] if isinstance(item["value"], Name)}
    return _put_together(found, shown, along, applied)


def _with_defaults(of: Expansion, rows: Relation, found: Relation, empty: Relation) -> Relation:
    """What was found, and for each expanded row of which nothing is there the one row of ``empty``."""
    base = over(rows)
    base.where.append(Condition(f"notEmpty({of.lists()})", frozenset(rows.columns[-len(of.values) :])))
    base.columns = [column for column in base.columns if bodies.is_kept(column.name)]
    groups = over(found)
    mark = Column("$found", "long", "1")
    part = [column for column in groups.columns if column.name.startswith(PART)][-1]
    groups.columns = [*(column for column in groups.columns if not bodies.is_kept(column.name)), mark]
    groups.hidden.append(part)
    own = next(column for column in base.columns if column.name == part.name)
    on = Condition(f"l.{sql.name(own.name)} = r.{sql.name(part.name)}", frozenset((own, part)))
    columns = [passed(column, "l") for column in base.columns]
    matched = {column.name: passed(column, "r") for column in groups.columns}
    join = Join([*columns, *matched.values()], base, groups, "LEFT ANY JOIN", [on])
    known = matched.pop(mark.name)
    chosen = [passed(column, "l") for column in columns]
    defaults = {column.name: column for column in empty.columns}
    for name, column in matched.items():
        default = defaults[name]
        text = f"if(l.{sql.name(known.name)} = 1, l.{sql.name(name)}, r.{sql.name(name)})"
        chosen.append(Column(name, column.type, text, frozenset((known, column, default))))
    return Join(chosen, join, empty, "CROSS JOIN", [])


def _put_together(found: Relation, shown: list[Column], along: list[Column], applied: set[str]) -> Relation:
    """The columns of the rows that were expanded, then those that the body gives beside them."""
    select = over(found)
    given = {column.name: column for column in select.columns}
    columns: list[Column] = []
    for column, copy in zip(shown, along, strict=True):
        if column.name in applied:
            continue
        own = given.pop(column.name, None)
        if own is None:
            own = given[copy.name]
            own.name, own.plain = column.name, False
        columns.append(own)
    select.columns = [*columns, *(column for name, column in given.items() if not is_hidden(name))]
    return select
