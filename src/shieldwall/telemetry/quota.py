"""How much a tenant may hunt: calls and running time in sliding windows, as the service documents them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from shieldwall import metrics
from shieldwall.errors import too_many_requests

MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Allowance:
    """Calls, or seconds of running time, within a window of seconds."""

    kind: str
    most: float
    window: int

    def message(self) -> str:
        unit = {MINUTE: "minute", HOUR: "hour", DAY: "day"}[self.window]
        if self.kind == "calls":
            return f"You have exceeded the number of calls allowed: {self.most:g} per {unit}."
        return (
            "You have exceeded processing resources allocated to this tenant: "
            f"{self.most:g} seconds of running time per {unit}."
        )


@dataclass
class _Used:
    """When the calls of one tenant began, and how long they ran."""

    calls: deque[list[float]] = field(default_factory=deque)


class HuntingQuota:
    """Admits queries while their tenant has something left. ``clock`` gives seconds."""

    def __init__(
        self,
        calls_per_minute: int,
        calls_per_hour: int,
        seconds_per_hour: int,
        seconds_per_day: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowances = (
            Allowance("calls", calls_per_minute, MINUTE),
            Allowance("calls", calls_per_hour, HOUR),
            Allowance("seconds", seconds_per_hour, HOUR),
            Allowance("seconds", seconds_per_day, DAY),
        )
        self._clock = clock
        self._used: dict[str, _Used] = {}
        self._lock = threading.Lock()

    @contextmanager
    def admit(self, tenant_id: str) -> Iterator[None]:
        """Count one query while it runs. ApiError 429 with Retry-After where nothing is left."""
        call = self._begin(tenant_id)
        try:
            yield
        finally:
            call[1] = self._clock() - call[0]

    def _begin(self, tenant_id: str) -> list[float]:
        now = self._clock()
        with self._lock:
            calls = self._used.setdefault(tenant_id, _Used()).calls
            while calls and calls[0][0] < now - DAY:
                calls.popleft()
            for allowance in self._allowances:
                self._check(allowance, calls, now)
            call = [now, 0.0]
            calls.append(call)
            return call

    @staticmethod
    def _check(allowance: Allowance, calls: deque[list[float]], now: float) -> None:
        used = 0.0
        recent: list[tuple[float, float]] = []
        for began, seconds in reversed(calls):
            if began <= now - allowance.window:
                break
            cost = 1.0 if allowance.kind == "calls" else seconds
            used += cost
            recent.append((began, cost))
        if used < allowance.most:
            return
        # The oldest calls leave the window first; the next query may run when enough of them have.
        wait = float(allowance.window)
        for began, cost in reversed(recent):
            used -= cost
            wait = began + allowance.window - now
            if used < allowance.most:
                break
        metrics.hunts.labels("throttled").inc()
        raise too_many_requests(allowance.message(), max(1, round(wait)))
