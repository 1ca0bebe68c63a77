"""Signing clients and people in: guessing is slow, and a flood of guesses harms nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from cachetools import TTLCache

from shieldwall.errors import too_many_requests
from shieldwall.identity import applications, assertions, audit, users
from shieldwall.identity.people import User
from shieldwall.identity.standing import Standing
from shieldwall.state.engine import Database

Result = TypeVar("Result")

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
    """Recognises clients and people. What was proven lately costs nothing, whatever others fail at."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._failures = Failures()
        self._started = Failures()
        self._slots = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._waiting = 0

    async def client(self, tenant_id: str, client_id: str, secret: str, address: str) -> Standing:
        """The application; SignInError when it is not, ApiError 429 when it may not try now."""
        request = (self._database, tenant_id, client_id, secret)
        known = await asyncio.to_thread(applications.recognise, *request)
        if known is not None:
            return known
        return await self._costly(lambda: applications.authenticate(*request), address, client_id)

    async def certified(
        self, tenant_id: str, client_id: str, assertion: str, audiences: frozenset[str], address: str
    ) -> Standing:
        """The application that signed ``assertion``; SignInError or BadAssertion when none did."""

        def work() -> Standing:
            found = applications.find_application(self._database, tenant_id, client_id)
            if found is None:
                raise applications.SignInError("application")
            assertions.verify(self._database, found, assertion, audiences, network(address))
            return found

        return await self._costly(work, address, client_id)

    async def person(self, tenant_id: str | None, upn: str, password: str, address: str) -> User | None:
        """The user, None when the password is not theirs; ApiError 429 when it may not be tried now."""

        def work() -> User:
            found = users.authenticate(self._database, tenant_id, upn, password)
            if found is None:
                raise applications.SignInError("password")
            return found

        try:
            return await self._costly(work, address, upn)
        except applications.SignInError:
            await asyncio.to_thread(self._note_failure, upn, address)
            return None

    def started(self, address: str) -> None:
        """Count a sign-in that anybody can start; ApiError 429 where there are too many from one address."""
        self._started.check(address, "")
        self._started.add(address, "")

    def guess(self, address: str, what: str) -> None:
        """ApiError 429 when this address has guessed wrongly too often at ``what``."""
        self._failures.check(address, what)

    def guessed_wrongly(self, address: str, what: str) -> None:
        self._failures.add(address, what)

    async def _costly(self, work: Callable[[], Result], address: str, name: str) -> Result:
        """Run a check that costs time beside few others, unless too many have failed from this source."""
        self._failures.check(address, name)
        if self._waiting >= CHECKS_WAITING:
            raise too_many_requests("Too many sign-ins at once.", 1)
        self._waiting += 1
        try:
            async with self._slots:
                self._failures.check(address, name)
                return await asyncio.to_thread(work)
        except (applications.SignInError, assertions.BadAssertion):
            self._failures.add(address, name)
            raise
        finally:
            self._waiting -= 1

    def _note_failure(self, upn: str, address: str) -> None:
        """Tell the audit log of a tenant that somebody failed to sign in as one of its users."""
        with self._database.system_session() as session:
            user = users.find_by_upn(session, upn)
            if user is not None:
                audit.record(
                    session,
                    user.upn,
                    "signin.failed",
                    user.id,
                    "failure",
                    tenant_id=user.tenant_id,
                    source_ip=address,
                )


def _limits(address: str, client_id: str) -> tuple[tuple[tuple[str, ...], int], ...]:
    source = network(address)
    return ((source,), FAILURES_BY_ADDRESS), ((source, client_id.lower()[:200]), FAILURES_BY_CLIENT)


def network(address: str) -> str:
    """An IPv6 host owns a whole /64, so that is what is counted."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
