"""Which device sends a request: its signature, and its client certificate where TLS ends at this server."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from base64 import b64decode
from dataclasses import dataclass

from cachetools import TTLCache
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.requests import Request

from shieldwall.devices.models import Device
from shieldwall.errors import ApiError
from shieldwall.services import Services
from shieldwall.state.engine import Database

CLOCK_SECONDS = 300
NONCES = 200_000
"""Nonces remembered; each is needed only while its time is within the clock's tolerance."""

_HEADER = re.compile(
    r'Shieldwall device="([0-9a-f]{40})", time="(\d{1,12})", '
    r'nonce="([0-9a-f]{32})", signature="([^"]{1,128})"'
)
_NOBODY = bytes(32)


@dataclass(frozen=True)
class Caller:
    """The device behind a request, as its record was when the request came."""

    tenant_id: str
    device_id: str
    device_name: str
    device_group: str


class Nonces:
    """Refuses a request that was seen before. When full it refuses new ones rather than forget old ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: TTLCache[tuple[str, str], bool] = TTLCache(NONCES + 1, 2 * CLOCK_SECONDS + 10)

    def use(self, device_id: str, nonce: str) -> None:
        with self._lock:
            if (device_id, nonce) in self._seen:
                raise refused("The request was seen before.", "NonceReused")
            if len(self._seen) >= NONCES:
                raise ApiError(429, "TooManyRequests", "Too many requests.", headers={"Retry-After": "5"})
            self._seen[(device_id, nonce)] = True


async def authenticate(request: Request, body_digest: str) -> Caller:
    """The device whose key signed this request and its body's hex SHA-256; ApiError 401 or 403 otherwise."""
    services: Services = request.app.state.services
    match = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise refused("The request is not signed by a device.")
    device_id, moment, nonce, signature = match.groups()
    if abs(int(moment) - time.time()) > CLOCK_SECONDS:
        raise refused("The request's time is too far from the server's.", "ClockSkew")
    device = await asyncio.to_thread(_device, services.database, device_id)
    text = "\n".join((request.method, _target(request), moment, nonce, body_digest))
    try:
        # A stranger's signature is checked too, so that the time of the answer tells no device ids.
        raw = b64decode(device.public_key) if device and device.public_key else _NOBODY
        Ed25519PublicKey.from_public_bytes(raw).verify(b64decode(signature, validate=True), text.encode())
    except (ValueError, InvalidSignature):
        raise refused("The request's signature is not valid.") from None
    if device is None or not device.public_key:
        raise refused("The request's signature is not valid.")
    _check_certificate(request, services.settings.agent_mtls, device)
    if device.revoked:
        raise ApiError(403, "DeviceRevoked", "This device's access was revoked.")
    request.app.state.nonces.use(device_id, nonce)
    group = device.group.name if device.group else ""
    return Caller(device.tenant_id, device.id, device.computer_dns_name, group)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def refused(message: str, code: str = "Unauthorized") -> ApiError:
    return ApiError(401, code, message)


def _target(request: Request) -> str:
    """Path and query exactly as they were sent."""
    path = bytes(request.scope.get("raw_path") or b"").decode("ascii")
    query = bytes(request.scope["query_string"]).decode("ascii")
    return f"{path}?{query}" if query else path


def _device(database: Database, device_id: str) -> Device | None:
    with database.system_read() as session:
        return session.get(Device, device_id)


def _check_certificate(request: Request, policy: str, device: Device) -> None:
    """A client certificate must be the device's own newest; without one, the policy decides."""
    certificate = request.scope.get("extensions", {}).get("tls")
    if certificate is None:
        if policy == "required":
            raise refused("A client certificate is required.", "CertificateRequired")
        return
    if certificate["common_name"] != device.id or certificate["serial"] != device.certificate_serial:
        raise refused("The client certificate is another device's.", "CertificateMismatch")
