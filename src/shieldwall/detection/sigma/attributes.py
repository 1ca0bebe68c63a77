"""What a Sigma rule says about itself, as a rule of ours has it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from sigma.rule import SigmaRuleBase
from sigma.rule.attributes import SigmaLevel

from shieldwall.detection.rules.rule import Severity

SEVERITIES: dict[SigmaLevel, Severity] = {
    SigmaLevel.INFORMATIONAL: "Informational",
    SigmaLevel.LOW: "Low",
    SigmaLevel.MEDIUM: "Medium",
    SigmaLevel.HIGH: "High",
    SigmaLevel.CRITICAL: "High",
}
CATEGORIES = {
    "reconnaissance": "Reconnaissance",
    "resource-development": "ResourceDevelopment",
    "initial-access": "InitialAccess",
    "execution": "Execution",
    "persistence": "Persistence",
    "privilege-escalation": "PrivilegeEscalation",
    "defense-evasion": "DefenseEvasion",
    "stealth": "DefenseEvasion",
    "defense-impairment": "DefenseEvasion",
    "credential-access": "CredentialAccess",
    "discovery": "Discovery",
    "lateral-movement": "LateralMovement",
    "collection": "Collection",
    "command-and-control": "CommandAndControl",
    "exfiltration": "Exfiltration",
    "impact": "Impact",
}
"""By ATT&CK tactic; newer versions divide defense evasion."""
OTHERWISE = "SuspiciousActivity"
_TECHNIQUE = re.compile(r"t\d{4}(?:\.\d{3})?")
_LIMITS = {"title": 290, "description": 9_000, "recommended_action": 9_000}


def rule_id(rule: SigmaRuleBase) -> str:
    """Its own id; of one without, made of its name or title."""
    if rule.id is not None:
        return str(rule.id)
    named = rule.name or rule.title
    return f"sigma-{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def attributes(rule: SigmaRuleBase) -> dict[str, Any]:
    """Those of `Rule` that come from the rule's head: texts, severity, category, techniques."""
    title = _line(rule.title)[: _LIMITS["title"]]
    texts = [rule.description or "", *(f"Reference: {link}" for link in rule.references or () if link)]
    false_positives = [_line(str(text)) for text in rule.falsepositives or () if text]
    advice = f"Known false positives: {'; '.join(false_positives)}" if false_positives else ""
    tags = [(tag.namespace.lower(), tag.name.lower().replace("_", "-")) for tag in rule.tags or ()]
    return {
        "name": title,
        "title": _text([title]),
        "severity": SEVERITIES[rule.level] if rule.level is not None else "Medium",
        "category": next(
            (CATEGORIES[name] for space, name in tags if space == "attack" and name in CATEGORIES), OTHERWISE
        ),
        "techniques": tuple(
            dict.fromkeys(
                name.upper() for space, name in tags if space == "attack" and _TECHNIQUE.fullmatch(name)
            )
        ),
        "description": _text(texts)[: _LIMITS["description"]],
        "recommended_action": _text([advice])[: _LIMITS["recommended_action"]],
    }


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _text(parts: Iterable[str]) -> str:
    """Texts below each other; what would be a place for a column's value is none."""
    joined = "\n".join(part.strip() for part in parts if part.strip())
    return joined.replace("\x00", "").replace("{{", "{ {").replace("}}", "} }")
