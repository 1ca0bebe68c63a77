"""Telemetry that comes after the alert that it explains: it is looked at at once, not at the next try."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from shieldwall.detection.external.flows import bare, both_forms
from shieldwall.detection.external.models import WAITING, ReceivedAlert
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.ingest import StoredGroup
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

TABLE = "DeviceNetworkEvents"
WAITING_LIMIT = 2_000
"""Most waiting alerts that are looked at for one group; the others have their tries."""


class LateTelemetry:
    """An observer of ingestion: connections to addresses of waiting alerts make these due."""

    def __init__(self, store: TelemetryStore) -> None:
        self._store = store

    def observe(self, group: StoredGroup, session: Session) -> Callable[[], None] | None:
        if TABLE not in group.rows:
            return None
        waiting = session.execute(
            select(ReceivedAlert.id, ReceivedAlert.tenant_id, ReceivedAlert.wanted)
            .where(ReceivedAlert.state == WAITING, ReceivedAlert.tenant_id.in_(group.tenants))
            .order_by(ReceivedAlert.next_try.desc())
            .limit(WAITING_LIMIT)
        ).all()
        addresses = sorted({form for row in waiting for each in row.wanted for form in both_forms(each)})
        if not addresses:
            return None
        seen = self._store.system_query(
            f"SELECT DISTINCT toString(TenantId) AS tenant, RemoteIP AS address FROM {DATABASE}.{TABLE} "
            f"WHERE GroupId = {group.id} AND RemoteIP IN {{addresses:Array(String)}}",
            {"addresses": addresses},
        )
        named = {(row["tenant"], bare(row["address"])) for row in seen}
        due = [row.id for row in waiting if any((row.tenant_id, each) in named for each in row.wanted)]
        if due:
            # A look that telemetry asked for is none of the tries.
            spared = case((ReceivedAlert.tries > 0, ReceivedAlert.tries - 1), else_=0)
            mine = update(ReceivedAlert).where(ReceivedAlert.id.in_(due))
            session.execute(mine.values(next_try=now(), tries=spared))
        return None
