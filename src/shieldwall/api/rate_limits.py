"""How often one application may call one operation: sliding windows, as the contract says.

Hunting is not counted here: its calls and its running time are the tenant's, and the quota keeps both.
Each server process counts for itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from shieldwall.api.contract import Limit, load, shape
from shieldwall.errors import too_many_requests
from shieldwall.identity.principal import Principal

Limits = Mapping[tuple[str, str], tuple[Limit, ...]]
"""Limits by method and shape of the path."""

HUNTING = frozenset(
    {
        ("POST", "/api/advancedqueries/run"),
        ("GET", "/api/advancedqueries"),
        ("POST", "/api/advancedhunting/run"),
        ("POST", "/v1.0/security/runhuntingquery"),
    }
)
LINK = (Limit(10, 60), Limit(60, 3600))
"""How often what is behind one signed link may be fetched: it names no caller, and each fetch reads anew."""
SWEEP_SECONDS = 300
_UNITS = {60: "minute", 3600: "hour"}


def documented_limits() -> Limits:
    """The limits of all operations that have some and are not kept by another part."""
    found = {
        (each.method, shape(each.path)): each.limits
        for each in load().operations
        if each.limits and not each.grant
    }
    return {key: limits for key, limits in found.items() if key not in HUNTING}


class RateLimits:
    """Counts the calls of each application to each operation. ``clock`` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._calls: dict[tuple[str, str, str, str], deque[float]] = {}
        self._lock = threading.Lock()
        self._swept = clock()

    def admit(self, principal: Principal, method: str, template: str) -> None:
        """Count one call. ApiError 429 with Retry-After where the application has none left."""
        limits = self._limits.get((method, shape(template)))
        if limits is not None:
            self._count((principal.tenant_id, principal.application_id, method, template), limits)

    def admit_link(self, tenant_id: str, path: str) -> None:
        """Count one fetch by a valid link. ApiError 429 with Retry-After where there were too many."""
        self._count((tenant_id, "", "GET", path), LINK)

    def _count(self, key: tuple[str, str, str, str], limits: Sequence[Limit]) -> None:
        now = self._clock()
        with self._lock:
            self._sweep(now)
            calls = self._calls.setdefault(key, deque())
            longest = max(limit.seconds for limit in limits)
            while calls and calls[0] <= now - longest:
                calls.popleft()
            for limit in limits:
                # The call that has to leave the window before another may come.
                if len(calls) >= limit.calls and (wait := calls[-limit.calls] + limit.seconds - now) > 0:
                    raise _refusal(limit, wait)
            calls.append(now)

    def _sweep(self, now: float) -> None:
        """Forget applications and operations that nobody has called for an hour."""
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._calls = {
                key: calls for key, calls in self._calls.items() if calls and calls[-1] > now - 3600
            }


def _refusal(limit: Limit, wait: float) -> Exception:
    seconds = max(1, -int(-wait // 1))
    return too_many_requests(
        f"You have exceeded the number of calls allowed: {limit.calls} per {_UNITS[limit.seconds]}."
        f" You can call again in {seconds} seconds.",
        seconds,
    )
