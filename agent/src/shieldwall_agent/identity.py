"""The device's own key: signatures of requests, and the check of what the server signed."""

import base64
import binascii
import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shieldwall_agent.spool_format import write_atomically


class Clock:
    """The server's time as far as it is known; signatures and expiries go by it."""

    def __init__(self) -> None:
        self._offset = 0.0  # seconds to add to this machine's time
        self._lock = threading.Lock()

    def now(self) -> float:
        return time.time() + self._offset

    def correct(self, server_seconds: float) -> None:
        with self._lock:
            self._offset = server_seconds - time.time()

    @property
    def offset(self) -> float:
        return self._offset


@dataclass(frozen=True)
class Signer:
    device_id: str
    key: Ed25519PrivateKey

    def authorization(self, method: str, target: str, body_sha256: str, seconds: float) -> str:
        """The Authorization header of one request; `target` is path and query as sent."""
        moment, nonce = str(int(seconds)), secrets.token_hex(16)
        text = "\n".join((method, target, moment, nonce, body_sha256))
        signature = base64.b64encode(self.key.sign(text.encode())).decode()
        return (
            f'Shieldwall device="{self.device_id}", time="{moment}", nonce="{nonce}", signature="{signature}"'
        )


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """The key at `path`, made there (0600) if there is none. Raises ValueError for another kind of key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        write_atomically(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} is no Ed25519 key")
    return key


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def signed_by(public_key: str, payload: bytes, signature: str) -> bool:
    """Whether base64 `signature` over `payload` was made with the base64 Ed25519 `public_key`."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(signature, validate=True), payload)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
