"""Storing batches of agents and other sensors: grouped, bounded, once, acknowledged only when durable.

A batch's rows go to ClickHouse under the id of its group. Then one transaction of the state commits the
group's id, how far each agent's stream has come, and whatever the observers wrote. A group whose id was never
committed is undone at the next start, and its senders, never acknowledged, send it again. Records of other
sensors carry no place in a stream: what was stored before is known by the record itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from clickhouse_connect.driver.client import Client
from sqlalchemy.orm import Session

from shieldwall import log, metrics
from shieldwall.errors import ApiError, too_many_requests
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry import ledger
from shieldwall.telemetry.staging import Bounds, Stage, Staging, Verdict
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.telemetry.unpack import too_large, unpack
from shieldwall.times import now

GROUP_BYTES = 32 << 20
GROUP_BATCHES = 512
GROUPS_AT_ONCE = 2
"""While one group is written to disk, the lines of another are read."""
SHARE_BYTES = 8 << 20
"""Less than this is not worth a group of its own beside another."""
GATHER_STEP = 0.01
"""Seconds."""
GATHER_STEPS = 10
SMALL_BYTES = 1 << 20
SMALL_APART = 0.5
"""Seconds between the beginnings of two groups of less than that: a group takes as long for one event as for
two thousand, and many small ones leave requests and merges no time."""
RETRY_AFTER = 2

logger = log.get("ingest")


@dataclass(frozen=True)
class Batch:
    """What one agent sent: NDJSON in ``body``, compressed as ``encoding`` says."""

    tenant_id: str
    device_id: str
    device_name: str
    device_group: str
    stream: str
    sequence: int
    body: bytes
    encoding: str
    source: str = ""
    """Where the lines are records of another sensor: the form they are in. The device is then only the one of
    records that name none, and stream and sequence mean nothing."""


@dataclass(frozen=True)
class Rejection:
    """A line that could not be stored."""

    line: int
    reason: str


@dataclass(frozen=True)
class BatchResult:
    """How a batch fared; a duplicate was stored before."""

    stored: int
    duplicate: bool
    rejected: tuple[Rejection, ...]
    verdicts: tuple[Verdict, ...] = ()
    """Of records of other sensors: all counts, by source and kind."""


@dataclass(frozen=True)
class StoredGroup:
    """Rows that were just stored together: their GroupId, how many by table, and whose they are."""

    id: int
    rows: Mapping[str, int]
    tenants: frozenset[str]


class Observer(Protocol):
    """Looks at each group before it is committed; runs in a worker thread."""

    def observe(self, group: StoredGroup, session: Session) -> Callable[[], None] | None:
        """Write what follows from the group into ``session``; what is returned runs after the commit."""


@dataclass(frozen=True)
class _Unpacked:
    tenant_id: str
    device_id: str
    device_name: str
    device_group: str
    stream: str
    sequence: int
    payload: bytes
    source: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is stored in order with: its stream, or all records of other sensors of its tenant, so that
        one that comes twice at once is found to be stored."""
        return ("", self.tenant_id) if self.source else (self.device_id, self.stream)


@dataclass(frozen=True)
class _Waiting:
    batch: _Unpacked
    answer: asyncio.Future[BatchResult]


class Sources(Protocol):
    """What is known of other sensors' records."""

    def lines(self, source: str, payload: bytes) -> bytes:
        """A body as JSON lines, whatever the sensor's own format."""

    def stage(self, store: TelemetryStore, client: Client, group_id: int) -> Staging:
        """The staging of one group of records."""


class Ingester:
    """Takes batches from many requests and stores them in groups; ``sources`` stages other sensors'."""

    def __init__(
        self,
        store: TelemetryStore,
        database: Database,
        observers: Iterable[Observer] = (),
        sources: Sources | None = None,
    ) -> None:
        self._store = store
        self._settings: Settings = store.settings
        self._database = database
        self._observers = tuple(observers)
        self._sources = sources
        self._waiting: list[_Waiting] = []
        self._busy: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        self._pending = 0
        self._unpacking = 0
        self._last_group = 0
        self._last_begin = 0.0
        self._ids = threading.Lock()
        self._commits = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Undo what was stored but never committed, then begin to store."""
        self._last_group = await asyncio.to_thread(ledger.recover, self._store, self._database)
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Store what is waiting, then end."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._changed.set()
        await task

    async def submit(self, batch: Batch) -> BatchResult:
        """Store a batch; returns when it is durable. ApiError 400, 413 or 429 when it is not taken."""
        if self._task is None:
            raise too_many_requests("The server is stopping.", RETRY_AFTER)
        settings = self._settings
        if len(batch.body) > settings.ingest_max_compressed:
            raise too_large(settings.ingest_max_compressed)
        if self._pending > settings.ingest_max_pending:
            metrics.batches.labels("refused").inc()
            raise too_many_requests("The server is behind; send the batch again.", RETRY_AFTER)
        reserved = len(batch.body)
        self._reserve(reserved)
        try:
            self._unpacking += 1
            try:
                payload = await asyncio.to_thread(_expand, batch, settings, self._sources)
            except ApiError:
                metrics.batches.labels("invalid").inc()
                raise
            finally:
                self._unpacking -= 1
            self._reserve(len(payload) - reserved)
            reserved = len(payload)
            unpacked = _Unpacked(
                batch.tenant_id,
                batch.device_id,
                batch.device_name,
                batch.device_group,
                batch.stream,
                batch.sequence,
                payload,
                batch.source,
            )
            answer: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
            self._waiting.append(_Waiting(unpacked, answer))
            self._changed.set()
            return await answer
        finally:
            self._reserve(-reserved)

    def _reserve(self, size: int) -> None:
        self._pending += size
        metrics.ingest_pending.set(self._pending)

    async def _work(self) -> None:
        """Store groups as batches arrive, several at once, until stopped and done."""
        storing: set[asyncio.Task[None]] = set()

        def stored(task: asyncio.Task[None], streams: set[tuple[str, str]]) -> None:
            storing.discard(task)
            self._busy -= streams
            self._changed.set()

        while self._task is not None or self._waiting or storing:
            await self._changed.wait()
            self._changed.clear()
            await self._gather()
            await self._pause()
            while len(storing) < GROUPS_AT_ONCE and (group := self._take(GROUPS_AT_ONCE - len(storing))):
                self._last_begin = time.monotonic()
                task = asyncio.create_task(self._answer(group))
                storing.add(task)
                streams = {waiting.batch.key for waiting in group}
                self._busy |= streams
                task.add_done_callback(partial(stored, streams=streams))

    async def _gather(self) -> None:
        """Let what arrives at the same time come together: each group has a price of its own."""
        for _ in range(GATHER_STEPS):
            if not self._unpacking or self._waiting_bytes() > GROUP_BYTES:
                return
            await asyncio.sleep(GATHER_STEP)

    async def _pause(self) -> None:
        """Let small groups come some time apart; the first after such a time is stored at once."""
        until = self._last_begin + SMALL_APART
        while self._task is not None and 0 < self._waiting_bytes() < SMALL_BYTES:
            left = until - time.monotonic()
            if left <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
            self._changed.clear()

    def _waiting_bytes(self) -> int:
        return sum(len(waiting.batch.payload) for waiting in self._waiting)

    def _take(self, free: int) -> list[_Waiting]:
        """The oldest waiting batches of streams of which none is being stored: a group's share of them where
        ``free`` groups can be stored at once, up to a group's size."""
        group: list[_Waiting] = []
        left: list[_Waiting] = []
        size = 0
        most = min(GROUP_BYTES, max(SHARE_BYTES, self._waiting_bytes() // free))
        for waiting in self._waiting:
            size += len(waiting.batch.payload)
            full = len(group) >= GROUP_BATCHES or (group and size > most)
            other = group and bool(waiting.batch.source) != bool(group[0].batch.source)
            (left if full or other or waiting.batch.key in self._busy else group).append(waiting)
        self._waiting = left
        return group

    async def _answer(self, group: list[_Waiting]) -> None:
        """Store a group and answer its requests; when it fails, each batch gets its own try."""
        try:
            results = await asyncio.to_thread(self._store_group, [waiting.batch for waiting in group])
        except Exception as error:
            logger.exception("a group was not stored", batches=len(group))
            if len(group) > 1:
                for waiting in group:
                    await self._answer([waiting])
                return
            metrics.batches.labels("failed").inc()
            if not group[0].answer.done():
                refusal = (
                    error
                    if isinstance(error, ApiError)
                    else ApiError(
                        503, "InternalServerError", "The batch was not stored.", headers={"Retry-After": "5"}
                    )
                )
                if refusal is not error:
                    refusal.__cause__ = error
                group[0].answer.set_exception(refusal)
            return
        for waiting, result in zip(group, results, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(result)

    def _store_group(self, batches: Sequence[_Unpacked]) -> list[BatchResult]:
        began = time.monotonic()
        streams = [batch for batch in batches if not batch.source]
        with self._database.system_read() as session:
            fresh = ledger.fresh(session, streams) if streams else [True] * len(batches)
        chosen = [batch for batch, new in zip(batches, fresh, strict=True) if new]
        verdicts = self._store_fresh(chosen) if chosen else []
        metrics.ingest_flush.observe(time.monotonic() - began)
        numbers = iter(range(len(chosen)))
        metrics.batches.labels("stored").inc(len(chosen))
        for batch, new in zip(batches, fresh, strict=True):
            if not new:
                metrics.batches.labels("duplicate").inc()
                metrics.events.labels("duplicate", "unknown").inc(len(batch.payload.splitlines()))
        return [_result(verdicts, next(numbers)) if new else _DUPLICATE for new in fresh]

    def _store_fresh(self, batches: Sequence[_Unpacked]) -> list[Verdict]:
        with self._ids:
            self._last_group = group_id = max(self._last_group + 1, time.time_ns() // 1000)
        settings = self._settings
        bounds = Bounds(settings.ingest_max_future, settings.retention_days, settings.table_days)
        verdicts: list[Verdict] = []
        try:
            with self._store.writer() as client:
                stage = self._stage(batches[0].source, client, group_id)
                try:
                    verdicts = stage.load(batches, bounds)
                    rows = _count(verdicts)
                    for verdict in verdicts:
                        metrics.events.labels("received", verdict.table or "unknown").inc(verdict.count)
                    stage.store()
                finally:
                    stage.drop()
            group = StoredGroup(group_id, rows, frozenset(batch.tenant_id for batch in batches))
            # One after another: what observers conclude may rest on what they concluded before.
            with self._commits, self._database.system_session() as session:
                afterwards = [observer.observe(group, session) for observer in self._observers if rows]
                streams = [batch for batch in batches if not batch.source]
                ledger.commit(session, group_id, sum(rows.values()), streams)
        except BaseException:
            for verdict in verdicts:
                metrics.events.labels("failed", verdict.table or "unknown").inc(verdict.count)
            ledger.undo(self._store, [group_id])
            raise
        _note(verdicts)
        for action in afterwards:
            if action:
                action()
        return verdicts

    def _stage(self, source: str, client: Client, group_id: int) -> Staging:
        if not source:
            return Stage(self._store, client, group_id)
        assert self._sources is not None
        return self._sources.stage(self._store, client, group_id)


def _expand(batch: Batch, settings: Settings, sources: Sources | None) -> bytes:
    """The lines of a batch; ApiError when it is broken or over the bounds."""
    payload = unpack(batch.body, batch.encoding, settings.ingest_max_expanded)
    if batch.source:
        assert sources is not None
        payload = sources.lines(batch.source, payload)
    if payload.count(b"\n") > settings.ingest_max_rows:
        raise too_large(settings.ingest_max_rows, "lines")
    return payload


_DUPLICATE = BatchResult(0, True, ())


def _note(verdicts: Sequence[Verdict]) -> None:
    """Count what became of the lines of a group that is stored."""
    time = now()
    for verdict in verdicts:
        table = verdict.table or "unknown"
        stage = "rejected" if verdict.reason else "duplicate" if verdict.duplicate else "stored"
        metrics.events.labels(stage, table).inc(verdict.count)
        if verdict.source:
            metrics.records.labels(verdict.source, verdict.kind, stage).inc(verdict.count)
        if verdict.dropped and not verdict.reason:
            metrics.events.labels("dropped", "unknown").inc(verdict.dropped)
        if verdict.oldest and not verdict.reason:
            metrics.ingest_lag.observe(max(0.0, (time - verdict.oldest).total_seconds()))


def _count(verdicts: Sequence[Verdict]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for verdict in verdicts:
        for table in verdict.tables:
            rows[table] = rows.get(table, 0) + verdict.count
    return rows


def _result(verdicts: Sequence[Verdict], batch: int) -> BatchResult:
    mine = [verdict for verdict in verdicts if verdict.batch == batch]
    rejected = [Rejection(line, verdict.reason) for verdict in mine for line in verdict.lines]
    return BatchResult(
        sum(verdict.count for verdict in mine if not verdict.reason and not verdict.duplicate),
        False,
        tuple(sorted(rejected, key=lambda rejection: rejection.line)),
        tuple(verdict for verdict in mine if verdict.source or verdict.duplicate),
    )
