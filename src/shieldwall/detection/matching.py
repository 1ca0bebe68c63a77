"""Every stored group of events against the whole indicator list, before the group is acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy.orm import Session

from shieldwall import metrics
from shieldwall.alerts.raising import raise_many
from shieldwall.detection.columns import MATCHED_TABLES
from shieldwall.detection.drafts import combined, draft
from shieldwall.detection.hits import Hit, find_hits
from shieldwall.detection.keys import TABLE, IndicatorKeys
from shieldwall.detection.verdicts import load_listed, verdicts
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import StoredGroup
from shieldwall.telemetry.store import TelemetryStore


class IndicatorMatcher:
    """An observer of ingestion: its alerts commit together with the group that they come from."""

    def __init__(self, store: TelemetryStore, database: Database, settings: Settings) -> None:
        self._store = store
        self._database = database
        self._window = settings.incident_window
        self._keys = IndicatorKeys(store)

    def start(self) -> None:
        """Load the list's keys; takes some seconds with a million of them."""
        with self._database.system_read() as session:
            self._keys.refresh(session)

    def observe(self, group: StoredGroup, session: Session) -> Callable[[], None] | None:
        self._keys.refresh(session)
        if not self._keys.kinds:
            return None
        hits = [
            hit
            for table in group.rows
            if table in MATCHED_TABLES
            for hit in find_hits(self._store, table, f"GroupId = {group.id}", TABLE, self._keys.kinds)
        ]
        if not hits:
            return None
        raise_alerts(session, hits, self._window)
        matched: dict[str, int] = {}
        for hit in hits:
            matched[hit.table] = matched.get(hit.table, 0) + 1

        def count() -> None:
            for table, number in matched.items():
                metrics.events.labels("matched", table).inc(number)

        return count


def raise_alerts(session: Session, hits: Iterable[Hit], incident_window: int) -> int:
    """Raise what the hits call for; how many alerts are new."""
    hits = list(hits)
    listed = load_listed(session, hits)
    drafts = [
        draft(hit, verdict)
        for hit in hits
        for verdict in verdicts(hit, listed)
        if verdict.indicator.generate_alert
    ]
    ordered = sorted(combined(drafts), key=lambda item: item.first_event_time)
    return sum(new for _, new in raise_many(session, ordered, incident_window))
