"""Indicators that are new to the list, matched once with the stored past."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.detection.columns import MATCHED_TABLES
from shieldwall.detection.hits import Hit, find_hits
from shieldwall.detection.keys import scratch_keys
from shieldwall.detection.matching import raise_alerts
from shieldwall.detection.models import Indicator, IndicatorChange, LookbackCursor
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore

INDICATORS_AT_ONCE = 50_000
"""In one step: each reads the past once, however many they are."""


class Lookback:
    """Works through changes in their order. Its place is kept, so a crash repeats the last step only."""

    def __init__(self, store: TelemetryStore, database: Database, settings: Settings) -> None:
        self._store = store
        self._database = database
        self._days = settings.indicator_lookback_days
        self._window = settings.incident_window

    def run_pending(self) -> int:
        """One step: the oldest changes that were not looked back for yet; how many indicators."""
        with self._database.system_read() as session:
            start = session.scalar(select(LookbackCursor.revision)) or 0
            end, rows = _pending(session, start)
        if end == start:
            return 0
        hits: list[Hit] = []
        if rows:
            kinds = {kind for _, kind, _ in rows}
            since = f"Timestamp >= now64(7) - INTERVAL {self._days} DAY"
            with scratch_keys(self._store, rows) as members:
                for table in MATCHED_TABLES:
                    hits += find_hits(self._store, table, since, members, kinds)
        with self._database.system_session() as session:
            raise_alerts(session, hits, self._window)
            session.merge(LookbackCursor(id=1, revision=end))
        return len(rows)


def _pending(session: Session, start: int) -> tuple[int, list[tuple[str, str, str]]]:
    """Up to which revision the step goes, and tenant, type and value of each indicator in it."""
    step = (
        select(IndicatorChange.revision)
        .where(IndicatorChange.revision > start)
        .order_by(IndicatorChange.revision)
        .limit(INDICATORS_AT_ONCE)
    )
    end = session.scalar(select(func.max(step.subquery().c.revision))) or start
    changed = select(IndicatorChange.indicator_id).where(
        IndicatorChange.revision > start, IndicatorChange.revision <= end
    )
    rows = session.execute(
        select(Indicator.tenant_id, Indicator.indicator_type, Indicator.match_value).where(
            Indicator.id.in_(changed), Indicator.generate_alert
        )
    )
    return end, [(row[0], row[1], row[2]) for row in rows]
