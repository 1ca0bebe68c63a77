"""mv-expand and mv-apply: rows for the members of arrays and bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.rows import row_count
from shieldwall.kql.relation import Column, Relation, Select, SortKey, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Expr, Named, Operator
from shieldwall.kql.types import TYPE_NAMES
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MOST = 2_147_483_647
MEMBER, INDEX = "$member", "$index"


@dataclass(slots=True)
class Item:
    """What is expanded: the name of the column that its members become, and their type."""

    name: str
    value: Value
    kind: str


@operator("mv-expand", "mvexpand")
def mv_expand(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return expanded(compiler, relation, node, env)


def expanded(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Select:
    """A row for each member of the arrays and bags, of several of them in step."""
    way = str(node.parts.get("bagexpansion") or node.parts.get("kind") or "bag")
    if way not in ("bag", "array"):
        raise KqlError(f"'{way}' is not a way to expand bags.", node.at)
    limit = row_count(compiler, node.parts["limit"], env) if node.parts.get("limit") is not None else MOST

    def work(binder: Binder) -> list[Item]:
        return [_item(binder, item["value"], item["type"]) for item in node.parts["items"]]

    below, items = compiler.bind_into(relation, env, work)
    values = [_held(below, item.value, place) for place, item in enumerate(items)]
    select = over(below)
    lists = [_members(value.sql, pairs=way == "array") for value in values]
    if limit < MOST:
        lists = [f"arraySlice({text}, 1, {limit})" for text in lists]
    joined = lists[0] if len(lists) == 1 else f"arrayZipUnaligned({', '.join(lists)})"
    deps = frozenset().union(*(value.deps for value in values))
    select.arrays = [Column(MEMBER, "dynamic", joined, deps)]
    index = f"toInt64({sql.name(INDEX)} - 1)"
    name = node.parts.get("with_itemindex")
    if name or select.order:
        select.arrays.append(Column(INDEX, "long", f"arrayEnumerate({joined})", deps))
    for place, item in enumerate(items):
        text = sql.name(MEMBER) if len(lists) == 1 else f"{sql.name(MEMBER)}.{place + 1}"
        text = (
            f"if({text} = 'null', '', {text})" if len(lists) == 1 else f"ifNull(nullIf({text}, 'null'), '')"
        )
        value = convert(Value("dynamic", text, deps), item.kind, node.at)
        put(select, Column(item.name, item.kind, value.sql, deps))
    if name:
        put(select, Column(str(name), "long", index, deps))
    if select.order:
        select.order.append(SortKey(index, deps, False, False, "long"))
    return select


def put(select: Select, column: Column) -> None:
    """Replace the column of that name, or append it."""
    for place, other in enumerate(select.columns):
        if other.name == column.name:
            select.columns[place] = column
            return
    select.columns.append(column)


def _item(binder: Binder, node: Expr, kind: str) -> Item:
    value = binder.bind(node.value if isinstance(node, Named) else node)
    name = node.names[0] if isinstance(node, Named) else value.name
    if value.type != "dynamic":
        raise KqlError(f"A {value.type} has no members to expand; use parse_json().", node.at, "SEM0100")
    if kind and kind not in TYPE_NAMES:
        raise KqlError(f"'{kind}' is not a type.", node.at)
    return Item(name, value, TYPE_NAMES.get(kind, "dynamic"))


def _held(below: Select, value: Value, place: int) -> Value:
    """The value as a column of the SELECT below, so that its SQL is written once."""
    column = Column(f"$expanded{place}", "dynamic", value.sql, value.deps)
    below.hidden.append(column)
    return Value("dynamic", sql.ref(column.name), frozenset((column,)))


def _members(text: str, *, pairs: bool) -> str:
    """SQL of the JSON texts of an array's members, or of a bag's as bags or pairs; at least one."""
    pair = "concat('[', toJSONString(x.1), ',', x.2, ']')"
    bag = "concat('{', toJSONString(x.1), ':', x.2, '}')"
    of_bag = f"arrayMap(x -> {pair if pairs else bag}, JSONExtractKeysAndValuesRaw({text}))"
    found = f"multiIf(startsWith({text}, '['), JSONExtractArrayRaw({text}), startsWith({text}, '{{'), {of_bag}, [{text}])"
    return f"if({text} IN ('[]', '{{}}'), [''], {found})"
