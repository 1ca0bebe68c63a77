"""When scheduled rules look, and at which window: one after another, none left out, none twice.

A rule's cursor says until when it has looked, in time of ingestion. Its next window ends one period later. A
window is looked at once it is over and what was being stored then is there to be read; after a pause of the
server the windows of the pause follow one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from shieldwall.detection.rules.builtin import builtin_rules
from shieldwall.detection.rules.checking import default_lookback
from shieldwall.detection.rules.models import RuleCursor, RuleTuning
from shieldwall.detection.rules.rule import CONTINUOUS, Rule
from shieldwall.identity.models import Tenant
from shieldwall.state.engine import Database
from shieldwall.times import now

FIRST_LOOK = timedelta(days=30)
"""How much of the past a new rule sees."""
IN_FORCE = timedelta(minutes=2)
"""Within it a new continuous rule is looked for in each group as it is stored."""
DUE_AT_ONCE = 200


@dataclass(frozen=True)
class Due:
    """A window that is over; ``end`` names it."""

    tenant_id: str
    rule_id: str
    end: datetime


def due(database: Database, until: datetime) -> Sequence[Due]:
    """Windows that ended before ``until``, the oldest first; of rules that are off none."""
    off = and_(RuleTuning.tenant_id == RuleCursor.tenant_id, RuleTuning.rule_id == RuleCursor.rule_id)
    wanted = (
        select(RuleCursor.tenant_id, RuleCursor.rule_id, RuleCursor.due)
        .outerjoin(RuleTuning, off)
        .where(RuleCursor.due <= until, or_(RuleTuning.enabled.is_(None), RuleTuning.enabled))
        .order_by(RuleCursor.due, RuleCursor.tenant_id, RuleCursor.rule_id)
        .limit(DUE_AT_ONCE)
    )
    with database.system_read() as session:
        return [Due(tenant_id, rule_id, end) for tenant_id, rule_id, end in session.execute(wanted) if end]


def window(rule: Rule, cursor: RuleCursor, end: datetime) -> tuple[datetime, datetime]:
    """What a run at ``end`` looks at: after the first moment, until the second."""
    if cursor.done_until is None:
        return end - FIRST_LOOK, end
    if rule.period == CONTINUOUS:
        return cursor.done_until, end
    lookback = timedelta(minutes=rule.lookback or default_lookback(rule.period))
    # A rule that was made less frequent, or whose clock was set back, still leaves nothing out.
    return min(cursor.done_until, end - lookback), end


def advance(cursor: RuleCursor, rule: Rule, end: datetime) -> None:
    """Note that the window that ended at ``end`` was looked at."""
    first, cursor.done_until = cursor.done_until is None, end
    if rule.period != CONTINUOUS:
        cursor.due = end + timedelta(minutes=rule.period)
    else:
        # Groups were stored without it until it was in force, which a second look at that time makes good.
        cursor.due = end + IN_FORCE if first else None


def begin_anew(session: Session, tenant_id: str, rule: Rule) -> None:
    """Go on from now: a rule that was off does not look at the time when it was."""
    cursor = session.get(RuleCursor, (tenant_id, rule.id))
    if cursor is not None and cursor.done_until is not None and cursor.due is not None:
        advance(cursor, rule, now())


def follow_builtin(database: Database) -> int:
    """Give every tenant a place in each built-in scheduled rule; how many are new."""
    scheduled = [rule for rule in builtin_rules().values() if rule.period != CONTINUOUS]
    if not scheduled:
        return 0
    ids = [rule.id for rule in scheduled]
    with database.system_read() as session:
        tenants = session.scalars(select(Tenant.id)).all()
        wanted = select(RuleCursor.tenant_id, RuleCursor.rule_id).where(RuleCursor.rule_id.in_(ids))
        present = {(tenant_id, rule_id) for tenant_id, rule_id in session.execute(wanted)}
    missing = [(tenant, rule) for tenant in tenants for rule in scheduled if (tenant, rule.id) not in present]
    if missing:
        with database.system_session() as session:
            for tenant_id, rule in missing:
                cursor = RuleCursor(tenant_id=tenant_id, rule_id=rule.id)
                advance(cursor, rule, now())
                session.merge(cursor)
    return len(missing)
