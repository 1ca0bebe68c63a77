"""What runs a plan's statements: anything that answers SQL with rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Engine(Protocol):
    """Runs one SELECT at a time, read-only, over what its user may read."""

    def rows(self, sql: str, data: dict[str, str]) -> Iterator[list[Any]]:
        """The rows of a SELECT, as JSON values. ``data`` are the texts of its string parameters."""
        ...
