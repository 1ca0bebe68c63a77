"""The RSA keys that sign access tokens: files of the server's own, the newest signs, all of them verify."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from shieldwall import log
from shieldwall.identity.private_files import locked, private_folder, write_file
from shieldwall.settings import Settings
from shieldwall.times import now

KEY_BITS = 2048
LOOK_SECONDS = 5.0
"""How long a server may sign on with a key before it sees that there is a newer one."""
MISS_SECONDS = 1.0
"""An unknown key is looked for on disk, but not more often than this, whatever strangers send."""

_TIME = "%Y%m%dT%H%M%S%f"

logger = log.get("identity")


class SigningKeys:
    """The keys of a folder as they are now. ``kept`` is how many seconds a replaced key goes on verifying.

    Safe to use from any thread. Another process rotates by ``create``; servers need no restart.
    """

    def __init__(self, folder: Path, kept: float) -> None:
        self._folder = folder
        self._kept = timedelta(seconds=kept + LOOK_SECONDS)
        self._lock = threading.Lock()
        self._keys: dict[Path, RSAKey] = {}
        self._read_at = 0.0
        with locked(folder):
            if not _files(folder):
                create(folder)
        self._read()

    @property
    def current(self) -> RSAKey:
        """The key that signs."""
        return self._fresh(LOOK_SECONDS)[-1]

    def get(self, kid: object) -> RSAKey | None:
        for wait in (LOOK_SECONDS, MISS_SECONDS):
            for key in self._fresh(wait):
                if key.kid == kid:
                    return key
        return None

    def public_set(self) -> dict[str, list[dict[str, Any]]]:
        """The JSON Web Key Set of the public halves."""
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": str(key.kid), "use": "sig", "alg": "RS256"}
                for key in self._fresh(LOOK_SECONDS)
            ]
        }

    def _fresh(self, age: float) -> list[RSAKey]:
        """The keys, the oldest first, as they were on disk at most ``age`` seconds ago."""
        with self._lock:
            if time.monotonic() - self._read_at >= age:
                try:
                    self._read()
                except (OSError, ValueError, JoseError):
                    logger.exception("the signing keys cannot be read; going on with those known")
                    self._read_at = time.monotonic()
            return list(self._keys.values())

    def _read(self) -> None:
        files = _files(self._folder)
        if not files:
            raise FileNotFoundError(f"{self._folder} holds no key any more")
        oldest = now() - self._kept
        kept = []
        for file, successor in zip(files, [*files[1:], None], strict=True):
            if successor is None or _made(successor) > oldest:
                kept.append(file)
            else:
                # Whatever it signed has expired.
                file.unlink(missing_ok=True)
        self._keys = {file: self._keys.get(file) or _load(file) for file in kept}
        self._read_at = time.monotonic()


def keys_folder(settings: Settings) -> Path:
    return private_folder(settings.secrets) / "token-keys"


def create(folder: Path) -> Path:
    """Add a key to the folder. Within seconds it signs; those before it verify what they have signed."""
    path = private_folder(folder) / f"{now():{_TIME}}-{uuid4().hex[:8]}.pem"
    write_file(path, RSAKey.generate_key(KEY_BITS, private=True).as_pem(private=True))
    return path


def _files(folder: Path) -> list[Path]:
    """Key files, the oldest first: their names begin with the time they were made."""
    return sorted(folder.glob("*.pem"))


def _made(path: Path) -> datetime:
    try:
        return datetime.strptime(path.name.partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:  # somebody named it
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _load(path: Path) -> RSAKey:
    key = RSAKey.import_key(path.read_bytes())
    key.ensure_kid()
    return key
