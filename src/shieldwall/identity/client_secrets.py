"""Secrets of applications: made at random, shown once, kept only as scrypt hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

from cachetools import TTLCache

HINT_LENGTH = 4
"""First characters of a secret, kept in clear so that people can tell one secret from another."""
LENGTH_LIMIT = 256
REMEMBERED = 10_000
REMEMBERED_SECONDS = 3600

_COST = 1 << 14
_BLOCK = 8
_LANES = 1
_PROCESS_KEY = secrets.token_bytes(32)
_NOBODY = "scrypt$16384$8$1$" + "00" * 16 + "$" + "00" * 32

_remembered: TTLCache[bytes, bool] = TTLCache(REMEMBERED, REMEMBERED_SECONDS)
_lock = threading.Lock()


def generate() -> str:
    """A new secret: 256 random bits in characters that need no escaping anywhere."""
    while (secret := secrets.token_urlsafe(32)).startswith("-"):
        pass  # a leading dash would read as an option on a command line
    return secret


def digest(secret: str) -> str:
    """The hash to store: ``scrypt$N$r$p$salt$hash``, both in hexadecimal."""
    salt = secrets.token_bytes(16)
    return (
        f"scrypt${_COST}${_BLOCK}${_LANES}${salt.hex()}${_scrypt(secret, salt, _COST, _BLOCK, _LANES).hex()}"
    )


def matches(secret: str, stored: str) -> bool:
    """Whether ``stored`` is the hash of ``secret``; costs about 40 ms unless it was asked and true lately."""
    if len(secret) > LENGTH_LIMIT:
        return False
    if is_remembered(secret, stored):
        return True
    _scheme, cost, block, lanes, salt, expected = stored.split("$")
    found = _scrypt(secret, bytes.fromhex(salt), int(cost), int(block), int(lanes))
    if not hmac.compare_digest(found, bytes.fromhex(expected)):
        return False
    with _lock:
        _remembered[_mark(secret, stored)] = True
    return True


def is_remembered(secret: str, stored: str) -> bool:
    """Whether this process has found ``secret`` to match ``stored`` within the last hour; always cheap."""
    with _lock:
        return _mark(secret, stored) in _remembered


def match_nothing(secret: str) -> None:
    """Cost what ``matches`` costs, where there is nothing to compare with."""
    matches(secret, _NOBODY)


def _mark(secret: str, stored: str) -> bytes:
    # A keyed hash: what is remembered neither shows a secret nor lets one be guessed outside this process.
    return hmac.digest(_PROCESS_KEY, f"{stored}\n{secret}".encode(errors="surrogatepass"), "sha256")


def _scrypt(secret: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    data = secret.encode(errors="surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=cost, r=block, p=lanes, maxmem=64 << 20, dklen=32)
