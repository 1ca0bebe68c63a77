"""Messages to agents, signed with the server's command key, which agents pin when they enrol."""

from __future__ import annotations

import secrets
from base64 import b64encode
from datetime import timedelta
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shieldwall.identity.private_files import locked, write_file
from shieldwall.settings import Settings
from shieldwall.times import now, to_text

MESSAGE_LIFE = timedelta(minutes=10)
"""An undelivered message is made anew at each poll, so a short life costs nothing."""


class CommandSigner:
    """Signs what agents are told. The key is made at first use, readable by the server's user only."""

    def __init__(self, settings: Settings) -> None:
        path = settings.secrets / "command.key"
        with locked(settings.secrets):
            if not path.exists():
                write_file(path, Ed25519PrivateKey.generate().private_bytes_raw())
        self._key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public_key = b64encode(public).decode()

    def message(self, device_id: str, identifier: str, kind: str, body: dict[str, Any]) -> dict[str, str]:
        """One envelope of the agent protocol."""
        issued = now()
        payload = orjson.dumps(
            {
                "device_id": device_id,
                "id": identifier,
                "nonce": secrets.token_hex(16),
                "issued": to_text(issued),
                "expires": to_text(issued + MESSAGE_LIFE),
                "type": kind,
                "body": body,
            }
        )
        signature = self._key.sign(payload)
        return {"payload": b64encode(payload).decode(), "signature": b64encode(signature).decode()}
