"""ClickHouse definitions of the hunting tables, for one node and for a cluster, from one declaration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shieldwall.telemetry.schema import Column, Table

DATABASE = "shieldwall"

SERVER_COLUMNS = {
    "TenantId": "LowCardinality(String)",
    "IngestionTime": "DateTime64(3, 'UTC')",
}
"""What the server puts on each row, before the documented columns. A documented TenantId is this one."""

GROUP_COLUMN = {"GroupId": "UInt64"}
"""And what it puts on rows that were sent to it: with which others they were stored."""

LOCAL = "_local"
"""What the name of a table's part on one node of a cluster ends with."""

REJECTS = "IngestRejects"
"""Lines that agents sent and that could not be stored."""

RECENT_DAYS = 31
"""Events that come later than this are a recording's."""

TEXT_INDEX = "ix_text_"
FIND_INDEX = "ix_find_"

_SETTINGS = (
    "index_granularity = 8192, fsync_after_insert = 1, fsync_part_directory = 1, "
    # A part holds one day, so what is over goes as whole parts.
    "ttl_only_drop_parts = 1, "
    # Small parts in few files, and large ones merged column by column: a merge of 70 columns at once takes
    # 500 MB for its buffers, this a tenth of it.
    f"min_bytes_for_wide_part = {128 << 20}, vertical_merge_algorithm_min_rows_to_activate = 1, "
    # Ten parts at once where the usual is five: rows are written half as often, few parts more are read.
    "merge_selector_base = 10"
)


def create_table(table: Table, days: int, cluster: str = "") -> Iterator[str]:
    """Statements that make ``table``, rows kept ``days`` days; spread over ``cluster`` if one is named."""
    name = f"{table.name}{LOCAL}" if cluster else table.name
    on_cluster = f" ON CLUSTER `{cluster}`" if cluster else ""
    engine = (
        f"ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{DATABASE}/{name}', '{{replica}}')"
        if cluster
        else "MergeTree"
    )
    shard = f"cityHash64(TenantId, {'DeviceId' if table.has('DeviceId') else 'IngestionTime'})"
    yield (
        f"CREATE TABLE IF NOT EXISTS {DATABASE}.{name}{on_cluster} (\n  "
        + ",\n  ".join([*_columns(table), *_indexes(table)])
        + f"\n) ENGINE = {engine}\nPARTITION BY {_partition(table)}\nORDER BY ({_order(table)})\n"
        + f"TTL {_expiry(table, days)}\nSETTINGS {_SETTINGS}"
    )
    if cluster:
        yield (
            f"CREATE TABLE IF NOT EXISTS {DATABASE}.{table.name}{on_cluster} AS {DATABASE}.{name} "
            f"ENGINE = Distributed('{cluster}', '{DATABASE}', '{name}', {shard})"
        )


def create_rejects(days: int, cluster: str = "") -> str:
    """The statement that makes the table of rejected lines."""
    on_cluster = f" ON CLUSTER `{cluster}`" if cluster else ""
    engine = (
        f"ReplicatedMergeTree('/clickhouse/tables/all/{DATABASE}/{REJECTS}', '{{shard}}-{{replica}}')"
        if cluster
        else "MergeTree"
    )
    return (
        f"CREATE TABLE IF NOT EXISTS {DATABASE}.{REJECTS}{on_cluster} (\n"
        "  TenantId LowCardinality(String), IngestionTime DateTime64(3, 'UTC'), GroupId UInt64,\n"
        "  DeviceId String, Stream String, Sequence Int64, Line UInt32,\n"
        "  Reason LowCardinality(String), Text String,\n"
        "  INDEX ix_group GroupId TYPE minmax GRANULARITY 1\n"
        f") ENGINE = {engine}\nPARTITION BY toDate(IngestionTime)\n"
        "ORDER BY (TenantId, DeviceId, IngestionTime)\n"
        f"TTL toDateTime(IngestionTime) + INTERVAL {days} DAY\nSETTINGS {_SETTINGS}"
    )


def create_database(cluster: str = "") -> str:
    return f"CREATE DATABASE IF NOT EXISTS {DATABASE}" + (f" ON CLUSTER `{cluster}`" if cluster else "")


def delete_groups(table: str, groups: Sequence[int], cluster: str = "") -> str:
    """The statement that removes every row of these groups; a distributed table itself deletes nothing."""
    parts = cluster and table != REJECTS
    name = f"{table}{LOCAL if parts else ''}" + (f" ON CLUSTER `{cluster}`" if parts else "")
    return (
        f"DELETE FROM {DATABASE}.{name} WHERE GroupId IN ({', '.join(str(int(group)) for group in groups)})"
    )


def keep_for(table: Table, days: int, cluster: str = "") -> str:
    """The statement that changes for how long rows are kept."""
    name = f"{table.name}{LOCAL} ON CLUSTER `{cluster}`" if cluster else table.name
    return f"ALTER TABLE {DATABASE}.{name} MODIFY TTL {_expiry(table, days)}"


def add_columns(table: Table, present: set[str], cluster: str = "") -> Iterator[str]:
    """Statements that bring an older table up to the declaration."""
    on_cluster = f" ON CLUSTER `{cluster}`" if cluster else ""
    for column in table.columns:
        if column.name not in present:
            for name in (f"{table.name}{LOCAL}", table.name) if cluster else (table.name,):
                yield f"ALTER TABLE {DATABASE}.{name}{on_cluster} ADD COLUMN IF NOT EXISTS {_column(column)}"
            if column.name in table.text:
                local = f"{table.name}{LOCAL}" if cluster else table.name
                yield f"ALTER TABLE {DATABASE}.{local}{on_cluster} ADD {_text_index(column.name)}"


def search_indexes(table: Table) -> list[str]:
    """The names of the indexes that hunts use."""
    return [f"{TEXT_INDEX}{name}" for name in table.text] + [f"{FIND_INDEX}{name}" for name in table.find]


def _partition(table: Table) -> str:
    """By day. A recording may tell of a hundred days: its rows stay together by the day they came."""
    if not table.is_event:
        return "toDate(IngestionTime)"
    old = f"Timestamp < IngestionTime - {RECENT_DAYS * 24 * 3600}"
    return f"(toDate(if({old}, IngestionTime, Timestamp)), {old})"


def _expiry(table: Table, days: int) -> str:
    """An old recording that is stored now is kept as long as what happens now."""
    time = "greatest(Timestamp, IngestionTime)" if table.is_event else "IngestionTime"
    return f"toDateTime({time}) + toIntervalDay({days})"


def keeps_for(table: Table, days: int, engine: str) -> bool:
    """Whether a table with the engine that ClickHouse describes so keeps its rows for ``days`` days."""
    return f"TTL {_expiry(table, days)}" in engine


def _order(table: Table) -> str:
    names = ["TenantId"]
    if table.is_event:
        names += ["DeviceId", "Timestamp"] if table.has("DeviceId") else ["Timestamp"]
    return ", ".join(names)


def _columns(table: Table) -> Iterator[str]:
    ours = SERVER_COLUMNS | (GROUP_COLUMN if table.grouped else {})
    for name, kind in ours.items():
        yield f"`{name}` {kind} CODEC(ZSTD(1))"
    yield from (_column(column) for column in table.columns if column.name not in ours)


def _column(column: Column) -> str:
    kind = column.clickhouse_type
    codec = "Delta, ZSTD(1)" if "DateTime64" in kind and not kind.startswith("Nullable") else "ZSTD(1)"
    return f"`{column.name}` {kind} CODEC({codec})"


def _indexes(table: Table) -> Iterator[str]:
    if table.grouped:
        yield "INDEX ix_group GroupId TYPE minmax GRANULARITY 1"
    for name in table.text:
        yield _text_index(name)
    for name in table.find:
        yield f"INDEX {FIND_INDEX}{name} `{name}` TYPE bloom_filter(0.01) GRANULARITY 4"


def _text_index(name: str) -> str:
    # Over the expression itself, not by a preprocessor: where the index does not serve, the condition is then
    # evaluated as it stands, and means the same.
    return f"INDEX {TEXT_INDEX}{name} lower(`{name}`) TYPE text(tokenizer = 'splitByNonAlpha')"
