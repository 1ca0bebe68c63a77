"""One look of a rule at one window: its query over what was stored in it, then alerts, record and cursor in
one transaction. Whatever stops it, the window is looked at whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from shieldwall.detection.rules import rule_set, schedule
from shieldwall.detection.rules.checking import default_lookback, tables_of
from shieldwall.detection.rules.hits import Outcome, raise_hits
from shieldwall.detection.rules.models import RuleCursor, RuleRun
from shieldwall.detection.rules.rule import Rule, RuleHit
from shieldwall.detection.rules.rule_set import ActiveRule
from shieldwall.errors import ApiError, not_found
from shieldwall.settings import Settings
from shieldwall.state import scope
from shieldwall.state.engine import Database
from shieldwall.telemetry.hunting import Cancellation, Hunting, Limits
from shieldwall.times import now

LIMITS = Limits(seconds=120, rows=5_000_000, memory=400_000_000)
"""Of one run. More rows than are held are counted, so that the record tells how many there were."""
HELD_ROWS = 10_000
HELD_BYTES = 64 << 20
ERROR_LIMIT = 2000


@dataclass
class Found:
    """The rows of a query: so many as are held, and how many there were."""

    hits: list[RuleHit] = field(default_factory=list)
    rows: int = 0
    error: str | None = None


class RuleRunner:
    """Safe to use from any thread. ``cancel`` stops what runs, and with it what it would have written."""

    def __init__(self, database: Database, hunting: Hunting, settings: Settings) -> None:
        self._database = database
        self._hunting = hunting
        self._window = settings.incident_window

    def run_due(
        self, tenant_id: str, rule_id: str, end: datetime, cancellation: Cancellation | None = None
    ) -> RuleRun | None:
        """Look at the window that ends at ``end``; None when that was done before, or is not to be done."""
        with self._database.system_read() as session:
            cursor = session.get(RuleCursor, (tenant_id, rule_id))
            active = rule_set.load_one(session, tenant_id, rule_id)
        if active is None or cursor is None or cursor.due != end:
            return None
        start, _ = schedule.window(active.rule, cursor, end)
        kind = "Initial" if cursor.done_until is None else "Scheduled"
        began, clock = now(), time.monotonic()
        found = self._query(active, start, end, cancellation)
        if cancellation is not None and cancellation.cancelled.is_set():
            raise Interrupted
        with self._database.system_session() as session:
            kept = session.get(RuleCursor, (tenant_id, rule_id), with_for_update=True, populate_existing=True)
            if kept is None or kept.due != end:
                return None
            run = self._record(session, active, kind, (start, end), began, found)
            run.seconds = time.monotonic() - clock
            schedule.advance(kept, active.rule, end)
        return run

    def run_now(self, tenant_id: str, rule_id: str) -> RuleRun:
        """Look at what the rule would look at now, besides its schedule. ApiError 404 unknown or off."""
        with self._database.system_read() as session:
            active = rule_set.load_one(session, tenant_id, rule_id)
        if active is None:
            raise not_found("Enabled detection rule", rule_id[:100])
        minutes = active.rule.lookback or default_lookback(active.rule.period)
        began, clock = now(), time.monotonic()
        start = began - (timedelta(minutes=minutes) if minutes else schedule.FIRST_LOOK)
        found = self._query(active, start, began, None)
        with self._database.system_session() as session:
            run = self._record(session, active, "Manual", (start, began), began, found)
            run.seconds = time.monotonic() - clock
        return run

    def _query(
        self, active: ActiveRule, start: datetime, end: datetime, cancellation: Cancellation | None
    ) -> Found:
        # In a context of its own: the rule's device groups are the limit, not those of whoever called.
        return Context().run(self._query_here, active, start, end, cancellation)

    def _query_here(
        self, active: ActiveRule, start: datetime, end: datetime, cancellation: Cancellation | None
    ) -> Found:
        groups = active.tuning.device_groups
        if groups is not None:
            scope.narrow(scope.DeviceScope(names=groups))
        found = Found()
        table = table_of(active.rule)
        try:
            with self._hunting.hunt(
                active.tenant_id,
                active.rule.query,
                LIMITS,
                cancellation=cancellation,
                ingested=(start, end),
            ) as hunt:
                names = [name for name, _ in hunt.columns]
                size = 0
                for values in hunt.rows:
                    found.rows += 1
                    if len(found.hits) < HELD_ROWS and size < HELD_BYTES:
                        row = dict(zip(names, values, strict=True))
                        size += _size(row)
                        found.hits.append(RuleHit(active.rule.id, active.tenant_id, table, row))
        except ApiError as error:
            # A query that is wrong, or asks for too much, is so again: it is told, and the window is done.
            found.error = error.message[:ERROR_LIMIT]
        return found

    def _record(
        self,
        session: Session,
        active: ActiveRule,
        kind: str,
        looked_at: tuple[datetime, datetime],
        began: datetime,
        found: Found,
    ) -> RuleRun:
        key = (active.tenant_id, active.rule.id)
        outcome = Outcome()
        if found.hits:
            rules = rule_set.only(active)
            outcomes = raise_hits(session, found.hits, rules, self._window, looked_at[1], limited=True)
            outcome = outcomes.get(key, outcome)
        left = found.rows - len(found.hits)
        run = RuleRun(
            tenant_id=key[0],
            rule_id=key[1],
            kind=kind,
            window_start=looked_at[0],
            window_end=looked_at[1],
            started=began,
            rows=outcome.rows + left,
            alerts=outcome.alerts,
            repeated=outcome.repeated,
            suppressed=outcome.suppressed,
            over_limit=outcome.over_limit + left,
            error=found.error,
        )
        session.add(run)
        return run


class Interrupted(Exception):
    """The server stops; the window is left to its next start."""


def table_of(rule: Rule) -> str:
    """The hunting table that a rule's rows are of; empty where it reads several."""
    tables = tables_of(rule.query)
    return tables[0] if len(tables) == 1 else ""


def _size(row: Mapping[str, Any]) -> int:
    return sum(len(value) if isinstance(value, str) else 32 for value in row.values())
