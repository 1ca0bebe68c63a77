"""Categories of alerts from what products call the same: ATT&CK tactics, groups and tags."""

from __future__ import annotations

from typing import Any

CATEGORIES = {
    "ransom": "Ransomware",
    "commandandcontrol": "CommandAndControl",
    "c2": "CommandAndControl",
    "credentialaccess": "CredentialAccess",
    "authenticationfail": "CredentialAccess",
    "bruteforce": "CredentialAccess",
    "defenseevasion": "DefenseEvasion",
    "privilegeescalation": "PrivilegeEscalation",
    "lateralmovement": "LateralMovement",
    "initialaccess": "InitialAccess",
    "exfiltration": "Exfiltration",
    "persistence": "Persistence",
    "collection": "Collection",
    "discovery": "Discovery",
    "reconnaissance": "Discovery",
    "execution": "Execution",
    "impact": "Malware",
    "malware": "Malware",
    "rootkit": "Malware",
    "virus": "Malware",
    "exploit": "Exploit",
    "webattack": "Exploit",
    "ta0001": "InitialAccess",
    "ta0002": "Execution",
    "ta0003": "Persistence",
    "ta0004": "PrivilegeEscalation",
    "ta0005": "DefenseEvasion",
    "ta0006": "CredentialAccess",
    "ta0007": "Discovery",
    "ta0008": "LateralMovement",
    "ta0009": "Collection",
    "ta0010": "Exfiltration",
    "ta0011": "CommandAndControl",
    "ta0040": "Malware",
    "ta0043": "Discovery",
}


def category(*words: Any) -> str | None:
    """The category that the first telling word means.

    >>> category("syslog", "mitre_lateral_movement")
    'LateralMovement'
    """
    for word in words:
        plain = "".join(letter for letter in str(word).lower() if letter.isalnum())
        for part, found in CATEGORIES.items():
            if part in plain:
                return found
    return None
