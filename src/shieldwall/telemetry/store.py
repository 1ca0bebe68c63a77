"""The telemetry in ClickHouse: embedded by default, a server by URL, the same SQL on both."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from shieldwall.errors import bad_request
from shieldwall.settings import Settings
from shieldwall.state import scope
from shieldwall.telemetry import ddl, guard
from shieldwall.telemetry.embedded import clean
from shieldwall.telemetry.row_filters import literal, row_filter
from shieldwall.telemetry.schema import TABLES

READERS = 4
WRITERS = 2
HUNTERS = 3
"""Hunts that run at once; apart from the server's own reading, which must not wait for them."""
NICE = 10
"""How far the engine's threads stand back behind requests' own while they store or hunt; in the embedded
engine this takes CAP_SYS_NICE, without which they do not."""
QUERY_SECONDS = 200
RESULT_ROWS = 100_000
CHECKED_QUERIES = 512
"""Texts of queries that are remembered as checked."""
TIMES = "aware"
"""Times come with their zone: one without would be taken for the machine's own, which need not be UTC."""

_EMBEDDED_OPTIONS = {
    "mark_cache_size": 64 << 20,
    "index_mark_cache_size": 32 << 20,
    "primary_index_cache_size": 64 << 20,
    "uncompressed_cache_size": 0,
    "text_index_tokens_cache_size": 32 << 20,
    "text_index_header_cache_size": 16 << 20,
    "text_index_postings_cache_size": 64 << 20,
    "query_condition_cache_size": 16 << 20,
    "max_thread_pool_size": 200,
    "background_pool_size": 2,
    # Merges take what storing and hunting leave.
    "os_threads_nice_value_merge_mutate": 10,
    # Memory that may be asked for next is no memory in use.
    "memory_worker_rss_speculative_reserve_ratio": 0,
}
# The driver would load pandas, half a second and 60 MB, to see whether it is given a table of it.
options.pd = options.pd_time_test = None
_EMBEDDED_SETTINGS = {
    # Without a gigabyte to spare for each thread, every statement would have but one.
    "max_threads_min_free_memory_per_thread": 0,
    "max_insert_threads_min_free_memory_per_thread": 0,
}


class TelemetryStore:
    """Reads are for one tenant unless they say ``system``; writes carry the tenant on each row."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._readers = _Pool(lambda: _client(settings), READERS)
        self._writers = _Pool(lambda: _client(settings, NICE), WRITERS)
        self._hunters = _Pool(lambda: _client(settings, NICE), HUNTERS)
        self._writing = threading.local()
        self._check = lru_cache(CHECKED_QUERIES)(self._check_text)
        self._filters = lru_cache(CHECKED_QUERIES)(self._filters_text)

    @classmethod
    def open(cls, settings: Settings) -> TelemetryStore:
        """Connect, and make or bring up to date every table."""
        store = cls(settings)
        store._prepare()
        return store

    def close(self) -> None:
        self._readers.close()
        self._writers.close()
        self._hunters.close()

    def query(
        self, tenant_id: str, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of ``tenant_id`` only: the engine filters each hunting table that ``sql`` reads.

        ``sql`` is one SELECT over hunting tables, checked to be no more; values go in as ``{name:Type}``
        parameters. ApiError 400 for any other statement.
        """
        self.check(sql)
        return self._read(sql, parameters, self.tenant_settings(tenant_id))

    def check(self, sql: str) -> None:
        """ApiError 400 unless ``sql`` is one SELECT over hunting tables."""
        self._check(sql)

    def tenant_settings(self, tenant_id: str) -> dict[str, Any]:
        """Settings under which a statement changes nothing, and reads rows of one tenant only.

        Where the caller is limited to device groups, they are rows of those (`state/scope.py`).
        """
        filters = self._filters(str(UUID(tenant_id)), scope.current())
        return {"additional_table_filters": filters, "readonly": 1}

    def _filters_text(self, tenant: str, reach: scope.Reach) -> str:
        local = ("", ddl.LOCAL) if self.settings.clickhouse_cluster else ("",)
        filters = ", ".join(
            f"'{ddl.DATABASE}.{name}{suffix}': {literal(row_filter(table, tenant, reach))}"
            for name, table in TABLES.items()
            for suffix in local
        )
        return f"{{{filters}}}"

    @contextmanager
    def hunter(self) -> Iterator[Client]:
        """A client for statements of a tenant; only together with `check` and `tenant_settings`."""
        with self._hunters.client() as client:
            yield client

    def kill(self, mark: str) -> None:
        """Stop the statements whose text has ``mark`` in it."""
        found = self.system_query(
            "SELECT query_id FROM system.processes WHERE position(query, {mark:String}) > 0 "
            "AND position(query, 'system.processes') = 0",
            {"mark": mark},
        )
        for row in found:
            self.command(f"KILL QUERY WHERE query_id = '{UUID(row['query_id'])}' ASYNC")

    def system_query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of all tenants, for the server's own work, never with a user's query."""
        return self._read(sql, parameters, {})

    @contextmanager
    def writer(self) -> Iterator[Client]:
        """A client that may write, for work of several statements.

        A thread that has one gets the same again: were it to wait for another, all could wait for each other.
        """
        mine: Client | None = getattr(self._writing, "client", None)
        if mine is not None:
            yield mine
            return
        with self._writers.client() as client:
            self._writing.client = client
            try:
                yield client
            finally:
                self._writing.client = None

    def insert_block(self, client: Client, table: str, parts: Iterable[bytes], form: str) -> None:
        """Insert what is already in a format of ClickHouse, given in parts."""
        if self.settings.clickhouse_url:
            client.raw_insert(table, insert_block=b"".join(parts), fmt=form)
            return
        # The engine in this process reads files; one in memory is written to no disk.
        with open(os.memfd_create("block", os.MFD_CLOEXEC), "wb") as file:
            file.writelines(parts)
            file.flush()
            client.command(f"INSERT INTO {table} FROM INFILE '/proc/self/fd/{file.fileno()}' FORMAT {form}")

    def drop_scratch_tables(self) -> None:
        """Remove what a stopped process left of groups it was storing."""
        for row in self.system_query(
            "SELECT name FROM system.tables "
            "WHERE database = {database:String} AND startsWith(name, 'stage_')",
            {"database": ddl.DATABASE},
        ):
            self.command(f"DROP TABLE IF EXISTS {ddl.DATABASE}.{row['name']}")

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that changes something."""
        with self.writer() as client:
            client.command(sql, parameters=dict(parameters or {}))

    def insert_selected(
        self, tenant_id: str, table: str, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Insert into a table of the server's own what a SELECT of ours finds among a tenant's rows."""
        settings = {
            "additional_table_filters": self._filters(str(UUID(tenant_id)), None),
            "max_execution_time": QUERY_SECONDS,
        }
        with self.writer() as client:
            statement = f"INSERT INTO {ddl.DATABASE}.{table} {sql}"
            client.command(statement, parameters=dict(parameters or {}), settings=settings)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert few rows given as Python values."""
        with self.writer() as client:
            client.insert(table, rows, column_names=columns, database=ddl.DATABASE)

    def insert_rows(self, table: str, tenant_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store rows that the server itself made, such as device reports."""
        made = [dict(row) for row in rows]
        names = sorted({name for row in made for name in row})
        known = {
            column.name: column for column in TABLES[table].columns if column.name not in ddl.SERVER_COLUMNS
        }
        if unknown := set(names) - set(known):
            raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
        empty = {name: "" if "String" in known[name].clickhouse_type else None for name in names}
        stamp = datetime.now(UTC)
        self.insert(
            table,
            ["TenantId", "IngestionTime", *names],
            [[tenant_id, stamp, *(row.get(name, empty[name]) for name in names)] for row in made],
        )

    def _check_text(self, sql: str) -> None:
        # The engine adds its settings behind the text, so that must go on with the same statement.
        with self._readers.client() as client:
            try:
                found = client.query(
                    "SELECT parseQueryToJSON({sql:String}), "
                    "parseQueryToJSON(concat({sql:String}, '\\nSETTINGS readonly = 1'))",
                    parameters={"sql": sql},
                )
            except DatabaseError:
                raise bad_request("The query cannot be read.") from None
        guard.check(json.loads(found.result_rows[0][0]))

    def _read(
        self, sql: str, parameters: Mapping[str, Any] | None, extra: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        settings = {
            "max_execution_time": QUERY_SECONDS,
            "max_result_rows": RESULT_ROWS,
            "result_overflow_mode": "throw",
            **extra,
        }
        with self._readers.client() as client:
            found = client.query(sql, parameters=dict(parameters or {}), settings=settings)
            return list(found.named_results())

    def _engines(self, client: Client) -> dict[str, str]:
        """How ClickHouse describes the engine of each present table."""
        found = client.query(
            "SELECT name, engine_full FROM system.tables WHERE database = {database:String}",
            parameters={"database": ddl.DATABASE},
        )
        suffix = ddl.LOCAL if self.settings.clickhouse_cluster else ""
        return {
            name.removesuffix(suffix): engine for name, engine in found.result_rows if name.endswith(suffix)
        }

    def _prepare(self) -> None:
        cluster = self.settings.clickhouse_cluster
        if unknown := self.settings.table_days.keys() - TABLES.keys():
            raise ValueError(f"SHIELDWALL_RETENTION_BY_TABLE: there is no table {min(unknown)}")
        with self.writer() as client:
            present: dict[str, set[str]] = {}
            listed = client.query(
                "SELECT table, name FROM system.columns WHERE database = {database:String}",
                parameters={"database": ddl.DATABASE},
            )
            for table, column in listed.result_rows:
                present.setdefault(table, set()).add(column)
            engines = self._engines(client)
            for table in TABLES.values():
                days = self.settings.table_days.get(table.name, self.settings.retention_days)
                if table.name not in present:
                    statements = [*ddl.create_table(table, days, cluster)]
                else:
                    statements = [*ddl.add_columns(table, present[table.name], cluster)]
                    if not ddl.keeps_for(table, days, engines[table.name]):
                        statements.append(ddl.keep_for(table, days, cluster))
                for statement in statements:
                    client.command(statement)
            client.command(ddl.create_rejects(self.settings.retention_days, cluster))


class _Pool:
    """Clients lent one at a time: each runs one query at once."""

    def __init__(self, make: Any, size: int) -> None:
        self._make = make
        self._free: list[Client] = []
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()

    @contextmanager
    def client(self) -> Iterator[Client]:
        with self._slots:
            with self._lock:
                client = self._free.pop() if self._free else None
            client = client or self._make()
            try:
                yield client
            finally:
                with self._lock:
                    self._free.append(client)

    def close(self) -> None:
        with self._lock:
            for client in self._free:
                client.close()
            self._free.clear()


def _client(settings: Settings, nice: int = 0) -> Client:
    common = {
        "max_threads": settings.telemetry_threads,
        "max_memory_usage": settings.telemetry_memory // 2,
        "date_time_input_format": "best_effort",
        # A batch may hold events of as many days as are kept.
        "max_partitions_per_insert_block": 0,
        # Rows are on their shards when an insert answers.
        "distributed_foreground_insert": 1,
        # Whatever zone the machine is in.
        "session_timezone": "UTC",
        "os_threads_nice_value_query": nice,
    }
    if settings.clickhouse_url:
        url = urlsplit(settings.clickhouse_url)
        if url.path.strip("/") not in ("", ddl.DATABASE):
            raise ValueError(f"SHIELDWALL_CLICKHOUSE_URL: the database is always named {ddl.DATABASE}")
        client = clickhouse_connect.get_client(
            host=url.hostname or "localhost",
            port=url.port or 8123,
            username=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            secure=url.scheme in ("clickhouses", "https"),
            settings=common,
            tz_mode=TIMES,
        )
    else:
        options = {**_EMBEDDED_OPTIONS, "max_server_memory_usage": settings.telemetry_memory}
        client = clean(
            clickhouse_connect.get_client(
                interface="chdb",
                path=str(settings.data / "telemetry"),
                settings=common | _EMBEDDED_SETTINGS,
                chdb_options=options,
                tz_mode=TIMES,
            )
        )
    client.command(ddl.create_database(settings.clickhouse_cluster))
    client.database = ddl.DATABASE
    return client
