"""From conditions over rows to a query."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.detection.sigma.clauses import NEVER, Clause, joined
from shieldwall.detection.sigma.logsources import Rows, one_of

INDENT = "    "


def query_of(found: Sequence[tuple[Rows, Clause]]) -> str:
    """``Table | where condition``, or the union of such where the rows are in several tables.

    Kinds of rows on which the condition is the same are named together.
    """
    tables: dict[str, dict[tuple[Clause, str], list[str]]] = {}
    # Kinds that cannot fulfil the condition are left out, unless none can.
    for rows, clause in [item for item in found if item[1] != NEVER] or found:
        actions = tables.setdefault(rows.table, {}).setdefault((clause, rows.condition), [])
        actions += [action for action in rows.actions if action not in actions]
    selections = [f"{table}\n| where {_condition(kinds)}" for table, kinds in tables.items()]
    if len(selections) == 1:
        return selections[0]
    return "union\n" + ",\n".join(f"({selection})" for selection in selections)


def _condition(kinds: dict[tuple[Clause, str], list[str]]) -> str:
    either = []
    for (clause, condition), actions in kinds.items():
        parts = [Clause(one_of("ActionType", actions))] if actions else []
        parts += [Clause(condition)] if condition else []
        either.append(joined("and", [*parts, clause]))
    return joined("or", either).written(INDENT)
