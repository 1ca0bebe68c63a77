"""schema_merge: schemas as getschema gives them, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shieldwall.kql.frame import Frame
from shieldwall.kql.local import whole
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Relation
from shieldwall.kql.types import NUMERIC, wider

_COLUMNS = [
    ("ColumnName", "string"),
    ("ColumnOrdinal", "int"),
    ("DataType", "string"),
    ("ColumnType", "string"),
]
_OUT_OF_ORDER = "ERROR(columns are out of order)"
_NOT_ALIKE = "ERROR(data types cannot be reconciled)"


@plugin("schema_merge(PreserveOrder?)")
def schema_merge(use: Use) -> Relation:
    keep = use.constant("PreserveOrder", True, ["bool"])
    names = {column.name for column in use.relation.columns}
    if missing := [name for name, _ in _COLUMNS if name not in names]:
        raise use.error(f"the input has no column '{missing[0]}', as getschema gives it.")

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        places = frames[0].places()
        rows = [[row[places[name]] for name, _ in _COLUMNS] for row in frames[0].rows]
        order = [name for name, _ in _COLUMNS]
        return [[row[order.index(name)] for name in wanted] for row in merged(rows, keep=bool(keep))]

    return whole(use.compiler, [use.relation], _COLUMNS, work)


def merged(rows: Sequence[Sequence[Any]], *, keep: bool) -> list[list[Any]]:
    """Name, place, system's type and type of each column; an error stands where types or places differ."""
    found: dict[str, list[Any]] = {}
    for name, place, data, kind in rows:
        have = found.get(name)
        if have is None:
            found[name] = [name, place, data, kind]
            continue
        if have[3] != kind and not have[3].startswith("ERROR"):
            if kind in NUMERIC and have[3] in NUMERIC:
                common = wider(kind, have[3])
                have[2], have[3] = (data, kind) if common == kind else (have[2], have[3])
            else:
                have[2:] = _failed(_NOT_ALIKE)
        if have[1] != place:
            if keep:
                have[1:] = [-1, *_failed(_OUT_OF_ORDER)]
            else:
                have[1] = max(have[1], place)
    columns = sorted(found.values(), key=lambda column: (column[1] < 0, column[1]))
    for number, column in enumerate(columns):
        if column[1] >= 0:
            column[1] = number
    return columns


def _failed(message: str) -> list[str]:
    return [f"ERROR(unknown CSL type:{message})", message]
