"""dcount_intersect, and plugins that count or show rows."""

from __future__ import annotations

from itertools import combinations

from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators.rows import limited
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Column, Relation, over
from shieldwall.kql.syntax import Call, Expr
from shieldwall.kql.values import Value, made

MOST_SETS = 10


@plugin("dcount_intersect(first, second, others...)")
def dcount_intersect(use: Use) -> Relation:
    """The number of values that the first set has, that the first two have in common, the first three..."""
    nodes: list[Expr] = [use.args["first"], use.args["second"], *use.rest]
    if len(nodes) > MOST_SETS:
        raise use.error(f"there may be up to {MOST_SETS} sets.")

    def work(binder: Binder) -> list[Value]:
        unions: dict[tuple[int, ...], Value] = {}
        for size in range(1, len(nodes) + 1):
            for chosen in combinations(range(len(nodes)), size):
                sets = [nodes[number] for number in chosen]
                merged = sets[0] if size == 1 else Call(use.call.at, "hll_merge", sets)
                unions[chosen] = binder.bind(Call(use.call.at, "dcount_hll", [merged]))
        return [_common(unions, number + 1) for number in range(len(nodes))]

    select, values = use.compiler.bind_into(over(use.relation), use.env, work)
    for number, value in enumerate(values):
        select.columns.append(Column(f"s{number}", "long", value.sql, value.deps))
    return select


def _common(unions: dict[tuple[int, ...], Value], count: int) -> Value:
    """The size of the intersection of the first sets, from the sizes of unions."""
    terms = [(value, len(chosen)) for chosen, value in unions.items() if chosen[-1] < count]
    text = "".join(f" {'+' if size % 2 else '-'} {value.sql}" for value, size in terms)
    return made("long", f"greatest(toInt64({text.removeprefix(' +')}), 0)", *(value for value, _ in terms))


@plugin("preview(NumberOfRows)")
def preview(use: Use) -> Relation:
    """The first rows."""
    count = use.constant("NumberOfRows", 0, ["int", "long"])
    if count < 0:
        raise use.error("the number of rows cannot be negative.")
    return limited(over(use.relation), count)


@plugin("estimate_rows_count()")
def estimate_rows_count(use: Use) -> Relation:
    select = over(use.relation)
    select.columns = [Column("EstimatedRowsCount", "long", "toInt64(count())")]
    select.order, select.grouped = [], True
    return select
