"""Rows in Python, typed as Kusto types them, on their way out of ClickHouse and back into it.

A value is a str, bool, int, float or None; a datetime is its ticks of 100 ns since 1970, a timespan its
ticks, a guid or decimal its text, a dynamic what its JSON stands for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shieldwall.kql import sql
from shieldwall.kql.types import SQL_TYPES

SECOND = 10_000_000
_STORED = SQL_TYPES | {
    # Wide enough for the numbers of `parse_version`, of 32 digits.
    "decimal": "Nullable(Decimal(76, 17))",
    # Its ticks, as JSON has no datetime.
    "datetime": "Nullable(Int64)",
}


@dataclass(slots=True)
class Frame:
    """Columns (name, type) and rows of their values."""

    columns: list[tuple[str, str]]
    rows: list[list[Any]]

    def places(self) -> dict[str, int]:
        return {name: place for place, (name, _) in enumerate(self.columns)}


def read_expression(kind: str, text: str) -> str:
    """SQL that shows a value as `from_json` reads it."""
    if kind == "datetime":
        return f"reinterpretAsInt64({text})"
    if kind in ("guid", "decimal"):
        return f"toString({text})"
    if kind == "bool":
        return f"CAST({text} AS Nullable(Bool))"
    return text


def from_json(kind: str, value: Any) -> Any:
    """A value of a JSON row that ClickHouse wrote."""
    if value is None or kind == "string":
        return value
    if kind == "dynamic":
        return json.loads(value) if value else None
    if kind == "real":
        return float(value)
    if kind == "decimal":
        return str(value)
    return value


def read(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> Frame:
    kinds = [kind for _, kind in columns]
    return Frame(
        list(columns),
        [[from_json(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows],
    )


def to_json(kind: str, value: Any) -> Any:
    """A value as ClickHouse reads it from a JSON row."""
    if kind == "dynamic":
        return dynamic_text(value)
    if kind == "string":
        return "" if value is None else value
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if kind == "real" and value is not None:
        return float(value)
    return value


def write(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as a JSON array of arrays."""
    kinds = [kind for _, kind in columns]
    lines = ",\n".join(
        json.dumps([to_json(kind, value) for kind, value in zip(kinds, row, strict=True)], ensure_ascii=False)
        for row in rows
    )
    return f"[{lines}]"


def written(columns: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """A FROM item of rows that were written: the text before SQL of their JSON, and the text behind.

    A function of ClickHouse and no table function reads them: read-only mode refuses those.
    """
    kinds = ", ".join(_STORED[kind] for _, kind in columns)
    shown = ", ".join(
        f"{_stored(kind, f'tupleElement(`$row`, {place})')} AS {sql.name(name)}"
        for place, (name, kind) in enumerate(columns, 1)
    )
    return (
        f"(SELECT {shown} FROM (SELECT arrayJoin(JSONExtract(",
        f", 'Array(Tuple({kinds}))')) AS `$row`))",
    )


def _stored(kind: str, text: str) -> str:
    if kind == "datetime":
        return f"reinterpret({text}, 'DateTime64(7, \\'UTC\\')')"
    return text


def dynamic_text(value: Any) -> str:
    """The JSON text that a dynamic is held as; empty for null."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_python(kind: str, constant: Any) -> Any:
    """A constant of a query as a Frame holds it."""
    if constant is None:
        return None
    if kind == "dynamic":
        return json.loads(constant) if constant else None
    if kind == "datetime":
        return datetime_ticks(constant)
    return constant


def to_constant(kind: str, value: Any) -> Any:
    """The other way round."""
    if kind == "string":
        return "" if value is None else value
    if value is None:
        return None
    if kind == "dynamic":
        return dynamic_text(value)
    if kind == "datetime":
        return ticks_datetime(value)
    return value


_EPOCH = datetime(1970, 1, 1)


def datetime_ticks(text: str) -> int:
    """Ticks since 1970 of ``YYYY-MM-DD hh:mm:ss.fffffff``."""
    span = datetime.fromisoformat(text[:19]) - _EPOCH
    return (span.days * 86400 + span.seconds) * SECOND + int(text[20:27] or 0)


def ticks_datetime(ticks: int) -> str:
    """The text of the datetime that lies ``ticks`` after 1970; the first or last there is, beyond them."""
    seconds, rest = divmod(ticks, SECOND)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        moment, rest = (datetime.max, 9_999_999) if ticks > 0 else (datetime.min, 0)
    return moment.isoformat(" ", "seconds") + f".{rest:07}"
