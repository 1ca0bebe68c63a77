"""People's passwords, kept only as scrypt hashes that are costly to guess at."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from shieldwall.errors import bad_request

LENGTH_LEAST = 12
LENGTH_LIMIT = 256

_COST, _BLOCK, _LANES = 1 << 15, 8, 3


def generate() -> str:
    """A password for somebody who is to be given one: 120 random bits in groups that can be typed."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(6)) for _ in range(4))


def digest(password: str) -> str:
    """The hash to store: ``scrypt$N$r$p$salt$hash``. ApiError 400 for a password that is too short."""
    if not LENGTH_LEAST <= len(password) <= LENGTH_LIMIT:
        raise bad_request(f"A password has {LENGTH_LEAST} to {LENGTH_LIMIT} characters.")
    salt = secrets.token_bytes(16)
    return (
        f"scrypt${_COST}${_BLOCK}${_LANES}${salt.hex()}${_hash(password, salt, _COST, _BLOCK, _LANES).hex()}"
    )


def matches(password: str, stored: str | None) -> bool:
    """Whether ``stored`` is the hash of ``password``; costs the same for None, which nothing matches."""
    _scheme, cost, block, lanes, salt, expected = (stored or _NOBODY).split("$")
    found = _hash(password[:LENGTH_LIMIT], bytes.fromhex(salt), int(cost), int(block), int(lanes))
    same = hmac.compare_digest(found, bytes.fromhex(expected))
    return same and stored is not None and len(password) <= LENGTH_LIMIT


def _hash(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    data = password.encode(errors="surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=cost, r=block, p=lanes, maxmem=96 << 20, dklen=32)


_NOBODY = f"scrypt${_COST}${_BLOCK}${_LANES}${'00' * 16}${'00' * 32}"
