"""Credentials of authenticated scans: kept encrypted, shown masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.fernet import Fernet

from shieldwall.identity.private_files import locked, write_file
from shieldwall.settings import Settings

SECRETS = ("communityString", "authPassword", "privPassword", "password")
MASK = "********"


class ScanSecrets:
    """Seals credentials with a key of its own, which is made at first use."""

    def __init__(self, settings: Settings) -> None:
        path = settings.secrets / "scans.key"
        with locked(settings.secrets):
            if not path.exists():
                write_file(path, Fernet.generate_key())
        self._box = Fernet(path.read_bytes())

    def seal(self, credentials: Mapping[str, Any]) -> str:
        return self._box.encrypt(orjson.dumps(dict(credentials))).decode()

    def open(self, sealed: str) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._box.decrypt(sealed.encode()))
        return found


def shown(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """The credentials with every secret masked."""
    return {name: MASK if name in SECRETS and value else value for name, value in credentials.items()}
