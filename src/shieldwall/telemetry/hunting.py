"""Hunting: a tenant's KQL queries over its own rows, bounded in time, memory and size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shieldwall import log
from shieldwall.errors import ApiError, bad_request
from shieldwall.kql import sql
from shieldwall.kql.clickhouse import ClickHouseEngine
from shieldwall.kql.compiler import Compiler
from shieldwall.kql.engine import Statement
from shieldwall.kql.errors import KqlError
from shieldwall.kql.plan import Plan
from shieldwall.kql.schema import Schema, TableColumn, TableSchema
from shieldwall.settings import Settings
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.external import ExternalFiles
from shieldwall.telemetry.hunting_functions import FUNCTIONS, VIEWS
from shieldwall.telemetry.schema import ALIASES, TABLES
from shieldwall.telemetry.store import TelemetryStore

logger = log.get("hunting")

LONGEST_GROUP = timedelta(hours=1)
"""More than a group takes from its number to its last row."""

Window = tuple[datetime | None, datetime | None]
ExternalData = Callable[[Sequence[str], Sequence[tuple[str, str]], dict[str, Any]], list[list[Any]]]

TOO_LONG = "Query exceeded the timeout period."
TOO_LARGE = (
    'Result size limit exceeded. Use "summarize" to aggregate results, "project" to drop uninteresting '
    'columns, or "take" to truncate results.'
)
TOO_EXPENSIVE = "Query stopped due to excessive resource consumption."
CANCELLED = "Query was cancelled."
UNKNOWN = "An unexpected error occurred during query execution. Please try again in a few minutes."

_MESSAGES = {
    159: TOO_LONG,
    160: TOO_LONG,
    241: TOO_EXPENSIVE,
    158: TOO_EXPENSIVE,
    307: TOO_EXPENSIVE,
    191: TOO_EXPENSIVE,
    306: TOO_EXPENSIVE,
    167: TOO_EXPENSIVE,
    168: TOO_EXPENSIVE,
    396: TOO_LARGE,
    394: CANCELLED,
}
"""What ClickHouse's error codes mean to whoever asked."""


@dataclass(frozen=True)
class Limits:
    """What one query may use. Seconds, bytes, rows."""

    seconds: int = 200
    rows: int = 100_000
    memory: int = 500_000_000
    result_bytes: int = 124 << 20

    def settings(self) -> dict[str, Any]:
        return {
            "max_execution_time": self.seconds,
            "max_memory_usage": self.memory,
            # Eight times as many rows at once are read no faster, and of large events take all of the memory.
            "max_block_size": 8192,
            "max_result_bytes": 8 * self.result_bytes,
            "result_overflow_mode": "throw",
            "max_bytes_before_external_group_by": self.memory // 3,
            "max_bytes_before_external_sort": self.memory // 3,
            "join_algorithm": "hash,grace_hash",
        }


@dataclass
class Cancellation:
    """Lets another thread stop a query."""

    mark: str = field(default_factory=lambda: f"hunt-{uuid4().hex}")
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass
class Hunt:
    """A compiled query whose rows may be read once. ``columns`` are names and Kusto types."""

    columns: list[tuple[str, str]]
    chart: dict[str, Any] | None
    rows: Iterator[list[Any]]
    """JSON values; a dynamic is JSON text or None."""
    count: int = 0
    """Rows that were read so far."""


@cache
def hunting_schema() -> Schema:
    """The hunting tables as the compiler sees them, with the older names that queries still use."""
    tables = {
        name: TableSchema(
            name,
            f"{DATABASE}.{name}",
            tuple(
                TableColumn(column.name, column.kusto_type, column.name in table.text)
                for column in table.columns
            ),
            {**ALIASES.columns.get("*", {}), **ALIASES.columns.get(name, {})},
            "IngestionTime",
        )
        for name, table in TABLES.items()
    }
    aliases = {old: new[0] for old, new in ALIASES.tables.items() if len(new) == 1 and new[0] in tables}
    return Schema(tables, aliases, FUNCTIONS, VIEWS)


class Hunting:
    """Runs queries for tenants. ``external`` reads what ``externaldata`` names, and refuses other hosts."""

    def __init__(
        self, store: TelemetryStore, limits: Limits | None = None, external: ExternalData | None = None
    ) -> None:
        self._store = store
        self.limits = limits or Limits()
        extras = {"externaldata": external} if external is not None else {}
        self._schema = replace(hunting_schema(), extras=extras)

    @classmethod
    def build(cls, store: TelemetryStore, settings: Settings) -> Hunting:
        limits = Limits(
            settings.hunting_seconds,
            settings.hunting_rows,
            settings.hunting_memory,
            settings.hunting_result_bytes,
        )
        return cls(store, limits, ExternalFiles(settings.hunting_external_hosts.split(",")))

    @contextmanager
    def hunt(
        self,
        tenant_id: str,
        text: str,
        limits: Limits,
        window: Window = (None, None),
        cancellation: Cancellation | None = None,
        *,
        ingested: Window = (None, None),
    ) -> Iterator[Hunt]:
        """A query over one tenant's rows: of ``window`` only if it is given, and of those that were stored
        after the first moment of ``ingested`` and until the second.

        ApiError 400 when the query is wrong or uses more than ``limits``; nothing of it runs on afterwards.
        """
        cancellation = cancellation or Cancellation()
        with self._store.hunter() as client, answered():
            engine = _TenantEngine(self._store, client, tenant_id, limits, cancellation)
            compiler = Compiler(_within(_stored(self._schema, ingested), window), engine)
            plan = compiler.compile(text)
            hunt = Hunt(plan.columns, plan.chart, iter(()))
            hunt.rows = _bounded(hunt, plan.run(engine), limits)
            yield hunt

    def cancel(self, cancellation: Cancellation) -> None:
        """Stop a running query, and let one that is not there yet end at once."""
        cancellation.cancelled.set()
        self._store.kill(cancellation.mark)


class _TenantEngine(ClickHouseEngine):
    """Statements of one query over one tenant's rows; its time is for all of them together."""

    def __init__(
        self,
        store: TelemetryStore,
        client: Client,
        tenant_id: str,
        limits: Limits,
        cancellation: Cancellation,
    ) -> None:
        super().__init__(client, {**limits.settings(), **store.tenant_settings(tenant_id)})
        self._store = store
        self._cancellation = cancellation
        self._seconds = limits.seconds
        self._end = time.monotonic() + limits.seconds

    def rows(self, statement: Statement, data: Mapping[str, str]) -> Iterator[list[Any]]:
        self._store.check(statement.text)
        if self._cancellation.cancelled.is_set():
            raise bad_request(CANCELLED)
        left = self._end - time.monotonic()
        if left <= 0:
            raise bad_request(TOO_LONG)
        self._settings["max_execution_time"] = max(1, round(left))
        marked = (f"/* {self._cancellation.mark} */ {statement.parts[0]}", *statement.parts[1:])
        return super().rows(Statement(marked, statement.names), data)


@contextmanager
def answered() -> Iterator[None]:
    """Tell the caller what went wrong, in the service's words and without the engine's."""
    try:
        yield
    except KqlError as error:
        raise WrongQuery(error) from None
    except (RecursionError, MemoryError):
        # Values nested too deeply for Python, or rows too large for it.
        raise bad_request(TOO_EXPENSIVE) from None
    except ClickHouseError as error:
        code = getattr(error, "code", 0) or 0
        if code not in _MESSAGES:
            # Not the engine's words: it repeats texts of the query, and of rows.
            logger.error("hunt failed", code=code, kind=type(error).__name__)
        raise bad_request(_MESSAGES.get(code, UNKNOWN)) from error


class WrongQuery(ApiError):
    """A query's mistake, with where it is; ``plain`` is the message without that."""

    def __init__(self, error: KqlError) -> None:
        place = f" Line {error.line}, column {error.column}." if error.line else ""
        super().__init__(400, "BadRequest", f"{error.message}{place}")
        self.plain, self.line, self.column = error.message, error.line, error.column


def compiled(text: str) -> Plan:
    """The plan of a query over the hunting tables, without running anything. WrongQuery when it is wrong."""
    try:
        return Compiler(hunting_schema()).compile(text)
    except KqlError as error:
        raise WrongQuery(error) from None


def _within(schema: Schema, window: Window) -> Schema:
    """The schema with only the rows of a window of time."""
    start, end = window
    if start is None and end is None:
        return schema
    conditions = []
    if start is not None:
        conditions.append(f"Timestamp >= {_moment(start)}")
    if end is not None:
        conditions.append(f"Timestamp <= {_moment(end)}")
    where = " AND ".join(conditions)
    tables = {
        name: replace(table, source=f"(SELECT * FROM {table.source} WHERE {where})")
        if TABLES[name].is_event
        else table
        for name, table in schema.tables.items()
    }
    return replace(schema, tables=tables)


def _stored(schema: Schema, ingested: Window) -> Schema:
    """The schema with only the rows that came in within a window."""
    start, end = ingested
    if start is None or end is None:
        return schema
    where = f"IngestionTime > {_moment(start)} AND IngestionTime <= {_moment(end)}"
    # Numbers of groups follow the clock and are indexed. What the server stores by itself has the number 0.
    first = max(0, int((start - LONGEST_GROUP).timestamp() * 1_000_000))
    grouped = f"{where} AND (GroupId >= {first} OR GroupId = 0)"
    tables = {
        name: replace(
            table,
            source=f"(SELECT * FROM {table.source} WHERE {grouped if TABLES[name].grouped else where})",
        )
        for name, table in schema.tables.items()
    }
    return replace(schema, tables=tables)


def _moment(time: datetime) -> str:
    return sql.literal("datetime", time.strftime("%Y-%m-%d %H:%M:%S.%f") + "0")


def _bounded(hunt: Hunt, rows: Iterator[list[Any]], limits: Limits) -> Iterator[list[Any]]:
    for row in rows:
        if hunt.count >= limits.rows:
            raise bad_request(TOO_LARGE)
        hunt.count += 1
        yield row
