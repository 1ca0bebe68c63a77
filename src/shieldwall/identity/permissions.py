"""The application permissions that an application can hold; each route names those that open it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from shieldwall.errors import bad_request

APPLICATION_PERMISSIONS = frozenset(
    {
        "AdvancedHunting.Read.All",
        "AdvancedQuery.Read.All",
        "Alert.Read.All",
        "Alert.ReadWrite.All",
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
        "SecurityBaselinesAssessment.Read.All",
        "SecurityRecommendation.Read.All",
        "Software.Read.All",
        "ThreatHunting.Read.All",
        "Ti.ReadWrite",
        "Ti.ReadWrite.All",
        "URL.Read.All",
        "User.Read.All",
        "Vulnerability.Read.All",
    }
)

_BY_LOWER = {permission.lower(): permission for permission in APPLICATION_PERMISSIONS}


def validated(roles: Iterable[str]) -> list[str]:
    """The roles sorted, each once, in their documented spelling. ApiError 400 names an unknown one."""
    found: set[str] = set()
    for role in roles:
        permission = _BY_LOWER.get(role.strip().lower())
        if permission is None:
            near = get_close_matches(role.lower(), _BY_LOWER, n=1)
            hint = f"; did you mean {_BY_LOWER[near[0]]}?" if near else ""
            raise bad_request(f"There is no permission {role[:80]!r}{hint}")
        found.add(permission)
    return sorted(found)
