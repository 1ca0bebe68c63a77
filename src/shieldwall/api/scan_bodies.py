"""What the body of a scan definition may hold, put on the definition once it was checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, invalid_body
from shieldwall.api.lookup import find_device_id
from shieldwall.errors import ApiError, bad_request, missing_parameter
from shieldwall.exposure.models import ScanDefinition
from shieldwall.exposure.scans import MASK, SECRETS, ScanSecrets, shown

TARGET_LIMIT = 20_000
NAME_LIMIT = 200
SECRET_LIMIT = 2000
HOURS_LIMIT = 24 * 366
_TYPES = "#microsoft.windowsDefenderATP.api"

_SCAN_TYPES = {"windows": "Windows", "network": "Network"}
_TARGET_TYPES = {"ip": "Ip", "ip address": "Ip", "ipaddress": "Ip", "hostname": "Hostname"}
_CREDENTIALS: Mapping[str, Mapping[str, str] | None] = {
    "type": {
        name.lower(): name
        for name in ("CommunityString", "NoAuthNoPriv", "AuthNoPriv", "AuthPriv", "Kerberos", "Negotiate")
    },
    "keyVaultUrl": None,
    "keyVaultSecretName": None,
    "domain": None,
    "username": None,
    "communityString": None,
    "authProtocol": {"md5": "MD5", "sha1": "SHA1"},
    "authPassword": None,
    "privProtocol": {"des": "DES", "3des": "3DES", "aes": "AES"},
    "privPassword": None,
}
"""What credentials may hold, with the values that there are."""


def change_definition(secrets: ScanSecrets, session: Session, row: ScanDefinition, body: Body) -> None:
    """Put what the body has on the definition; ApiError 400 names what is wrong."""
    if "scanType" in body:
        row.scan_type = _choice("scanType", body["scanType"], _SCAN_TYPES)
    if "scanName" in body:
        row.scan_name = _text("scanName", body["scanName"], NAME_LIMIT)
    if "target" in body:
        row.target = _text("target", body["target"], TARGET_LIMIT)
    if "targetType" in body:
        row.target_type = _choice("targetType", body["targetType"], _TARGET_TYPES)
    if "isActive" in body:
        if not isinstance(body["isActive"], bool):
            raise invalid_body("isActive must be true or false.")
        row.is_active = body["isActive"]
    if "intervalInHours" in body:
        hours = body["intervalInHours"]
        if isinstance(hours, bool) or not isinstance(hours, int) or not 1 <= hours <= HOURS_LIMIT:
            raise invalid_body(f"intervalInHours must be a whole number from 1 to {HOURS_LIMIT}.")
        row.interval_in_hours = hours
    if "scannerAgent" in body:
        row.machine_id = _machine(session, body["scannerAgent"])
    if body.get("scanAuthenticationParams") is not None:
        credentials = _read_credentials(row.scan_type, body["scanAuthenticationParams"])
        masked = [name for name, value in credentials.items() if name in SECRETS and value == MASK]
        if masked:
            # A client that sends back what it was shown means the secret that is kept.
            present = secrets.open(row.sealed) if row.sealed else {}
            if missing := [name for name in masked if name not in present]:
                raise invalid_body(f"{missing[0]} is masked, and there is none to keep.")
            credentials |= {name: present[name] for name in masked}
        row.sealed = secrets.seal(credentials)
        row.authentication = shown(credentials)


def _machine(session: Session, agent: Any) -> str:
    given = {key.lower(): value for key, value in agent.items()} if isinstance(agent, dict) else {}
    identifier = given.get("machineid")
    if identifier is None:
        raise missing_parameter("scannerAgent.machineId")
    try:
        return find_device_id(session, _text("machineId", identifier, NAME_LIMIT))
    except ApiError as problem:
        if problem.status != 404:
            raise
        raise bad_request("The scanner is not a device of the organisation.", "InvalidInput") from None


def _read_credentials(scan_type: str, given: Any) -> Entity:
    """The credentials, each by its documented name; what has no name here is nobody's business."""
    if not isinstance(given, dict):
        raise invalid_body("scanAuthenticationParams must be an object.")
    values = {key.lower(): value for key, value in given.items()}
    kind = "Windows" if scan_type == "Windows" else "Snmp"
    found: Entity = {"@odata.type": f"{_TYPES}.{kind}AuthParams"}
    for name, choices in _CREDENTIALS.items():
        value = values.get(name.lower())
        if value is not None:
            found[name] = (
                _text(name, value, SECRET_LIMIT) if choices is None else _choice(name, value, choices)
            )
        elif name == "type":
            raise missing_parameter("scanAuthenticationParams.type")
    gmsa = values.get("isgmsauser")
    if gmsa is not None:
        if not isinstance(gmsa, bool):
            raise invalid_body("isGmsaUser must be true or false.")
        found["isGmsaUser"] = gmsa
    return found


def _text(name: str, value: Any, limit: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > limit:
        raise invalid_body(f"{name} must be a text of 1 to {limit} characters.")
    return value


def _choice(name: str, value: Any, choices: Mapping[str, str]) -> str:
    found = choices.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise invalid_body(f"{name} must be one of {', '.join(dict.fromkeys(choices.values()))}.")
    return found
