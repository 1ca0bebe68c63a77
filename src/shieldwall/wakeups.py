"""Waking long-polling agents the moment something for them changes, from any thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict


class Wakeups:
    """Lets coroutines wait for changes of a device or of its whole tenant.

    ``notify`` is cheap and may be called from any thread; a waiter that comes late reads the store first,
    so nothing is lost between its read and its wait when it takes its ``ticket`` before reading.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, int] = defaultdict(int)
        self._waiters: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)

    def notify(self, tenant_id: str, device_id: str | None = None) -> None:
        """Say that something changed for one device, or for every device of the tenant."""
        key = _key(tenant_id, device_id)
        with self._lock:
            self._versions[key] += 1
            waiters = list(self._waiters.get(key, ()))
        for loop, event in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def ticket(self, tenant_id: str, device_id: str) -> tuple[int, int]:
        """The current version; take it before reading the store."""
        with self._lock:
            return (self._versions[_key(tenant_id, None)], self._versions[_key(tenant_id, device_id)])

    async def wait(self, tenant_id: str, device_id: str, ticket: tuple[int, int], seconds: float) -> bool:
        """Wait until something changed since ``ticket``; False when ``seconds`` passed first."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        keys = (_key(tenant_id, None), _key(tenant_id, device_id))
        with self._lock:
            if tuple(self._versions[key] for key in keys) != ticket:
                return True
            for key in keys:
                self._waiters[key].add(entry)
        try:
            await asyncio.wait_for(entry[1].wait(), seconds)
        except TimeoutError:
            return False
        finally:
            with self._lock:
                for key in keys:
                    self._waiters[key].discard(entry)
                    if not self._waiters[key]:
                        del self._waiters[key]
        return True


def _key(tenant_id: str, device_id: str | None) -> str:
    return f"{tenant_id}/{device_id or '*'}"
