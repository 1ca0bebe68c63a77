"""rows_near: rows around those that fulfil a condition."""

from __future__ import annotations

from shieldwall.kql.expressions import Binder
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Column, Condition, Relation, over
from shieldwall.kql.values import Value


@plugin("rows_near(condition, rows, rowsAfter?)")
def rows_near(use: Use) -> Relation:
    before = use.constant("rows", 0, ["int", "long"])
    after = use.constant("rowsAfter", before, ["int", "long"])
    if before < 0 or after < 0:
        raise use.error("a number of rows cannot be negative.")

    def work(binder: Binder) -> Value:
        return binder.boolean(use.args["condition"])

    select, condition = use.compiler.bind_into(over(use.relation), use.env, work)
    order = ", ".join(key.text() for key in select.order)
    frame = f"ORDER BY {order} " if order else ""
    text = (
        f"max(ifNull({condition.sql}, false)) OVER "
        f"({frame}ROWS BETWEEN {after} PRECEDING AND {before} FOLLOWING)"
    )
    deps = condition.deps.union(*(key.deps for key in select.order))
    near = Column("$near", "bool", text, deps)
    select.columns.append(near)
    select.windows = True
    found = over(select)
    shown = found.columns.pop()
    found.where.append(Condition(shown.sql, shown.deps))
    return found
