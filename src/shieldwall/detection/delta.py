"""What an agent's copy of the indicator list lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.detection.models import Indicator, IndicatorChange
from shieldwall.times import to_text

PAGE = 5000
"""Most changes in one delta; the agent asks on from where it ends."""


@dataclass(frozen=True)
class IndicatorDelta:
    """Changes from one revision to another; ``full`` replaces all that the agent has."""

    start: int
    end: int
    full: bool
    upsert: list[dict[str, Any]]
    delete: list[str]

    def body(self) -> dict[str, Any]:
        """As the agent protocol writes it."""
        return {
            "from": self.start,
            "to": self.end,
            "full": self.full,
            "upsert": self.upsert,
            "delete": self.delete,
        }


def delta_since(session: Session, tenant_id: str, revision: int, device_group: str) -> IndicatorDelta | None:
    """The next changes after ``revision`` for a device of ``device_group``; None when there are none."""
    newest = session.scalar(
        select(func.max(IndicatorChange.revision)).where(IndicatorChange.tenant_id == tenant_id)
    )
    newest = newest or 0
    if revision == newest:
        return None
    # An agent that is ahead has another server's list; it starts anew.
    full = revision == 0 or revision > newest
    start = 0 if full else revision
    changes = session.execute(
        select(IndicatorChange.revision, IndicatorChange.indicator_id, IndicatorChange.deleted)
        .where(IndicatorChange.tenant_id == tenant_id, IndicatorChange.revision > start)
        .order_by(IndicatorChange.revision)
        .limit(PAGE)
    ).all()
    end = changes[-1][0] if changes else newest
    numbers = {number for _, number, deleted in changes if not deleted}
    present = {
        indicator.id: indicator
        for chunk in _chunks(sorted(numbers))
        for indicator in session.scalars(select(Indicator).where(Indicator.id.in_(chunk)))
    }
    upsert = [_entry(indicator) for indicator in present.values() if _covers(indicator, device_group)]
    told = {entry["id"] for entry in upsert}
    gone = {str(number) for _, number, _ in changes} - told
    return IndicatorDelta(revision, end, full, upsert, [] if full else sorted(gone))


def _covers(indicator: Indicator, device_group: str) -> bool:
    return not indicator.rbac_group_names or device_group in indicator.rbac_group_names


def _entry(indicator: Indicator) -> dict[str, Any]:
    return {
        "id": str(indicator.id),
        "type": indicator.indicator_type,
        "value": indicator.match_value,
        "action": indicator.action,
        "severity": indicator.severity,
        "title": indicator.title,
        "generate_alert": indicator.generate_alert,
        "expires": to_text(indicator.expiration_time) if indicator.expiration_time else None,
    }


def _chunks(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + 500] for start in range(0, len(numbers), 500)]
