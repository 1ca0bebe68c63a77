"""How Graph spells what the state keeps: values begin with a small letter, and some are called otherwise."""

from __future__ import annotations

from collections.abc import Mapping

DETERMINATIONS = {
    "NotAvailable": "unknown",
    "CompromisedUser": "compromisedAccount",
    "InsufficientData": "notEnoughDataToValidate",
}
DETECTION_SOURCES = {
    "WindowsDefenderAtp": "microsoftDefenderForEndpoint",
    "WindowsDefenderAv": "antivirus",
    "WindowsDefenderSmartScreen": "smartScreen",
    "CustomerTI": "customTi",
    "OfficeATP": "microsoftDefenderForOffice365",
    "AutomatedInvestigation": "automatedInvestigation",
    "ThreatExperts": "microsoftThreatExperts",
    "CustomDetection": "customDetection",
    "MTP": "microsoft365Defender",
    "MCAS": "cloudAppSecurity",
}
SEVERITIES = {"UnSpecified": "unknown"}

SERVICE_SOURCE = "microsoftDefenderForEndpoint"
PRODUCT = "Microsoft Defender for Endpoint"


def small(value: str | None, special: Mapping[str, str] | None = None) -> str | None:
    """A kept value as Graph spells it.

    >>> small("InProgress"), small("UnSpecified", SEVERITIES), small("OSX")
    ('inProgress', 'unknown', 'oSX')
    """
    if value is None:
        return None
    found = (special or {}).get(value)
    return found if found is not None else value[:1].lower() + value[1:]


def detection_source(value: str) -> str:
    """Sources that Graph has no name for are what its clients expect of newer ones."""
    return DETECTION_SOURCES.get(value, "unknownFutureValue")


def kept(special: Mapping[str, str]) -> dict[str, str]:
    """Graph's spellings in lower case, each with what is kept."""
    return {word.lower(): value for value, word in special.items()}
