"""From raw lines to typed columns, inside ClickHouse: no event becomes a Python object on the way.

A group's batches are staged as one row each, split into lines with a verdict on every line, and the good
lines of each table are inserted with one statement. On 100,000 process events of 1 kB, two cores: splitting
and judging 0.2 s, extracting 70 typed columns 0.2 s; the row-wise JSONEachRow reader takes about as long but
cannot judge lines singly, and pyarrow's JSON reader takes 0.5 s before it has stored anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from clickhouse_connect.driver.client import Client

from shieldwall.telemetry.ddl import DATABASE, REJECTS, search_indexes
from shieldwall.telemetry.schema import SOURCE_EVENTS, TABLES, Table
from shieldwall.telemetry.store import TelemetryStore

EVENT_TABLES = tuple(sorted(name for name, table in TABLES.items() if table.from_agents))
REJECTS_SHOWN = 1000
"""Most rejected lines whose numbers are told to the agent for one batch; the dead letters have them all."""
LOSSES = ("DeviceEvents", "SensorEventsLost")
"""Table and ActionType by which an agent tells what it lost."""

_SENDER = (
    "batch UInt32, tenant LowCardinality(String), device LowCardinality(String), "
    "name LowCardinality(String), device_group LowCardinality(String), "
    "stream LowCardinality(String), sequence Int64"
)
_BATCH = "batch, tenant, device, name, device_group, stream, sequence"


class Staged(Protocol):
    """What staging needs to know of a batch; ``payload`` is its expanded body."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def device_id(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def device_group(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def payload(self) -> bytes: ...


@dataclass(frozen=True)
class Verdict:
    """Lines of one batch that fared alike: stored in ``table``, or rejected for ``reason``."""

    batch: int
    table: str
    reason: str
    count: int
    extra: bool = False
    """Whether some of them have keys that are no column's."""
    lines: tuple[int, ...] = ()
    oldest: datetime | None = None
    dropped: int = 0
    """Events that the agent says it lost."""
    duplicate: bool = False
    """Whether they were stored before."""
    source: str = ""
    """Of records of other sensors: whose they are, and what kind of event the mapping says they tell of."""
    channel: str = ""
    kind: str = ""

    @property
    def tables(self) -> tuple[str, ...]:
        """Where they are stored."""
        if self.reason or self.duplicate:
            return ()
        whole = (SOURCE_EVENTS,) if self.source else ()
        return (*whole, self.table) if self.table else whole


@dataclass(frozen=True)
class Bounds:
    """Which event times are believed: seconds ahead of now, and days back."""

    future_seconds: int
    past_days: int
    table_days: Mapping[str, int] = field(default_factory=dict)
    """Days back of tables that are kept for another time."""

    @property
    def past(self) -> str:
        """SQL of the oldest time of a line's ``table``."""
        days = str(self.past_days)
        if self.table_days:
            others = [list(self.table_days), list(self.table_days.values())]
            days = f"transform(table, {others[0]}, {others[1]}, {days})"
        return f"now64(7) - toIntervalDay({days})"


class Staging(Protocol):
    """Scratch tables of one group; ``drop`` them when the group is stored."""

    def load(self, batches: Sequence[Staged], bounds: Bounds) -> list[Verdict]:
        """Stage the batches and judge each of their lines."""

    def store(self) -> None:
        """Insert the good lines, and keep the others with their reasons."""

    def drop(self) -> None: ...


class Stage:
    """The staging of agents' batches, whose lines are rows already."""

    def __init__(self, store: TelemetryStore, client: Client, group_id: int) -> None:
        self._store = store
        self._client = client
        self._group_id = group_id
        self._batches = f"{DATABASE}.stage_batches_{group_id}"
        self._lines = f"{DATABASE}.stage_lines_{group_id}"
        self._verdicts: list[Verdict] = []

    def load(self, batches: Sequence[Staged], bounds: Bounds) -> list[Verdict]:
        """Stage the batches and judge each of their lines."""
        client = self._client
        client.command(f"CREATE TABLE {self._batches} ({_SENDER}, payload String) ENGINE = Memory")
        self._store.insert_block(client, self._batches, _rows(batches), "RowBinary")
        client.command(
            f"CREATE TABLE {self._lines} ({_SENDER}, line_no UInt32, table LowCardinality(String), "
            "reason LowCardinality(String), extra Bool, time Nullable(DateTime64(7, 'UTC')), line String) "
            "ENGINE = Memory"
        )
        client.command(f"INSERT INTO {self._lines} {_judged(self._batches, bounds)}")
        client.command(f"TRUNCATE TABLE {self._batches}")
        found = client.query(
            "SELECT batch, table, reason, count(), max(extra), "
            f"arraySlice(arraySort(groupArrayIf(line_no, reason != '')), 1, {REJECTS_SHOWN}), min(time), "
            f"sum(if(table = '{LOSSES[0]}', if(JSONExtractString(line, 'ActionType') = '{LOSSES[1]}', "
            "least(JSONExtractUInt(line, 'AdditionalFields', 'Count'), 1000000000), 0), 0)) "
            f"FROM {self._lines} GROUP BY batch, table, reason"
        )
        self._verdicts = [
            Verdict(batch, table, reason, count, bool(extra), tuple(lines), oldest, dropped)
            for batch, table, reason, count, extra, lines, oldest, dropped in found.result_rows
        ]
        return self._verdicts

    def store(self) -> None:
        good = [verdict for verdict in self._verdicts if not verdict.reason]
        for name in dict.fromkeys(verdict.table for verdict in good):
            self._insert(TABLES[name], extra=False)
            if any(verdict.extra for verdict in good if verdict.table == name):
                self._insert(TABLES[name], extra=True)
        if len(good) < len(self._verdicts):
            self._store_rejects()

    def _insert(self, table: Table, *, extra: bool) -> None:
        """Insert the good lines of ``table``, those with keys that are no column's or those without."""
        ours = {"DeviceId": "device", "DeviceName": "name", "MachineGroup": "device_group"}
        if extra:
            ours["AdditionalFields"] = _additional_fields(table)
        ours = {name: value for name, value in ours.items() if table.has(name)}
        sent = [column for column in table.columns if column.name not in ours]
        # Extracted in the very types of the table, so that a row is parsed once and nothing is converted.
        types = ", ".join(f"`{column.name}` {column.clickhouse_type}" for column in sent).replace("'", "\\'")
        names = ", ".join(f"`{name}`" for name in (*ours, *(column.name for column in sent)))
        values = ", ".join(ours.values())
        # Merges make these indexes. New parts are searched without, and written in a quarter of the files.
        later = ", ".join(search_indexes(table))
        self._client.command(
            f"INSERT INTO {DATABASE}.{table.name} (TenantId, IngestionTime, GroupId, {names})\n"
            f"SETTINGS exclude_materialize_skip_indexes_on_insert = '{later}'\n"
            f"SELECT tenant, now64(3), {self._group_id}, {values}, "
            f"untuple(JSONExtract(line, 'Tuple({types})'))\n"
            f"FROM {self._lines} WHERE table = '{table.name}' AND reason = '' AND extra = {extra}"
        )

    def _store_rejects(self) -> None:
        """Keep the rejected lines with their reasons."""
        self._client.command(
            f"INSERT INTO {DATABASE}.{REJECTS} "
            f"SELECT tenant, now64(3), {self._group_id}, device, stream, sequence, line_no, reason, "
            f"substring(line, 1, 4096) FROM {self._lines} WHERE reason != ''"
        )

    def drop(self) -> None:
        for name in (self._batches, self._lines):
            self._client.command(f"DROP TABLE IF EXISTS {name} SYNC")


def _rows(batches: Sequence[Staged]) -> Iterator[bytes]:
    """The batches in ClickHouse's RowBinary format."""
    for number, batch in enumerate(batches):
        yield struct.pack("<I", number)
        for text in (batch.tenant_id, batch.device_id, batch.device_name, batch.device_group, batch.stream):
            yield from binary(text.encode())
        yield struct.pack("<q", batch.sequence)
        yield from binary(batch.payload)


def binary(value: bytes) -> Iterator[bytes]:
    """A text in ClickHouse's RowBinary format."""
    size = len(value)
    prefix = bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    yield bytes(prefix)
    yield value


def _judged(batches: str, bounds: Bounds) -> str:
    """Each line with its table, why it is rejected if it is, and whether it has keys of no column."""
    tables = _in(EVENT_TABLES)
    known = ", ".join(
        f"table = '{name}', arrayExists(k -> k NOT IN {_in(_keys(TABLES[name]))}, keys)"
        for name in EVENT_TABLES
    )
    return (
        f"SELECT {_BATCH}, line_no, if(table IN {tables}, table, '') AS table, "
        "multiIf("
        f"table != '' AND time <= now64(7) + {bounds.future_seconds} AND "
        f"time >= {bounds.past}, '', "
        "NOT isValidJSON(line) OR JSONType(line) != 'Object', 'not a JSON object', "
        "table = '', 'Table is not a hunting table that agents send', "
        "isNull(time), 'Timestamp is missing or not a time', "
        f"time > now64(7) + {bounds.future_seconds}, 'Timestamp lies in the future', "
        "'Timestamp is older than what is kept') AS reason, "
        f"multiIf({known}, false) AS extra, time, line "
        f"FROM (SELECT {_BATCH}, line_no, line, JSONExtractKeys(line) AS keys, "
        "JSONExtract(line, 'Tuple(`Table` LowCardinality(String), "
        "`Timestamp` Nullable(DateTime64(7, \\'UTC\\')))') AS head, head.1 AS table, head.2 AS time "
        f"FROM {batches} ARRAY JOIN splitByChar('\\n', payload) AS line, "
        "arrayEnumerate(splitByChar('\\n', payload)) AS line_no WHERE notEmpty(trim(line)))"
    )


def _keys(table: Table) -> tuple[str, ...]:
    return ("Table", "TenantId", "IngestionTime", "GroupId", *(column.name for column in table.columns))


def _in(names: Sequence[str]) -> str:
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"


def _additional_fields(table: Table) -> str:
    """What the line says of them, with the keys that are no column's put in."""
    told = "JSONExtractString(line, 'AdditionalFields')"
    # An object may come as itself or as text.
    raw = f"if(empty({told}), JSONExtractRaw(line, 'AdditionalFields'), {told})"
    base = f"if(isValidJSON({raw}) AND JSONType({raw}) = 'Object', {raw}, '{{}}')"
    others = f"arrayFilter(p -> p.1 NOT IN {_in(_keys(table))}, JSONExtractKeysAndValuesRaw(line))"
    added = f"arrayStringConcat(arrayMap(p -> concat(toJSONString(p.1), ':', p.2), {others}), ',')"
    return f"JSONMergePatch({base}, concat('{{', {added}, '}}'))"
