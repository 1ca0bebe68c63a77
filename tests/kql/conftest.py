"""Queries run for real, on the embedded engine of the test run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from shieldwall.kql.clickhouse import ClickHouseEngine
from shieldwall.kql.compiler import Compiler
from shieldwall.kql.plan import wire_value
from shieldwall.kql.schema import NO_TABLES, Schema
from shieldwall.telemetry.store import TelemetryStore


@dataclass
class Answer:
    """What a query gives: columns (name, type), and rows as JSON values."""

    columns: list[tuple[str, str]]
    rows: list[list[Any]]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.columns]

    @property
    def value(self) -> Any:
        """The first value of the first row."""
        return self.rows[0][0]


Run = Callable[..., Answer]


@pytest.fixture(scope="session")
def kql(telemetry: TelemetryStore) -> Run:
    """Runs a query: ``kql(text, schema=NO_TABLES)``."""

    def run(text: str, schema: Schema = NO_TABLES) -> Answer:
        with telemetry.writer() as client:
            engine = ClickHouseEngine(client)
            plan = Compiler(schema, engine).compile(text)
            rows = [
                [wire_value(kind, value) for (_, kind), value in zip(plan.columns, row, strict=True)]
                for row in plan.run(engine)
            ]
        return Answer(plan.columns, rows)

    return run
