"""What an incident is called, and how grave it is: what its alerts say together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

SEVERITIES = ("UnSpecified", "Informational", "Low", "Medium", "High")
NAME_LIMIT = 500
TITLE_LIMIT = 400

TACTICS: dict[str, str] = {
    "Reconnaissance": "Reconnaissance",
    "ResourceDevelopment": "Resource development",
    "InitialAccess": "Initial access",
    "Exploit": "Exploit",
    "Execution": "Execution",
    "Malware": "Malware",
    "Persistence": "Persistence",
    "PrivilegeEscalation": "Privilege escalation",
    "DefenseEvasion": "Defense evasion",
    "CredentialAccess": "Credential access",
    "Discovery": "Discovery",
    "LateralMovement": "Lateral movement",
    "Collection": "Collection",
    "CommandAndControl": "Command and control",
    "Exfiltration": "Exfiltration",
    "Ransomware": "Ransomware",
    "Impact": "Impact",
}
"""Categories that are stages of an attack, in their order, as people write them."""
OTHERS = {"UnwantedSoftware": "Unwanted software"}


@dataclass(frozen=True)
class Facts:
    """What an incident's summary reads of an alert, or of several that are alike in this."""

    title: str
    severity: str
    category: str | None
    detection_source: str
    machine_id: str | None
    computer_dns_name: str | None
    first: datetime | None
    last: datetime | None
    counts: bool = True
    """Whether it still speaks: neither resolved nor found to be a false positive."""


@dataclass(frozen=True)
class Summary:
    name: str
    severity: str
    first: datetime | None
    last: datetime | None


def summary(facts: Sequence[Facts]) -> Summary:
    """Of all alerts of an incident. Once none speaks any more, all say what it was."""
    speaking = [each for each in facts if each.counts] or list(facts)
    return Summary(
        _name(speaking)[:NAME_LIMIT],
        max((each.severity for each in speaking), key=rank, default="UnSpecified"),
        min((each.first for each in facts if each.first), default=None),
        max((each.last for each in facts if each.last), default=None),
    )


def tactics(categories: Iterable[str | None]) -> list[str]:
    """The stages of an attack among categories, each once, in their order."""
    found = set(categories)
    return [name for name in TACTICS if name in found]


def rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0


def _name(facts: Sequence[Facts]) -> str:
    if not facts:
        return "Incident without alerts"
    where = _where(facts)
    sources = {each.detection_source for each in facts}
    reported = f" reported by {len(sources)} sources" if len(sources) > 1 else ""
    stages = [TACTICS[name] for name in tactics(each.category for each in facts)]
    if len(stages) > 1:
        # The first stage and the last one that was reached.
        return f"Multi-stage incident involving {stages[0]} & {stages[-1]}{where}{reported}"
    titles = {each.title for each in facts}
    if len(titles) == 1:
        return f"{facts[0].title[:TITLE_LIMIT]}{where}{reported}"
    gravest = max(facts, key=lambda each: (rank(each.severity), -_moment(each)))
    stage = stages[0] if stages else OTHERS.get(gravest.category or "", "Suspicious activity")
    return f"{stage} incident involving {gravest.title[:TITLE_LIMIT]}{where}{reported}"


def _where(facts: Sequence[Facts]) -> str:
    devices = {each.machine_id: each.computer_dns_name for each in facts if each.machine_id}
    if len(devices) > 1:
        return f" on {len(devices)} devices"
    name = next(iter(devices.values()), None)
    return f" on {name}" if name else " on one device" if devices else ""


def _moment(facts: Facts) -> float:
    return facts.first.timestamp() if facts.first else 0.0
