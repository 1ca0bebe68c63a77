"""ipv4_lookup and ipv6_lookup: rows beside those of a table of networks."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.kql import sql
from shieldwall.kql.operators.joins import distinct_names, side
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Column, Condition, Join, Relation, Select, over
from shieldwall.kql.scope import unknown
from shieldwall.kql.syntax import Expr, Name, Named, Query
from shieldwall.kql.values import Value, to_string

_NET, _SIZE, _TEXT = "$net", "$size", "$address"


@dataclass(frozen=True, slots=True)
class Family:
    """How ClickHouse reads addresses: functions, and the length of one in bits."""

    parse: str
    network: str
    bits: int


V4 = Family("toIPv4OrNull", "IPv4CIDRToRange", 32)
V6 = Family("toIPv6OrNull", "IPv6CIDRToRange", 128)


@plugin("ipv4_lookup(LookupTable, SourceIPv4Key, IPv4LookupKey, keys...)")
def ipv4_lookup(use: Use) -> Relation:
    return _lookup(use, V4, use.column("SourceIPv4Key"), use.args["IPv4LookupKey"])


@plugin("ipv6_lookup(LookupTable, SourceIPv6Key, IPv6LookupKey, keys...)")
def ipv6_lookup(use: Use) -> Relation:
    return _lookup(use, V6, use.column("SourceIPv6Key"), use.args["IPv6LookupKey"])


def _lookup(use: Use, family: Family, source: Column, lookup: Expr) -> Relation:
    """All rows with those of the table whose network their address lies in, and which have the same keys."""
    names, unmatched = _options(use)
    node = use.args["LookupTable"]
    table = use.compiler.source(node.pipeline if isinstance(node, Query) else node, use.env)
    networks = use.compiler.share(_with_network(table, _column(table, lookup), family))
    keys = [(use.named_column(Name(at, name)), _column(networks, Name(at, name))) for at, name in names]
    only_sizes = over(networks)
    only_sizes.columns = only_sizes.columns[-1:]
    sizes = use.compiler.subquery(only_sizes, lambda shown: f"groupUniqArray({shown})")
    if not unmatched:
        left = _exploded(use.relation, source, sizes, family)
        return _joined(left, networks, [_NET, _SIZE], keys, left.columns[: len(use.relation.columns)])
    rows = use.compiler.share(use.relation)
    own = dict(zip(use.relation.columns, rows.columns, strict=True))
    keys = [(own[one], other) for one, other in keys]
    values = _distinct(rows, own[source], [one for one, _ in keys])
    found = _exploded(values, values.columns[0], sizes, family)
    places = [(found.columns[place], other) for place, (_, other) in enumerate(keys, 1)]
    matched = _joined(found, networks, [_NET, _SIZE], places, found.columns[: len(values.columns)])
    return _put_beside(rows, own[source], matched, [one for one, _ in keys], len(values.columns))


def _options(use: Use) -> tuple[list[tuple[int, str]], bool]:
    """The names of the other keys, and whether rows without a network are to stay."""
    names: list[tuple[int, str]] = []
    unmatched = False
    for node in use.rest:
        if isinstance(node, Name):
            names.append((node.at, node.name))
        elif not isinstance(node, Named) or node.names[0] == "return_unmatched":
            unmatched = bool(use.bind(node.value if isinstance(node, Named) else node).constant)
        else:
            raise use.error(f"there is no argument '{node.names[0]}'.", node.at)
    return names, unmatched


def _column(table: Relation, node: Expr) -> Column:
    name = node.name if isinstance(node, Name) else ""
    for column in table.columns:
        if column.name == name:
            return column
    raise unknown("column", name, [column.name for column in table.columns], node.at)


def _address(column: Column, family: Family) -> tuple[str, str]:
    """SQL of an address, and of the size of the network behind it, if it has one; null where it is none."""
    text = to_string(Value(column.type, column.sql, column.deps)).sql
    address = f"{family.parse}(trim(splitByChar('/', {text})[1]))"
    size = f"toUInt8OrNull(trim(splitByChar('/', {text})[2]))"
    if family is V6:
        # An IPv4 address stands for one of IPv6 with 96 bits before it.
        size = f"({size} + if(position({text}, ':') > 0, 0, 96))"
    return address, f"if(position({text}, '/') > 0, {size}, {family.bits})"


def _with_network(table: Relation, key: Column, family: Family) -> Select:
    """The table with the first address and the size of each network; other rows are left out."""
    select = over(table)
    column = select.columns[table.columns.index(key)]
    address, size = _address(column, family)
    network = f"tupleElement({family.network}(assumeNotNull({address}), toUInt8(assumeNotNull({size}))), 1)"
    select.where.append(
        Condition(f"isNotNull({address}) AND ifNull({size} <= {family.bits}, false)", column.deps)
    )
    select.columns.append(Column(_NET, "string", network, column.deps))
    select.columns.append(Column(_SIZE, "long", f"toUInt8(assumeNotNull({size}))", column.deps))
    return select


def _distinct(rows: Relation, source: Column, keys: list[Column]) -> Select:
    select = over(rows)
    places = [rows.columns.index(column) for column in (source, *keys)]
    select.columns = [select.columns[place] for place in places]
    select.order, select.distinct = [], True
    return select


def _exploded(rows: Relation, source: Column, sizes: str, family: Family) -> Select:
    """A row for each size of a network that an address may lie in."""
    inner = over(rows)
    column = inner.columns[rows.columns.index(source)]
    address, size = _address(column, family)
    at, own = Column(_TEXT, "string", address, column.deps), Column("$own", "long", size, column.deps)
    inner.columns += [at, own]
    select = over(inner)
    deps = frozenset((at, own))
    own_size = f"ifNull({sql.ref('$own')}, -1)"
    select.arrays = [
        Column(
            _SIZE,
            "long",
            f"arrayFilter(x -> isNotNull({sql.ref(_TEXT)}) AND x <= {own_size}, {sizes})",
            deps,
        )
    ]
    network = f"tupleElement({family.network}(assumeNotNull({sql.ref(_TEXT)}), {sql.name(_SIZE)}), 1)"
    select.columns = select.columns[:-2]
    select.columns.append(Column(_NET, "string", network, deps))
    select.columns.append(Column(_SIZE, "long", sql.name(_SIZE), deps))
    return select


def _joined(
    left: Relation, right: Relation, on: list[str], keys: list[tuple[Column, Column]], shown: list[Column]
) -> Select:
    """Both sides where the columns named ``on`` and the keys are the same, without the right side's keys."""
    pairs = [
        (
            next(column for column in left.columns if column.name == name),
            next(column for column in right.columns if column.name == name),
        )
        for name in on
    ]
    conditions = [
        Condition(f"{sql.ref(one.name, 'l')} = {sql.ref(other.name, 'r')}", frozenset((one, other)))
        for one, other in (*pairs, *keys)
    ]
    dropped = {other.name for _, other in (*pairs, *keys)}
    sides = [(column, "l") for column in shown]
    sides += [(column, "r") for column in right.columns if column.name not in dropped]
    return over(Join(distinct_names(sides), left, right, "INNER JOIN", conditions))


def _put_beside(rows: Relation, source: Column, matched: Select, keys: list[Column], own: int) -> Select:
    """All rows, beside what was found for the first ``own`` columns of ``matched``: address and keys."""
    right = side(matched, nullable=True)
    left = over(rows)
    left.order = []
    conditions = []
    for column, other in zip((source, *keys), right.columns, strict=False):
        outer = left.columns[rows.columns.index(column)]
        conditions.append(
            Condition(f"{sql.ref(outer.name, 'l')} = {sql.ref(other.name, 'r')}", frozenset((outer, other)))
        )
    sides = [(column, "l") for column in left.columns] + [(column, "r") for column in right.columns[own:]]
    return over(Join(distinct_names(sides), left, right, "LEFT JOIN", conditions))
