"""Storing records of other sensors: raw lines to SourceEvents and to the hunting tables, inside ClickHouse.

Like the staging of agents' batches, but with forms and mappings. A record is known again by a hash of its
text, so that importing a file twice stores it once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from clickhouse_connect.driver.client import Client

from shieldwall.errors import ApiError
from shieldwall.sources.hosts import Host, Hosts
from shieldwall.sources.judging import COLUMNS, RECORD, platform, records, whole
from shieldwall.sources.owners import OWNER, choice, joined, reported
from shieldwall.sources.reading.recordings import TooLong, body_lines
from shieldwall.sources.rows import hunting_rows, kinds_by_table, numbered
from shieldwall.state.engine import Database
from shieldwall.telemetry.ddl import DATABASE, REJECTS, search_indexes
from shieldwall.telemetry.schema import SOURCE_EVENTS, TABLES
from shieldwall.telemetry.staging import REJECTS_SHOWN, Bounds, Staged, Verdict, binary
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.telemetry.unpack import too_large

BLOCK_BYTES = 2 << 20
"""Lines that are worked on at once: memory is bounded by them."""
EXPANSION = 2
"""How many times as long as the longest body its lines may be, where it is of another format."""
HOSTS_LIMIT = 10_000
"""Most machines that one group of records may tell of."""

_BATCH = (
    "batch UInt32, first UInt32, tenant LowCardinality(String), source LowCardinality(String), "
    "sensor String, payload String"
)
_DEVICE = "device LowCardinality(String), name LowCardinality(String), device_group LowCardinality(String)"
_COMMON = (
    "TenantId", "IngestionTime", "GroupId", "Timestamp", "DeviceId", "DeviceName", "MachineGroup", "ReportId",
)  # fmt: skip


_AS_THEY_COME = (
    "SETTINGS min_insert_block_size_rows = 0, min_insert_block_size_bytes = 0, "
    "query_plan_merge_expressions = 0"
)
"""Keeps blocks as they are on their way from one scratch table to the next. Merged expressions would evaluate
what several of them use once for each."""


class SourceStage:
    """Scratch tables of one group of records; ``drop`` them when the group is stored."""

    def __init__(self, store: TelemetryStore, client: Client, group_id: int, hosts: Hosts) -> None:
        self._store = store
        self._client = client
        self._group_id = group_id
        self._hosts = hosts
        self._batches, self._lines, self._devices, self._owners, self._records = (
            f"{DATABASE}.stage_{name}_{group_id}"
            for name in ("batches", "lines", "devices", "owners", "records")
        )
        self._verdicts: list[Verdict] = []
        self._kinds: tuple[int, ...] = ()
        self._owned = False
        """Whether records of network sensors are of devices that had their addresses."""

    def load(self, batches: Sequence[Staged], bounds: Bounds) -> list[Verdict]:
        """Stage the batches, judge each of their lines, and find out which records are new.

        ApiError 413 when they name too many machines.
        """
        client = self._client
        client.command(f"CREATE TABLE {self._batches} ({_BATCH}) ENGINE = Memory")
        for block in _blocks(batches):
            self._store.insert_block(client, self._batches, block, "RowBinary")
        client.command(
            f"CREATE TABLE {self._lines} ({RECORD}, reason LowCardinality(String)) ENGINE = Memory"
        )
        for form in dict.fromkeys(batch.source for batch in batches):
            client.command(
                f"INSERT INTO {self._lines} ({COLUMNS}, reason)\n{_AS_THEY_COME}\n"
                f"{records(self._batches, form, bounds)}"
            )
        client.command(f"TRUNCATE TABLE {self._batches}")
        self._find_devices()
        self._find_owners()
        self._keep_new()
        self._verdicts = [*self._kept(), *self._left_out()]
        return self._verdicts

    def store(self) -> None:
        """Insert the new records and the rows that they become, and keep the rejected lines."""
        if self._kinds:
            self._insert(
                SOURCE_EVENTS,
                (*_COMMON, "Source", "Channel", "EventId", "Provider", "EventData"),
                f"SELECT tenant, now64(3), {self._group_id}, time, device, name, device_group, report, "
                f"source, channel, event, provider, {whole()} FROM {self._records}",
            )
        for table, numbers in kinds_by_table(self._kinds):
            columns, select = hunting_rows(numbers, self._records, self._group_id)
            self._insert(table, (*_COMMON, *columns), select)
        if any(verdict.reason for verdict in self._verdicts):
            self._client.command(
                f"INSERT INTO {DATABASE}.{REJECTS} SELECT tenant, now64(3), {self._group_id}, '', source, 0, "
                f"line_no, reason, substring(data, 1, 4096) FROM {self._lines} WHERE reason != ''"
            )

    def drop(self) -> None:
        for name in (self._batches, self._lines, self._devices, self._owners, self._records):
            self._client.command(f"DROP TABLE IF EXISTS {name} SYNC")

    def _insert(self, table: str, columns: Sequence[str], select: str) -> None:
        # Merges make these indexes, as of agents' rows.
        later = ", ".join(search_indexes(TABLES[table]))
        names = ", ".join(f"`{name}`" for name in columns)
        self._client.command(
            f"INSERT INTO {DATABASE}.{table} ({names})\n"
            f"SETTINGS exclude_materialize_skip_indexes_on_insert = '{later}', "
            f"query_plan_merge_expressions = 0\n{select}"
        )

    def _find_devices(self) -> None:
        """Make the table of the devices that the records name."""
        client = self._client
        named = client.query(
            f"SELECT tenant, host, argMin(source, line_no) FROM {self._lines} WHERE reason = '' "
            f"GROUP BY tenant, host ORDER BY min(batch), min(line_no) LIMIT {HOSTS_LIMIT + 1}"
        ).result_rows
        if len(named) > HOSTS_LIMIT:
            raise ApiError(
                413, "MaximumBatchSizeExceeded", f"The records name more than {HOSTS_LIMIT} machines."
            )
        hosts: dict[tuple[str, str], Host] = {}
        for tenant in {row[0] for row in named}:
            platforms = {name: platform(source) for owner, name, source in named if owner == tenant}
            found = self._hosts.find(tenant, platforms)
            hosts |= {(tenant, name): host for name, host in found.items()}
        client.command(
            f"CREATE TABLE {self._devices} (tenant String, host String, {_DEVICE}) ENGINE = Memory"
        )
        block = b"".join(
            part
            for (tenant, name), host in hosts.items()
            for text in (tenant, name, host.device_id, host.name, host.group)
            for part in binary(text.encode())
        )
        if block:
            self._store.insert_block(client, self._devices, [block], "RowBinary")

    def _find_owners(self) -> None:
        """Make the table of who had the addresses that network sensors' records are of."""
        client = self._client
        client.command(f"CREATE TABLE {self._owners} ({OWNER}) ENGINE = Memory")
        found = client.query(reported(self._lines)).result_rows if self._has_addresses() else ()
        hosts: dict[tuple[str, str], Host] = {}
        for tenant in {row[0] for row in found}:
            known = self._hosts.of(tenant, {device for owner, *_, device in found if owner == tenant})
            hosts |= {(tenant, device): host for device, host in known.items()}
        block = []
        for tenant, address, since, device in found:
            if host := hosts.get((tenant, device)):
                block += [*binary(tenant.encode()), *binary(address.encode()), struct.pack("<q", since)]
                for text in (host.device_id, host.name, host.group):
                    block += binary(text.encode())
        self._owned = bool(block)
        if block:
            self._store.insert_block(client, self._owners, block, "RowBinary")

    def _has_addresses(self) -> bool:
        sql = f"SELECT count() FROM {self._lines} WHERE reason = '' AND address != ''"
        return bool(self._client.query(sql).result_rows[0][0])

    def _keep_new(self) -> None:
        """Make the table of the records that no earlier group and no earlier line has."""
        client = self._client
        client.command(f"CREATE TABLE {self._records} ({RECORD}, {_DEVICE}) ENGINE = Memory")
        columns = ", ".join(f"lines.{name} AS {name}" for name in COLUMNS.split(", "))
        times = f"FROM {self._lines} WHERE reason = ''"
        before = (
            f"SELECT TenantId, assumeNotNull(ReportId) FROM {DATABASE}.{SOURCE_EVENTS} "
            f"WHERE (TenantId, DeviceId) IN (SELECT tenant, device FROM {self._devices} "
            f"UNION ALL SELECT tenant, owner FROM {self._owners}) "
            f"AND Timestamp >= (SELECT min(time) {times}) AND Timestamp <= (SELECT max(time) {times})"
        )
        device = "devices.device, devices.name, devices.device_group"
        join = (
            f"INNER JOIN {self._devices} AS devices "
            "ON lines.tenant = devices.tenant AND lines.host = devices.host"
        )
        if self._owned:
            device = ", ".join(
                choice(owned, named)
                for owned, named in (
                    ("owner", "device"),
                    ("owner_name", "name"),
                    ("owner_group", "device_group"),
                )
            )
            join = f"{join} {joined(self._owners)}"
        client.command(
            f"INSERT INTO {self._records} {_AS_THEY_COME} SELECT {columns}, {device} "
            f"FROM {self._lines} AS lines {join} "
            f"WHERE reason = '' AND (tenant, report) NOT IN ({before}) LIMIT 1 BY tenant, host, report"
        )

    def _kept(self) -> Iterator[Verdict]:
        """The new records of each batch, by kind."""
        counted = self._client.query(
            "SELECT batch, source, channel, kind, count() "
            f"FROM {self._records} GROUP BY batch, source, channel, kind"
        ).result_rows
        self._kinds = tuple({number for *_, number, _ in counted})
        for batch, source, channel, number, count in counted:
            kind = numbered()[number][1] if number else None
            table, name = (kind.table, kind.name) if kind else ("", "")
            yield Verdict(batch, table, "", count, source=source, channel=channel, kind=name)

    def _left_out(self) -> Iterator[Verdict]:
        """The lines of each batch that were rejected, and the records that were stored before."""
        counted = self._client.query(
            "SELECT batch, source, reason, count(), "
            f"arraySlice(arraySort(groupArrayIf(line_no, reason != '')), 1, {REJECTS_SHOWN}), "
            f"count() - countIf(reason = '' AND (tenant, batch, line_no) IN (SELECT tenant, batch, line_no "
            f"FROM {self._records})) FROM {self._lines} GROUP BY batch, source, reason"
        ).result_rows
        for batch, source, reason, count, numbers, duplicates in counted:
            if reason:
                yield Verdict(batch, "", reason, count, lines=tuple(numbers), source=source)
            elif duplicates:
                yield Verdict(batch, "", "", duplicates, source=source, duplicate=True)


class Sources:
    """What an ingester reads and stages records with; it remembers devices from group to group."""

    def __init__(self, store: TelemetryStore, database: Database) -> None:
        self._hosts = Hosts(store, database)
        self._most = store.settings.ingest_max_expanded * EXPANSION

    def lines(self, source: str, payload: bytes) -> bytes:
        """A body as JSON lines, whatever the sensor's own format. ApiError 413 when they are too long."""
        try:
            return body_lines(source, payload, self._most)
        except TooLong:
            raise too_large(self._most) from None

    def stage(self, store: TelemetryStore, client: Client, group_id: int) -> SourceStage:
        return SourceStage(store, client, group_id, self._hosts)


def _blocks(batches: Sequence[Staged]) -> Iterator[list[bytes]]:
    """The batches in ClickHouse's RowBinary format, cut between lines into blocks."""
    block: list[bytes] = []
    size = 0
    for number, batch in enumerate(batches):
        payload = batch.payload
        start = line = 0
        while start < len(payload):
            end = payload.find(b"\n", start + BLOCK_BYTES) if len(payload) - start > BLOCK_BYTES else -1
            piece = payload[start : end if end >= 0 else len(payload)]
            block += [struct.pack("<II", number, line)]
            for text in (batch.tenant_id, batch.source, batch.device_name):
                block += binary(text.encode())
            block += binary(piece)
            size += len(piece)
            if size >= BLOCK_BYTES:
                yield block
                block, size = [], 0
            line += piece.count(b"\n") + 1
            start += len(piece) + 1
    if block:
        yield block
