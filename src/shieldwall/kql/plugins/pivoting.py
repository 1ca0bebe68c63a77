"""pivot and narrow: values as columns, columns as rows."""

from __future__ import annotations

from shieldwall.kql import sql
from shieldwall.kql.functions.registry import AGGREGATES, CODED_AGGREGATES
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Column, Relation, SortKey, is_hidden, over
from shieldwall.kql.syntax import Call, Expr, Name, Named, walk
from shieldwall.kql.values import Value, convert, to_string

MOST_COLUMNS = 1000
_AGGREGATE, _KEY = "$aggregate", "$pivot"
_ZERO = frozenset(
    ("count", "countif", "sum", "sumif", "dcount", "dcountif", "count_distinct", "count_distinctif")
)
"""Aggregates that are zero of no rows."""


@plugin("pivot(pivotColumn, columns...)")
def pivot(use: Use) -> Relation:
    """A column for each value of a column, with an aggregate of the rows that have it."""
    key = use.column("pivotColumn")
    nodes = list(use.rest)
    aggregate: Expr = Call(use.call.at, "count", [])
    if nodes and isinstance(nodes[0], Call) and nodes[0].name in {*AGGREGATES, *CODED_AGGREGATES}:
        aggregate = nodes.pop(0)
    if nodes:
        by = [use.named_column(node) for node in nodes]
    else:
        used = {item.name for item in walk(aggregate) if isinstance(item, Name)} | {key.name}
        by = [
            column
            for column in use.relation.columns
            if column.name not in used and not is_hidden(column.name)
        ]
    names = [column.name for column in by]
    keys: list[Expr] = [Named(0, [name], Name(0, name)) for name in names]
    text = Call(use.call.at, "tostring", [Name(use.call.at, key.name)])
    wanted = use.declared()
    values = [name for name, _ in wanted if name not in names] if wanted is not None else _values(use, text)
    cells = grouped(
        use.compiler,
        over(use.relation),
        [Named(0, [_AGGREGATE], aggregate)],
        [*keys, Named(0, [_KEY], text)],
        use.env,
    )
    found = grouped(use.compiler, over(cells), [], keys, use.env)
    kinds = dict(wanted or ())
    below = {column.name: column for column in cells.columns}
    cell = below[_AGGREGATE]
    zero = isinstance(aggregate, Call) and aggregate.name in _ZERO
    for value in values:
        inner = f"anyIf({sql.ref(_AGGREGATE)}, {sql.ref(_KEY)} = {sql.quote(value)})"
        inner = f"ifNull({inner}, 0)" if zero else inner
        shown = Value(cell.type, inner, frozenset((cell, below[_KEY])))
        name = value if value not in names else f"{value}1"
        if (kind := kinds.get(value)) is not None:
            shown = convert(shown, kind)
        found.columns.append(Column(name, shown.type, shown.sql, shown.deps))
    result = over(found)
    if wanted is not None:
        places = {column.name: column for column in result.columns}
        result.columns = [places[name] for name, _ in wanted if name in places]
    return result


def _values(use: Use, text: Expr) -> list[str]:
    """The values that become columns, in order."""
    frame = use.compiler.fetch(
        grouped(use.compiler, over(use.relation), [], [Named(0, ["value"], text)], use.env)
    )
    found = sorted(row[0] for row in frame.rows) if frame is not None else []
    if not found:
        use.compiler.open = True
    if len(found) > MOST_COLUMNS:
        raise use.error(f"the column has more than {MOST_COLUMNS} values.")
    return found


@plugin("narrow()")
def narrow(use: Use) -> Relation:
    """A row for each cell: the number of its row, the name of its column, its value as text."""
    rows = over(use.relation)
    number = Column("$number", "long", "toInt64(rowNumberInAllBlocks())")
    cells = ", ".join(
        f"tuple({sql.quote(column.name)}, {to_string(Value(column.type, column.sql)).sql})"
        for column in rows.columns
        if not is_hidden(column.name)
    )
    deps = frozenset(dep for column in rows.columns for dep in column.deps)
    array = Column("$cells", "dynamic", f"[{cells}]", deps)
    rows.columns, rows.windows = [number, array], True
    found = over(rows)
    cell = sql.name("$cell")
    found.arrays = [Column("$cell", "dynamic", sql.ref("$cells"), frozenset((array,)))]
    found.columns = [
        Column("Row", "long", sql.ref("$number"), frozenset((number,))),
        Column("Column", "string", f"tupleElement({cell}, 1)", frozenset((array,))),
        Column("Value", "string", f"tupleElement({cell}, 2)", frozenset((array,))),
    ]
    found.order = [SortKey(sql.ref("$number"), frozenset((number,)), False, False)]
    return found
