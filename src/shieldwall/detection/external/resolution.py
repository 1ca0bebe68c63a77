"""Whom an alert is about: its device, and the event on it that shows the process and user behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from shieldwall.detection.external import devices, flows, traces
from shieldwall.detection.external.flows import Match
from shieldwall.detection.external.schema import ExternalAlert, FileHint, ProcessHint
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import to_text

LEAST = 50
"""The score from which on a connection is taken for the alert's own."""


@dataclass(frozen=True)
class Resolution:
    """What was found. ``match`` is the event; ``others`` show the other end where that is a device too."""

    device_id: str | None = None
    match: Match | None = None
    others: tuple[Match, ...] = ()
    confidence: int = 0
    reasons: tuple[str, ...] = ()
    whole: bool = False
    """Whether there is nothing more to be found."""

    def body(self) -> dict[str, Any]:
        """As it is kept beside the alert."""
        found: dict[str, Any] = {"reasons": list(self.reasons)}
        if self.match is not None:
            row = self.match.row
            found["event"] = {
                "table": self.match.table,
                "reportId": row.get("ReportId"),
                "eventTime": to_text(row["Timestamp"]),
                "secondsApart": round(self.match.offset, 3),
            }
        return found


def resolve(
    session: Session, store: TelemetryStore, tenant_id: str, alert: ExternalAlert, skew: float
) -> Resolution:
    """Find the device and the event; ``skew`` is how many seconds the sensor's clock is ahead."""
    named = devices.named(session, store, alert, tenant_id)
    hinted = [named.device_id] if named else []
    behind = devices.behind(session, alert.network.source_address)
    matches = flows.find(store, tenant_id, alert, skew, hinted, behind)
    match, sure = flows.clear([each for each in matches if each.score >= LEAST])
    if match is not None and sure:
        ends = [each for each in matches if each.side != match.side and each.device_id != match.device_id]
        other, other_sure = flows.clear([each for each in ends if each.score >= LEAST])
        others = (other,) if other is not None and other_sure else ()
        return Resolution(match.device_id, match, others, match.score, match.reasons, whole=True)
    if match is not None:
        # One device, several processes that may have been it.
        reasons = (*match.reasons, "several processes fit")
        return Resolution(match.device_id, None, (), min(match.score, 60), reasons)
    found = named or devices.by_address(session, store, alert, tenant_id, skew)
    if found is None:
        reason = "several devices fit" if matches else "no device is known by what the alert tells"
        return Resolution(reasons=(reason,))
    trace = traces.find(store, tenant_id, found.device_id, alert, skew)
    if trace is None:
        return Resolution(found.device_id, None, (), found.score, (found.reason,), whole=not _may_show(alert))
    confidence = min(found.score, trace.score)
    reasons = (found.reason, *trace.reasons)
    return Resolution(found.device_id, replace(trace, offset=0.0), (), confidence, reasons, whole=True)


def _may_show(alert: ExternalAlert) -> bool:
    """Whether an event of the device could show more of the alert."""
    named: list[FileHint | ProcessHint] = [*alert.files, *alert.processes]
    hashes = any(file.sha256 or file.sha1 or file.md5 for file in named)
    process = any(process.process_id for process in alert.processes)
    network = alert.network
    return bool(hashes or process or network.destination_port or network.domain or network.sni)
