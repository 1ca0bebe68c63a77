"""What was stored for good: streams' high-water marks, committed groups, and the undoing of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shieldwall import log
from shieldwall.state.engine import Database
from shieldwall.telemetry.ddl import DATABASE, REJECTS, delete_groups
from shieldwall.telemetry.models import IngestGroup, IngestStream
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

GROUPS_KEPT = 1000
"""Committed groups that are remembered; older ones are below every group that recovery looks at."""
PRUNE_EVERY = 100

logger = log.get("ingest")


class Sent(Protocol):
    """Where a batch stands in its agent's stream."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def device_id(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def sequence(self) -> int: ...


def fresh(session: Session, batches: Sequence[Sent]) -> list[bool]:
    """Which of the batches were not stored yet; of two alike in one group, the first."""
    wanted = {(batch.device_id, batch.stream) for batch in batches}
    marks = {
        (row.device_id, row.stream): row.last_sequence
        for row in session.scalars(
            select(IngestStream).where(IngestStream.device_id.in_({device for device, _ in wanted}))
        )
    }
    seen: set[tuple[str, str, int]] = set()
    answer = []
    for batch in batches:
        key = (batch.device_id, batch.stream, batch.sequence)
        answer.append(batch.sequence > marks.get(key[:2], -1) and key not in seen)
        seen.add(key)
    return answer


def commit(session: Session, group_id: int, rows: int, batches: Iterable[Sent]) -> None:
    """Record in ``session`` that the group and its batches are stored."""
    time = now()
    session.add(IngestGroup(id=group_id, committed_time=time, rows=rows))
    marks: dict[tuple[str, str], Sent] = {}
    for batch in batches:
        key = (batch.device_id, batch.stream)
        if key not in marks or marks[key].sequence < batch.sequence:
            marks[key] = batch
    for (device_id, stream), batch in marks.items():
        session.merge(
            IngestStream(
                device_id=device_id,
                stream=stream,
                tenant_id=batch.tenant_id,
                last_sequence=batch.sequence,
                updated_time=time,
            )
        )
    if group_id % PRUNE_EVERY == 0:
        _prune(session)


def _prune(session: Session) -> None:
    """Forget old groups, but never the newest: recovery measures from the oldest that is left."""
    oldest = session.scalar(
        select(IngestGroup.id).order_by(IngestGroup.id.desc()).offset(GROUPS_KEPT).limit(1)
    )
    if oldest is not None:
        session.execute(delete(IngestGroup).where(IngestGroup.id < oldest))
    session.execute(delete(IngestStream).where(IngestStream.updated_time < now() - timedelta(days=400)))


def recover(store: TelemetryStore, database: Database) -> int:
    """Undo rows of groups that never committed; return the newest group id that was ever used."""
    with database.system_read() as session:
        committed = set(session.scalars(select(IngestGroup.id)))
        newest = session.scalar(select(func.max(IngestGroup.id))) or 0
    floor = min(committed, default=0)
    found = {
        int(row["GroupId"])
        for name in _stored_tables()
        for row in store.system_query(
            f"SELECT DISTINCT GroupId FROM {DATABASE}.{name} WHERE GroupId > {{floor:UInt64}}",
            {"floor": floor},
        )
    }
    lost = sorted(found - committed)
    if lost:
        logger.warning("undoing groups that never committed", groups=len(lost))
        undo(store, lost)
    store.drop_scratch_tables()
    return max(newest, *found, 0) if found else newest


def undo(store: TelemetryStore, groups: Sequence[int]) -> None:
    """Remove every row of these groups."""
    listed = ", ".join(str(int(group)) for group in groups)
    for name in _stored_tables():
        rows = store.system_query(f"SELECT count() AS n FROM {DATABASE}.{name} WHERE GroupId IN ({listed})")
        if rows[0]["n"]:
            store.command(delete_groups(name, groups, store.settings.clickhouse_cluster))


def _stored_tables() -> list[str]:
    return [*(name for name, table in TABLES.items() if table.grouped), REJECTS]
