"""Software, vulnerabilities and recommendations as they were computed last, so that one is read at once.

Computing one of them takes as long as computing all, since its effect on the score depends on everything else
that its devices have. So all of a tenant's are computed together, some time after its inventories change, and
kept in ClickHouse by their ids.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import orjson

from shieldwall import log
from shieldwall.exposure.configurations import RECOMMENDATIONS
from shieldwall.exposure.weaknesses import SOFTWARE, VULNERABILITIES
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

TABLE = "ExposureSummaries"
KINDS: Mapping[str, str] = {
    "Software": SOFTWARE,
    "Vulnerabilities": VULNERABILITIES,
    "Recommendations": RECOMMENDATIONS,
}
"""What is kept, with the SQL that computes it; each has an ``id``."""

INVENTORIES = (
    "DeviceTvmSoftwareInventory",
    "DeviceTvmSoftwareVulnerabilities",
    "DeviceTvmSoftwareVulnerabilitiesKB",
    "DeviceTvmSecureConfigurationAssessment",
    "DeviceTvmSecureConfigurationAssessmentKB",
)
APART = 60.0
"""Seconds between two computations for a tenant whose inventories change all the time."""
SERVED = 300.0
"""Seconds for which what was computed is answered while inventories change: computing may take its time."""
SETTLED = timedelta(seconds=10)
"""A row may become visible that much later than its time."""
KEPT_DAYS = 2
RENEWED = timedelta(hours=12)

logger = log.get("exposure")


@dataclass(frozen=True)
class _Made:
    """A computation: what came in until ``until`` is in it, and it may be answered before ``expires``."""

    until: datetime
    began: float
    expires: float


class Summaries:
    """Answers for whole tenants only: who is limited to device groups has figures of their own."""

    def __init__(self, store: TelemetryStore) -> None:
        self._store = store
        self._lock = Lock()
        self._made: dict[str, _Made] = {}
        self._newest: dict[str, datetime] = {}
        self._looked = datetime(2000, 1, 1, tzinfo=UTC)
        store.command(_definition(store.settings.clickhouse_cluster))

    def find(self, tenant_id: str, kind: str, identifier: str) -> dict[str, Any] | None:
        """The row of ``kind`` with this id, in any case; times are texts. None where it must be computed."""
        with self._lock:
            made = self._made.get(tenant_id)
        if made is None or made.expires < time.monotonic():
            return None
        found = self._store.system_query(
            f"SELECT Row FROM {DATABASE}.{TABLE} "
            "WHERE TenantId = {tenant:String} AND Kind = {kind:String} "
            "AND Id = lower({id:String}) AND Made >= {made:DateTime64(6, 'UTC')} ORDER BY Made DESC LIMIT 1",
            {"tenant": tenant_id, "kind": kind, "id": identifier, "made": _text(made.until)},
        )
        return dict(orjson.loads(found[0]["Row"])) if found else None

    def refresh(self) -> None:
        """Compute for each tenant whose inventories have changed, or whose computation is old."""
        self._look()
        for tenant_id, newest in self._newest.items():
            made = self._made.get(tenant_id)
            if made is None:
                self.compute(tenant_id)
            elif newest > made.until - SETTLED or made.until < now() - RENEWED:
                if time.monotonic() - made.began >= APART:
                    self.compute(tenant_id)
            else:
                self._answer(tenant_id, made.until, made.began)

    def _look(self) -> None:
        """When the newest row of each tenant came in; only what has come since the last look is read."""
        begin = now()
        rows = " UNION ALL ".join(
            f"SELECT TenantId, max(IngestionTime) AS time FROM {DATABASE}.{name} "
            "WHERE IngestionTime > {since:DateTime64(6, 'UTC')} GROUP BY TenantId"
            for name in INVENTORIES
        )
        found = self._store.system_query(
            f"SELECT TenantId, max(time) AS newest FROM ({rows}) GROUP BY TenantId",
            {"since": _text(self._looked)},
        )
        self._newest |= {row["TenantId"]: row["newest"] for row in found}
        self._looked = begin - SETTLED

    def compute(self, tenant_id: str) -> None:
        """Compute what is kept of a tenant, and answer it from now on."""
        began, until = time.monotonic(), now()
        for kind, sql in KINDS.items():
            self._store.insert_selected(
                tenant_id,
                TABLE,
                f"SELECT '{tenant_id}', '{kind}', lower(id), {{until:DateTime64(6, 'UTC')}}, "
                f"formatRowNoNewline('JSONEachRow', *) FROM ({sql})",
                {"until": _text(until)},
            )
        self._answer(tenant_id, until, began)
        logger.debug("exposure computed", tenant=tenant_id, seconds=round(time.monotonic() - began, 2))

    def _answer(self, tenant_id: str, until: datetime, began: float) -> None:
        with self._lock:
            self._made[tenant_id] = _Made(until, began, time.monotonic() + SERVED)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _definition(cluster: str) -> str:
    engine = "ReplacingMergeTree(Made)"
    if cluster:
        path = f"'/clickhouse/tables/all/{DATABASE}/{TABLE}', '{{shard}}-{{replica}}'"
        engine = f"ReplicatedReplacingMergeTree({path}, Made)"
    return (
        f"CREATE TABLE IF NOT EXISTS {DATABASE}.{TABLE}{f' ON CLUSTER `{cluster}`' if cluster else ''} (\n"
        "  TenantId LowCardinality(String), Kind LowCardinality(String), Id String,\n"
        "  Made DateTime64(6, 'UTC'), Row String CODEC(ZSTD(1))\n"
        f") ENGINE = {engine}\nORDER BY (TenantId, Kind, Id)\n"
        f"TTL toDateTime(Made) + INTERVAL {KEPT_DAYS} DAY\nSETTINGS index_granularity = 256"
    )
