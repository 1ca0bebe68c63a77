"""Entities whose properties are columns: one list names them, for objects and for rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, type_coerce
from sqlalchemy.orm import InstrumentedAttribute

from shieldwall.state.base import UtcDateTime
from shieldwall.times import to_text


class Columns:
    """The properties of an entity in the order of its answer, each with its column."""

    def __init__(self, **columns: InstrumentedAttribute[Any]) -> None:
        self.names = tuple(columns)
        self._keys = tuple(column.key for column in columns.values())
        self._times = tuple(name for name, column in columns.items() if isinstance(column.type, UtcDateTime))
        # Times come as they are kept: to make objects of them and texts again takes longer than all else.
        self.selected: list[Any] = [
            type_coerce(column, String) if name in self._times else column for name, column in columns.items()
        ]

    def of_row(self, row: Sequence[Any]) -> dict[str, Any]:
        """The entity of a row that begins with what ``selected`` names."""
        entity = dict(zip(self.names, row, strict=False))
        for name in self._times:
            kept = entity[name]
            if kept is not None:
                entity[name] = _text(kept)
        return entity

    def of(self, item: Any) -> dict[str, Any]:
        """The entity of an object of the model."""
        return self.of_row([getattr(item, key) for key in self._keys])


def _text(kept: str | datetime) -> str:
    """A time as it is answered: SQLite keeps text, with all six digits of the fraction."""
    if isinstance(kept, str):
        return f"{kept[:10]}T{kept[11:].rstrip('0').rstrip('.') if '.' in kept else kept[11:]}Z"
    return to_text(kept if kept.tzinfo else kept.replace(tzinfo=UTC))
