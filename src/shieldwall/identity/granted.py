"""What a person's sign-in grants an application, on its way from a code to tokens."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from shieldwall.identity.people import AuthorizationCode, DeviceCode, RefreshToken
from shieldwall.times import now


@dataclass(frozen=True)
class Granted:
    """Who signed in to which application, and for what. ``family`` is of the refresh tokens that follow."""

    tenant_id: str
    application_id: str
    user_id: str
    scopes: tuple[str, ...]
    audience: str
    family: str
    nonce: str = ""


class BadGrant(Exception):
    """Why a code or refresh token does not count: the OAuth ``error`` and the AADSTS number with its text."""

    def __init__(self, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.number = number
        self.text = text


def new_secret() -> tuple[str, str]:
    """A code or token of 256 random bits, and its digest, which alone is kept."""
    secret = secrets.token_urlsafe(32)
    return secret, digest(secret)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def add(session: Session, row: AuthorizationCode | DeviceCode | RefreshToken, lifetime: timedelta) -> None:
    """Keep a code or token for its lifetime; those of its kind that have expired go."""
    moment: datetime = now()
    kind = type(row)
    session.execute(delete(kind).where(kind.expires_time < moment))
    row.expires_time = moment + lifetime
    session.add(row)
