"""Letting new agents in: tokens, and the proof that makes a device of a key.

A device's id follows from its public key, so a copied token makes a new device and never an existing one.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shieldwall.devices.models import Device, DeviceGroup, EnrolmentToken
from shieldwall.devices.reports import apply_report
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.tls import issue_client_certificate
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now

TOKEN_BYTES = 32


@dataclass(frozen=True)
class Enrolled:
    """A device that was let in, and its client certificate as PEM."""

    device_id: str
    tenant_id: str
    certificate: str


def create_token(
    database: Database,
    tenant_id: str,
    *,
    uses: int | None = 1,
    hours: float = 24,
    group: str | None = None,
    actor: str = "system",
) -> str:
    """A new token, returned once; ``uses`` None lets any number of devices in until it expires."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with database.session(tenant_id) as session:
        kept = EnrolmentToken(
            id=str(uuid4()),
            digest=_digest(token),
            created_time=now(),
            expires_time=now() + timedelta(hours=hours),
            uses_left=uses,
            device_group_id=_group_id(session, tenant_id, group) if group else None,
        )
        session.add(kept)
        audit.record(session, actor, "enrolmenttoken.create", kept.id, detail={"uses": uses, "hours": hours})
    return token


def list_tokens(database: Database, tenant_id: str) -> Sequence[EnrolmentToken]:
    with database.read(tenant_id) as session:
        return session.scalars(select(EnrolmentToken).order_by(EnrolmentToken.created_time)).all()


def revoke_token(database: Database, tenant_id: str, token_id: str, actor: str = "system") -> None:
    with database.session(tenant_id) as session:
        token = session.get(EnrolmentToken, token_id)
        if token is None:
            raise not_found("Enrolment token", token_id)
        session.delete(token)
        audit.record(session, actor, "enrolmenttoken.revoke", token_id)


def revoke_device(database: Database, tenant_id: str, device_id: str, actor: str = "system") -> None:
    """End a device's access for good; its key cannot enrol again."""
    with database.session(tenant_id) as session:
        device = session.get(Device, device_id)
        if device is None:
            raise not_found("Machine", device_id)
        device.revoked = True
        device.onboarding_status = "InsufficientInfo"
        device.health_status = "Inactive"
        audit.record(session, actor, "device.revoke", device_id)


def enrol(database: Database, settings: Settings, body: dict[str, Any], address: str) -> Enrolled:
    """Make a device of a key whose owner proves that it has it, and has a token.

    ApiError 400: broken request; 401: no good token; 403: a revoked key.
    """
    token, public_key, csr, proof, hardware_id = (
        _text(body, name) for name in ("token", "public_key", "csr", "proof", "hardware_id")
    )
    raw = _raw_key(public_key)
    _check_proof(raw, token, proof)
    _check_csr(raw, csr)
    digest = _digest(token)
    with database.system_read() as session:
        tenant_id = session.scalar(select(EnrolmentToken.tenant_id).where(EnrolmentToken.digest == digest))
    if tenant_id is None:
        raise _no_token()
    device_id = device_id_for(tenant_id, raw)
    certificate, serial = issue_client_certificate(settings, csr, device_id)
    with database.session(tenant_id) as session:
        group_id = _use_token(session, digest)
        device = session.get(Device, device_id)
        if device is not None and device.revoked:
            raise ApiError(403, "DeviceRevoked", "This device's access was revoked.")
        if device is None:
            device = _new_device(session, device_id, public_key, hardware_id, group_id)
        device.certificate_serial = serial
        report = body.get("report")
        apply_report(device, report if isinstance(report, dict) else {}, address)
        session.flush()
        audit.record(session, device_id, "device.enrol", device_id, source_ip=address)
    return Enrolled(device_id, tenant_id, certificate)


def device_id_for(tenant_id: str, public_key: bytes) -> str:
    return hashlib.sha256(tenant_id.encode() + public_key).hexdigest()[:40]


def _use_token(session: Session, digest: str) -> int | None:
    """Take one use of the token; ApiError 401 when it has none left or is over."""
    token = session.scalar(select(EnrolmentToken).where(EnrolmentToken.digest == digest))
    if token is None or token.expires_time <= now():
        raise _no_token()
    if token.uses_left is not None:
        # Counted by the database, so that two enrolments at once cannot share a one-time token.
        taken = session.execute(
            update(EnrolmentToken)
            .where(EnrolmentToken.id == token.id, EnrolmentToken.uses_left > 0)
            .values(uses_left=EnrolmentToken.uses_left - 1)
            .returning(EnrolmentToken.id)
        ).all()
        if not taken:
            raise _no_token()
    return token.device_group_id


def _new_device(
    session: Session, device_id: str, public_key: str, hardware_id: str, group_id: int | None
) -> Device:
    time = now()
    again = session.scalar(select(Device.id).where(Device.hardware_id == hardware_id).limit(1))
    device = Device(
        id=device_id,
        computer_dns_name="",
        first_seen=time,
        last_seen=time,
        last_contact=time,
        public_key=public_key,
        hardware_id=hardware_id,
        device_group_id=group_id,
        is_potential_duplication=again is not None,
        ip_addresses=[],
        logged_on_users=[],
        sensor_health={},
    )
    session.add(device)
    return device


def _group_id(session: Session, tenant_id: str, name: str) -> int:
    group = session.scalar(select(DeviceGroup).where(DeviceGroup.name == name))
    if group is None:
        group = DeviceGroup(tenant_id=tenant_id, name=name)
        session.add(group)
        session.flush()
    return group.id


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, "MissingRequiredParameter", f"Parameter {name} is missing.")
    if len(value) > 16 << 10 or (name == "hardware_id" and len(value) > 64):
        raise bad_request(f"{name} is too long.", "InvalidRequestBody")
    return value


def _raw_key(public_key: str) -> bytes:
    try:
        raw = b64decode(public_key, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise bad_request("public_key is not the base64 of an Ed25519 key.", "InvalidRequestBody")
    return raw


def _check_proof(raw: bytes, token: str, proof: str) -> None:
    try:
        signature = b64decode(proof, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, f"shieldwall-enrol:{token}".encode())
    except (ValueError, InvalidSignature):
        raise bad_request("proof is not a signature by public_key.", "InvalidRequestBody") from None


def _check_csr(raw: bytes, csr: str) -> None:
    try:
        key = x509.load_pem_x509_csr(csr.encode()).public_key()
    except ValueError:
        raise bad_request("csr is not a certificate request.", "InvalidRequestBody") from None
    if not isinstance(key, Ed25519PublicKey) or key.public_bytes_raw() != raw:
        raise bad_request("csr is for another key than public_key.", "InvalidRequestBody")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _no_token() -> ApiError:
    return ApiError(401, "Unauthorized", "The enrolment token is not valid.")
