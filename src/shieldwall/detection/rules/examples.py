"""Rules tried on their own examples, on a telemetry store that is there for nothing else.

Each example is the only thing that its tenant has stored, so that rules and examples do not touch each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

from shieldwall.detection.rules.files import Example, Rows, RuleFile
from shieldwall.errors import ApiError
from shieldwall.settings import Settings
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.hunting import Hunting, Limits
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, parse, to_text

LIMITS = Limits(seconds=60, rows=10_000)
DEVICE = "e" * 40


@dataclass(frozen=True)
class Tried:
    """One example: what it should do and what the rule did with it."""

    rule: RuleFile
    kind: str
    """``matches`` or ``ignores``."""
    number: int
    line: int
    rows: int
    error: str = ""
    """Why it could not be tried."""

    @property
    def good(self) -> bool:
        return not self.error and (self.rows > 0) == (self.kind == "matches")


@contextmanager
def scratch_store() -> Iterator[TelemetryStore]:
    """An empty store for examples, in a folder that is removed afterwards; a process can open one."""
    with TemporaryDirectory(prefix="shieldwall-rules-") as folder:
        store = TelemetryStore.open(Settings(data=Path(folder)))
        try:
            yield store
        finally:
            store.close()


def try_rules(store: TelemetryStore, rules: Sequence[RuleFile]) -> Iterator[Tried]:
    """Each example of each rule, in their order."""
    hunting = Hunting(store)
    for rule in rules:
        for kind, examples in (("matches", rule.matches), ("ignores", rule.ignores)):
            for number, example in enumerate(examples, 1):
                rows, error = _try(store, hunting, rule.rule.query, example)
                yield Tried(rule, kind, number, example.line, rows, error)


def _try(store: TelemetryStore, hunting: Hunting, query: str, example: Example) -> tuple[int, str]:
    tenant = str(uuid4())
    moved = _to_now(example.rows)
    for table, rows in moved.items():
        try:
            _store(store, tenant, table, rows)
        except ClickHouseError as error:
            first = str(error).partition("\n")[0]
            return 0, f"a row does not fit {table}: {first[:300]}"
    try:
        with hunting.hunt(tenant, query, LIMITS) as hunt:
            return sum(1 for _ in hunt.rows), ""
    except ApiError as error:
        return 0, error.message


def _to_now(rows: Rows) -> Rows:
    """The rows with all their times moved alike, so that the latest event was a minute ago."""
    last = max(
        (time for several in rows.values() for row in several if (time := _time(row.get("Timestamp")))),
        default=None,
    )
    if last is None:
        return rows
    ahead = now() - timedelta(minutes=1) - last

    def moved(row: Mapping[str, Any], times: set[str]) -> Mapping[str, Any]:
        changed = {name: to_text(time + ahead) for name in times if (time := _time(row.get(name)))}
        return {**row, **changed}

    return {
        table: [
            moved(row, {column.name for column in TABLES[table].columns if column.kusto_type == "datetime"})
            for row in several
        ]
        for table, several in rows.items()
    }


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _store(store: TelemetryStore, tenant: str, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store rows as an agent's would be; columns that every row has need not be given."""
    usual = {
        "Timestamp": to_text(now() - timedelta(minutes=1)),
        "DeviceId": DEVICE,
        "DeviceName": "example",
    }
    known = {column.name: column for column in TABLES[table].columns}
    lines = []
    for number, row in enumerate(rows, 1):
        whole = {name: value for name, value in {**usual, "ReportId": number}.items() if name in known}
        for name, value in row.items():
            # Lists and objects are kept as their JSON.
            nested = isinstance(value, list | dict)
            plain = orjson.dumps(value).decode() if nested else value
            whole[name] = str(plain) if _is_text(known[name].clickhouse_type) and plain is not None else plain
        lines.append(
            orjson.dumps({"TenantId": tenant, "IngestionTime": to_text(now()), **whole}, default=str)
        )
    with store.writer() as client:
        store.insert_block(client, f"{DATABASE}.{table}", [b"\n".join(lines)], "JSONEachRow")


def _is_text(kind: str) -> bool:
    return kind.removeprefix("LowCardinality(").startswith("String")
