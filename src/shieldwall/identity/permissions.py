"""The permissions there are. Routes name application permissions; the delegated ones follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from shieldwall.errors import bad_request

APPLICATION_PERMISSIONS = frozenset(
    {
        "AdvancedHunting.Read.All",
        "AdvancedQuery.Read.All",
        "Alert.Read.All",
        "Alert.ReadWrite.All",
        "Alert.Submit.All",
        "CustomDetection.Read.All",
        "CustomDetection.ReadWrite.All",
        "File.Read.All",
        "Incident.Read.All",
        "Incident.ReadWrite.All",
        "Ip.Read.All",
        "Library.Manage",
        "Machine.CollectForensics",
        "Machine.Isolate",
        "Machine.LiveResponse",
        "Machine.Offboard",
        "Machine.Read.All",
        "Machine.ReadWrite.All",
        "Machine.RestrictExecution",
        "Machine.Scan",
        "Machine.StopAndQuarantine",
        "RemediationTasks.Read.All",
        "Score.Read.All",
        "SecurityAlert.Read.All",
        "SecurityAlert.ReadWrite.All",
        "SecurityBaselinesAssessment.Read.All",
        "SecurityIncident.Read.All",
        "SecurityIncident.ReadWrite.All",
        "SecurityRecommendation.Read.All",
        "Software.Read.All",
        "SourceEvents.Ingest",
        "ThreatHunting.Read.All",
        "Ti.ReadWrite",
        "Ti.ReadWrite.All",
        "URL.Read.All",
        "User.Read.All",
        "Vulnerability.Read.All",
    }
)

_SAME = frozenset(
    {
        "CustomDetection.Read.All",
        "CustomDetection.ReadWrite.All",
        "File.Read.All",
        "Ip.Read.All",
        "SecurityAlert.Read.All",
        "SecurityAlert.ReadWrite.All",
        "SecurityIncident.Read.All",
        "SecurityIncident.ReadWrite.All",
        "ThreatHunting.Read.All",
        "URL.Read.All",
        "User.Read.All",
    }
)
"""Permissions whose delegated twin keeps the ending that the others drop."""


def delegated(permission: str) -> str:
    """What a person needs where an application needs ``permission``."""
    if permission in _SAME:
        return permission
    return permission.removesuffix(".All").replace("RemediationTasks.", "RemediationTask.")


APPLICATIONS_ONLY = frozenset({"Alert.Submit.All", "SourceEvents.Ingest"})
"""Permissions of programs alone: products send alerts and records, people do not."""

DELEGATED_PERMISSIONS = frozenset(
    {
        *map(delegated, APPLICATION_PERMISSIONS - APPLICATIONS_ONLY),
        # Operations on scan definitions name the application's permission for people too.
        "Machine.Read.All",
    }
)


def validated(roles: Iterable[str]) -> list[str]:
    """Application permissions sorted, each once, as documented. ApiError 400 names an unknown one."""
    return _spelled(roles, _APPLICATION)


def validated_delegated(names: Iterable[str]) -> list[str]:
    """Delegated permissions, likewise."""
    return _spelled(names, _DELEGATED)


def _spelled(names: Iterable[str], known: Mapping[str, str]) -> list[str]:
    found: set[str] = set()
    for name in names:
        permission = known.get(name.strip().lower())
        if permission is None:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f"; did you mean {known[near[0]]}?" if near else ""
            raise bad_request(f"There is no permission {name[:80]!r}{hint}")
        found.add(permission)
    return sorted(found)


_APPLICATION = {permission.lower(): permission for permission in APPLICATION_PERMISSIONS}
_DELEGATED = {permission.lower(): permission for permission in DELEGATED_PERMISSIONS}
