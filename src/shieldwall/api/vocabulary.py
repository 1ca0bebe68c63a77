"""Words of the API that its pages spell differently: all are understood, the newest is kept and answered."""

from __future__ import annotations

from shieldwall.api.bodies import Parameter, choices

SEVERITIES = ("UnSpecified", "Informational", "Low", "Medium", "High")
ALERT_STATUSES = ("Unknown", "New", "InProgress", "Resolved")
INCIDENT_STATUSES = ("Active", "InProgress", "Resolved", "Redirected")
CLASSIFICATIONS = ("Unknown", "TruePositive", "InformationalExpectedActivity", "FalsePositive")
DETERMINATIONS = (
    "NotAvailable",
    "MultiStagedAttack",
    "MaliciousUserActivity",
    "CompromisedUser",
    "Malware",
    "Phishing",
    "UnwantedSoftware",
    "SecurityTesting",
    "LineOfBusinessApplication",
    "ConfirmedActivity",
    "NotMalicious",
    "InsufficientData",
    "Other",
    "Apt",
    "SecurityPersonnel",
)
CATEGORIES = (
    "General",
    "CommandAndControl",
    "Collection",
    "CredentialAccess",
    "DefenseEvasion",
    "Discovery",
    "Exfiltration",
    "Exploit",
    "Execution",
    "InitialAccess",
    "LateralMovement",
    "Malware",
    "Persistence",
    "PrivilegeEscalation",
    "Ransomware",
    "SuspiciousActivity",
)
"""What an alert made by reference can be of."""

CLASSIFICATION_WORDS = choices(*CLASSIFICATIONS) | {
    "informational, expected activity": "InformationalExpectedActivity"
}
DETERMINATION_WORDS = choices(
    *DETERMINATIONS,
    ConfirmedUserActivity="ConfirmedActivity",
    Clean="NotMalicious",
    CompromisedAccount="CompromisedUser",
    NoEnoughDataToValidate="InsufficientData",
    NotEnoughDataToValidate="InsufficientData",
)

VERDICT = (
    Parameter("assignedTo", limit=200),
    Parameter("classification", choices=CLASSIFICATION_WORDS),
    Parameter("determination", choices=DETERMINATION_WORDS),
)
"""What analysts say of an alert or an incident, as the bodies of changes name it."""
