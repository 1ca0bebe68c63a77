"""Whom an alert is about: its device, and the event on it that shows the process and user behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from shieldwall.detection.external import batches, devices, flows, traces
from shieldwall.detection.external.flows import Ask, Match
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


def resolve(session: Session, store: TelemetryStore, tenant_id: str, asks: Sequence[Ask]) -> list[Resolution]:
    """Find the device and the event of each alert; few statements look for all of them together."""
    named = devices.named(session, store, tenant_id, [ask.alert for ask in asks])
    rows = flows.near(store, tenant_id, asks)
    sources = {ask.alert.network.source_address for ask in asks}
    seen = {str(row["DeviceId"]) for each in rows for row in each}
    behind = devices.behind(session, sources, seen)
    found: list[Resolution | None] = []
    several = []
    for ask, each, hint in zip(asks, rows, named, strict=True):
        gateway = frozenset(behind.get(ask.alert.network.source_address or "", ()))
        matches = flows.scored(ask, each, [hint.device_id] if hint else [], gateway)
        found.append(_by_connection(matches))
        several.append(bool(matches))
    found = _whole(store, tenant_id, found)
    left = [number for number, each in enumerate(found) if each is None]
    nameless = [number for number in left if named[number] is None]
    addressed = devices.by_address(session, store, tenant_id, [asks[number] for number in nameless])
    known = {number: each for number, each in enumerate(named) if each}
    known |= {number: each for number, each in zip(nameless, addressed, strict=True) if each}
    there = [number for number in left if number in known]
    traced = traces.find(store, tenant_id, [(asks[number], known[number].device_id) for number in there])
    traces_of = dict(zip(there, traced, strict=True))
    return [
        each or _without_connection(ask.alert, known.get(number), traces_of.get(number), several[number])
        for number, (ask, each) in enumerate(zip(asks, found, strict=True))
    ]


def _by_connection(matches: Sequence[Match]) -> Resolution | None:
    """What the connections tell, whose events are not whole yet."""
    match, sure = flows.clear([each for each in matches if each.score >= LEAST])
    if match is None:
        return None
    if not sure:
        # One device, several processes that may have been it.
        reasons = (*match.reasons, "several processes fit")
        return Resolution(match.device_id, None, (), min(match.score, 60), reasons)
    ends = [each for each in matches if each.side != match.side and each.device_id != match.device_id]
    other, other_sure = flows.clear([each for each in ends if each.score >= LEAST])
    others = (other,) if other is not None and other_sure else ()
    return Resolution(match.device_id, match, others, match.score, match.reasons, whole=True)


def _without_connection(
    alert: ExternalAlert, found: devices.Found | None, trace: Match | None, several: bool
) -> Resolution:
    if found is None:
        return Resolution(
            reasons=("several devices fit" if several else "no device is known by what the alert tells",)
        )
    if trace is None:
        return Resolution(found.device_id, None, (), found.score, (found.reason,), whole=not _may_show(alert))
    confidence = min(found.score, trace.score)
    reasons = (found.reason, *trace.reasons)
    return Resolution(found.device_id, trace, (), confidence, reasons, whole=True)


def _whole(
    store: TelemetryStore, tenant_id: str, found: Sequence[Resolution | None]
) -> list[Resolution | None]:
    """The same with all that their events tell."""
    matches = [match for each in found if each and each.match for match in (each.match, *each.others)]
    rows = batches.whole(store, tenant_id, flows.TABLE, [match.row for match in matches])
    wholes = iter([replace(match, row=row) for match, row in zip(matches, rows, strict=True)])
    return [
        replace(each, match=next(wholes), others=tuple(next(wholes) for _ in each.others))
        if each and each.match
        else each
        for each in found
    ]


def _may_show(alert: ExternalAlert) -> bool:
    """Whether an event of the device could show more of the alert."""
    named: list[FileHint | ProcessHint] = [*alert.files, *alert.processes]
    hashes = any(file.sha256 or file.sha1 or file.md5 for file in named)
    process = any(process.process_id for process in alert.processes)
    network = alert.network
    return bool(hashes or process or network.destination_port or network.domain or network.sni)
