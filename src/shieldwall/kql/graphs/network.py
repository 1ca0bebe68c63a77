"""A graph in memory: nodes and edges as numbers, the values that are known of them, and what leads where."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import Frame
from shieldwall.kql.graphs.inputs import EDGE

MOST_MATCHES = 1_000_000
MOST_SECONDS = 60.0
_CHECKED = 4096
"""Steps between two looks at the clock."""

Steps = dict[int, list[tuple[int, int]]]
"""By node, the edges that lead on and the nodes that they lead to."""


class Budget:
    """The bounds of one search. KqlError where it goes beyond them."""

    def __init__(self) -> None:
        self._matches = 0
        self._steps = 0
        self._until = time.monotonic() + MOST_SECONDS

    def match(self) -> None:
        self._matches += 1
        if self._matches > MOST_MATCHES:
            raise _exceeded()

    def step(self) -> None:
        self._steps += 1
        if not self._steps % _CHECKED and time.monotonic() > self._until:
            raise _exceeded()


def _exceeded() -> KqlError:
    return KqlError(
        "Query stopped due to excessive resource consumption.", code="E_QUERY_RESULT_SET_TOO_LARGE"
    )


class Network:
    """The nodes and edges of a frame that `rows_of` describes, with ``edge_values`` values for each edge."""

    def __init__(self, frame: Frame, edge_values: int, *, partitioned: bool) -> None:
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.edge_rows: list[list[Any]] = []
        self.node_rows: list[list[Any] | None] = []
        """None for a node of which nothing is known but that edges end there."""
        self.subgraphs: list[Any] = []
        """To which of the graphs of a partitioned one a node belongs."""
        self._steps: dict[tuple[str, int | None], Steps] = {}
        numbers: dict[Hashable, int] = {}
        first = 4 if partitioned else 3
        between = first + edge_values

        def number(end: Any, row: list[Any]) -> int:
            # A value of any type, null too, tells subgraphs apart.
            key = (repr(row[3]), end) if partitioned else end
            found = numbers.get(key)
            if found is None:
                found = numbers[key] = len(numbers)
                self.node_rows.append(None)
                self.subgraphs.append(row[3] if partitioned else None)
            return found

        for row in frame.rows:
            if row[0] == EDGE:
                self.sources.append(number(row[1], row))
                self.targets.append(number(row[2], row))
                self.edge_rows.append(row[first:between])
        for row in frame.rows:
            if row[0] != EDGE:
                self.node_rows[number(row[1], row)] = row[between:]

    def node_has(self, node: int, place: int | None) -> bool:
        """Whether a node fulfils the condition at a place of its values; none is always fulfilled."""
        if place is None:
            return True
        row = self.node_rows[node]
        return row is not None and bool(row[place])

    def steps(self, way: str, condition: int | None = None) -> Steps:
        """What leads on from each node along edges (>), against them (<) or both (-), by a condition."""
        found = self._steps.get((way, condition))
        if found is None:
            found = self._steps[way, condition] = {}
            for edge, (source, target) in enumerate(zip(self.sources, self.targets, strict=True)):
                if condition is not None and not self.edge_rows[edge][condition]:
                    continue
                if way != "<":
                    found.setdefault(source, []).append((edge, target))
                if way != ">":
                    found.setdefault(target, []).append((edge, source))
        return found
