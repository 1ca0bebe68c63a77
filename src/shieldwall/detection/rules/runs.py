"""The record of runs: which window a rule looked at, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from shieldwall.detection.rules.models import RuleRun
from shieldwall.detection.rules.rule_set import Key
from shieldwall.state.engine import Database
from shieldwall.times import now

KEPT = timedelta(days=30)
COUNTS = ("rows", "alerts", "repeated", "suppressed", "over_limit")
PRUNED_AT_ONCE = 5000


def note_continuous(session: Session, outcomes: Mapping[Key, Mapping[str, int]]) -> None:
    """Add what groups came to onto the records of this hour: one for each rule that hit."""
    time = now()
    start = time.replace(minute=0, second=0, microsecond=0)
    end = start + timedelta(hours=1)
    for (tenant_id, rule_id), counts in outcomes.items():
        of_hour = (
            RuleRun.tenant_id == tenant_id,
            RuleRun.rule_id == rule_id,
            RuleRun.kind == "Continuous",
            RuleRun.window_end == end,
        )
        sums = {name: getattr(RuleRun, name) + counts[name] for name in COUNTS}
        added = session.execute(update(RuleRun).where(*of_hour).values(sums))
        if not added.rowcount:  # type: ignore[attr-defined]
            values = {name: counts[name] for name in COUNTS}
            session.add(
                RuleRun(
                    tenant_id=tenant_id,
                    rule_id=rule_id,
                    kind="Continuous",
                    window_start=start,
                    window_end=end,
                    started=time,
                    **values,
                )
            )
            session.flush()


def prune(database: Database) -> int:
    """Remove records of windows that lie longer back than is kept; how many."""
    with database.system_session() as session:
        old = select(RuleRun.id).where(RuleRun.window_end < now() - KEPT).limit(PRUNED_AT_ONCE)
        numbers = session.scalars(old).all()
        session.execute(delete(RuleRun).where(RuleRun.id.in_(numbers)))
    return len(numbers)
