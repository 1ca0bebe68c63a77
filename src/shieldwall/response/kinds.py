"""The kinds of machine actions: what the API calls each, what the agent is told, how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

ISOLATE = "Isolate"
UNISOLATE = "Unisolate"
STOP_AND_QUARANTINE = "StopAndQuarantineFile"
COLLECT_PACKAGE = "CollectInvestigationPackage"
RESTRICT = "RestrictCodeExecution"
UNRESTRICT = "UnrestrictCodeExecution"
SCAN = "RunAntiVirusScan"
OFFBOARD = "Offboard"
COLLECT_LOGS = "LogsCollection"
LIVE_RESPONSE = "LiveResponse"

OPEN = ("Pending", "InProgress")
FINAL = ("Succeeded", "Failed", "TimeOut", "Cancelled")


@dataclass(frozen=True)
class Kind:
    """One kind of action."""

    message: str
    """The agent protocol's message type."""
    time: timedelta
    """How long an offline device may take before the action becomes TimeOut."""
    excludes: tuple[str, ...]
    """Kinds of which none may be open on the device when one is asked for."""
    by_file: bool = False
    """Open actions exclude each other only for the same file."""


_DAYS = timedelta(days=3)
_DAY = timedelta(hours=24)

KINDS = {
    ISOLATE: Kind("isolate", _DAYS, (ISOLATE, UNISOLATE)),
    UNISOLATE: Kind("unisolate", _DAYS, (ISOLATE, UNISOLATE)),
    STOP_AND_QUARANTINE: Kind("stop_and_quarantine", _DAY, (STOP_AND_QUARANTINE,), by_file=True),
    COLLECT_PACKAGE: Kind("collect_package", _DAY, (COLLECT_PACKAGE,)),
    COLLECT_LOGS: Kind("collect_logs", _DAY, (COLLECT_LOGS,)),
    RESTRICT: Kind("restrict", _DAYS, (RESTRICT, UNRESTRICT)),
    UNRESTRICT: Kind("unrestrict", _DAYS, (RESTRICT, UNRESTRICT)),
    SCAN: Kind("scan", _DAYS, (SCAN,)),
    OFFBOARD: Kind("offboard", _DAYS, (OFFBOARD,)),
    LIVE_RESPONSE: Kind("live_response", _DAYS, (LIVE_RESPONSE,)),
}

PACKAGES = frozenset({COLLECT_PACKAGE, COLLECT_LOGS})
"""Kinds that end with one package."""
