"""The RSA keys that sign access tokens: files of the server's own, the newest signs, all of them verify."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from joserfc.jwk import RSAKey

from shieldwall.identity.private_files import locked, private_folder, write_file
from shieldwall.times import now

KEY_BITS = 2048


class SigningKeys:
    """Every key of a folder. To rotate, ``create`` another and take the old file away an hour later."""

    def __init__(self, folder: Path) -> None:
        with locked(folder):
            if not any(_files(folder)):
                create(folder)
            keys = [_load(file) for file in _files(folder)]
        self.current = keys[-1]
        self._by_id = {str(key.kid): key for key in keys}

    def get(self, kid: object) -> RSAKey | None:
        return self._by_id.get(kid) if isinstance(kid, str) else None

    def public_set(self) -> dict[str, list[dict[str, Any]]]:
        """The JSON Web Key Set of the public halves."""
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "RS256"}
                for kid, key in self._by_id.items()
            ]
        }


def create(folder: Path) -> Path:
    """Add a key to the folder; it signs from the server's next start."""
    path = private_folder(folder) / f"{now():%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}.pem"
    write_file(path, RSAKey.generate_key(KEY_BITS, private=True).as_pem(private=True))
    return path


def _files(folder: Path) -> Iterator[Path]:
    """Key files, the oldest first: their names begin with the time they were made."""
    return iter(sorted(folder.glob("*.pem")))


def _load(path: Path) -> RSAKey:
    key = RSAKey.import_key(path.read_bytes())
    key.ensure_kid()
    return key
