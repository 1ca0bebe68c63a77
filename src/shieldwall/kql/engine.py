"""What runs a plan's statements: anything that answers SQL with rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shieldwall.kql.sql import quote


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT with places for the data of steps: each name stands behind the part of its number."""

    parts: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The statement with query parameters at the places of data."""
        return self._joined([f"{{{name}:String}}" for name in self.names])

    def filled(self, data: Mapping[str, str]) -> str:
        """The statement with the data written into it: parameters would have to fit into an address."""
        return self._joined([quote(data[name]) for name in self.names])

    def _joined(self, between: list[str]) -> str:
        pieces = [self.parts[0]]
        for text, part in zip(between, self.parts[1:], strict=True):
            pieces += (text, part)
        return "".join(pieces)


class Engine(Protocol):
    """Runs one SELECT at a time, read-only, over what its user may read."""

    def rows(self, statement: Statement, data: Mapping[str, str]) -> Iterator[list[Any]]:
        """The rows of a SELECT, as JSON values. ``data`` are the rows of steps, as JSON lines, by name."""
        ...
