"""Signing clients in with their secrets: guessing is slow, and a flood of guesses harms nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from ipaddress import IPv6Address, ip_address, ip_network

from cachetools import TTLCache

from shieldwall.errors import too_many_requests
from shieldwall.identity import applications
from shieldwall.identity.models import Application
from shieldwall.state.engine import Database

WINDOW = 60.0
FAILURES_BY_CLIENT = 10
FAILURES_BY_ADDRESS = 60
SOURCES_LIMIT = 20_000
CHECKS_AT_ONCE = 2
CHECKS_WAITING = 32


class Failures:
    """Failed attempts within the last minute, by address and by address and client; bounded in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: TTLCache[tuple[str, ...], tuple[float, list[int]]] = TTLCache(SOURCES_LIMIT, WINDOW)

    def check(self, address: str, client_id: str) -> None:
        """ApiError 429 when this source has failed too often."""
        with self._lock:
            for key, limit in _limits(address, client_id):
                since, count = self._counts.get(key, (0.0, [0]))
                if count[0] >= limit:
                    wait = max(1, round(since + WINDOW - time.monotonic()))
                    raise too_many_requests("Too many failed sign-ins from this address.", wait)

    def add(self, address: str, client_id: str) -> None:
        with self._lock:
            for key, _limit in _limits(address, client_id):
                if key not in self._counts:
                    self._counts[key] = (time.monotonic(), [0])
                self._counts[key][1][0] += 1


class SignIn:
    """Recognises clients. Secrets proven lately cost nothing and are never held up by others' failures."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._failures = Failures()
        self._slots = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._waiting = 0

    async def client(self, tenant_id: str, client_id: str, secret: str, address: str) -> Application:
        """The application; SignInError when it is not, ApiError 429 when it may not try now."""
        request = (self._database, tenant_id, client_id, secret)
        known = await asyncio.to_thread(applications.recognise, *request)
        if known is not None:
            return known
        self._failures.check(address, client_id)
        if self._waiting >= CHECKS_WAITING:
            raise too_many_requests("Too many sign-ins at once.", 1)
        self._waiting += 1
        try:
            async with self._slots:
                self._failures.check(address, client_id)
                return await asyncio.to_thread(applications.authenticate, *request)
        except applications.SignInError:
            self._failures.add(address, client_id)
            raise
        finally:
            self._waiting -= 1


def _limits(address: str, client_id: str) -> tuple[tuple[tuple[str, ...], int], ...]:
    source = _network(address)
    return ((source,), FAILURES_BY_ADDRESS), ((source, client_id.lower()[:36]), FAILURES_BY_CLIENT)


def _network(address: str) -> str:
    """An IPv6 host owns a whole /64, so that is what is counted."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
