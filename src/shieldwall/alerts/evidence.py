"""Entities of alerts: each is kept once, with the strongest that became of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import Table, case, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.drafts import EVIDENCE_COLUMNS, EvidenceDraft
from shieldwall.alerts.models import Alert, Evidence
from shieldwall.state.bulk import insert_rows
from shieldwall.times import now

EVIDENCE_LIMIT = 200
"""Most entities of one alert; a noisy detection goes on being counted."""

_EVIDENCE = cast(Table, Evidence.__table__)
_values = attrgetter(*EVIDENCE_COLUMNS)
_REMEDIATION = {"Prevented": "Prevented", "Blocked": "Blocked"}
_STATUSES = ("", "Detected", "Blocked", "Prevented")
"""What became of an entity, the stronger the later."""


def add_evidence(session: Session, alert: Alert, drafts: Iterable[EvidenceDraft]) -> int:
    """How many entities are new to the alert, or known to have come to more than was known of them."""
    present = select(Evidence.digest, Evidence.detection_status).where(Evidence.alert_id == alert.id)
    known = {row.digest: row.detection_status for row in session.execute(present)}
    rows: list[dict[str, Any]] = []
    noted = 0
    time = now()
    for digest, draft in by_digest(drafts).items():
        if digest in known:
            if _strength(draft.detection_status) > _strength(known[digest]):
                _note_status(session, alert, digest, draft)
                noted += 1
        elif len(known) < EVIDENCE_LIMIT:
            known[digest] = draft.detection_status
            rows.append(evidence_row(alert.tenant_id, alert.id, digest, draft, time))
    if rows:
        insert_rows(session.connection(), _EVIDENCE, rows)
        session.expire(alert, ["evidence"])
    return len(rows) + noted


def by_digest(drafts: Iterable[EvidenceDraft]) -> dict[str, EvidenceDraft]:
    """Each entity once, with the strongest status that is told of it."""
    found: dict[str, EvidenceDraft] = {}
    for draft in drafts:
        first = found.setdefault(draft.digest(), draft)
        if _strength(draft.detection_status) > _strength(first.detection_status):
            found[draft.digest()] = draft
    return found


def _strength(status: str | None) -> int:
    return _STATUSES.index(status) if status in _STATUSES else 0


def _note_status(session: Session, alert: Alert, digest: str, draft: EvidenceDraft) -> None:
    """What was only seen at first was stopped after all."""
    status = draft.detection_status
    session.execute(
        update(Evidence)
        .where(Evidence.alert_id == alert.id, Evidence.digest == digest)
        .values(
            detection_status=status,
            remediation_status=case(
                (Evidence.remediation_status == "None", _REMEDIATION.get(status or "", "None")),
                else_=Evidence.remediation_status,
            ),
        )
    )
    session.expire(alert, ["evidence"])


def evidence_row(
    tenant_id: str, identifier: str, digest: str, draft: EvidenceDraft, time: datetime
) -> dict[str, Any]:
    return {
        **dict(zip(EVIDENCE_COLUMNS, _values(draft), strict=True)),
        "tenant_id": tenant_id,
        "alert_id": identifier,
        "digest": digest,
        "evidence_creation_time": time,
        "verdict": draft.verdict or ("Suspicious" if draft.detection_status else "Unknown"),
        "remediation_status": draft.remediation_status
        or _REMEDIATION.get(draft.detection_status or "", "None"),
    }
