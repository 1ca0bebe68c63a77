"""What an investigation found and did, written on the evidence of its alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Evidence

_OUTCOMES = {"Succeeded": "Remediated", "NotFound": "NotFound"}


def tell_verdicts(session: Session, findings: Iterable[Mapping[str, Any]]) -> None:
    for finding in findings:
        _tell(session, finding, verdict=finding["verdict"])


def tell_outcomes(
    session: Session, before: Iterable[Mapping[str, Any]], actions: Iterable[Mapping[str, Any]]
) -> None:
    """Of the actions that have ended since."""
    known = {action["number"]: action["status"] for action in before}
    for action in actions:
        outcome = _OUTCOMES.get(action["status"])
        if outcome and known.get(action["number"]) != action["status"]:
            _tell(session, action, remediation_status=outcome)


def _tell(session: Session, item: Mapping[str, Any], **values: str) -> None:
    """Of the evidence of the alerts that name this file, by either hash."""
    same = [
        column == item[name]
        for name, column in (("sha256", Evidence.sha256), ("sha1", Evidence.sha1))
        if item[name]
    ]
    if same and item["alerts"]:
        session.execute(
            update(Evidence).where(Evidence.alert_id.in_(item["alerts"]), or_(*same)).values(**values)
        )
