"""Sends the device report at start, when something in it has changed, and hourly; packages daily."""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from shieldwall_agent.report import device_report
from shieldwall_agent.software import Package, Packages
from shieldwall_agent.transport import Client, Pause, Refused, Unreachable

LOOK_SECONDS = 30.0
REPORT_SECONDS = 3600.0
SOFTWARE_SECONDS = 86400.0  # the list of packages is long, and goes when it has changed and daily

log = logging.getLogger(__name__)


class DeviceReporter:
    """`own` returns what only the agent's processes know: `sensors`, `isolated`, `counters`."""

    def __init__(self, client: Client, own: Callable[[], dict[str, Any]], stop: threading.Event) -> None:
        self._client = client
        self._own = own
        self._stop = stop
        self._look = threading.Event()
        self._sent = ""
        self._sent_at = -REPORT_SECONDS
        self._packages = Packages()
        self._listed: list[Package] | None = None
        self._listed_at = 0.0

    def look(self) -> None:
        """Something may have changed: look now."""
        self._look.set()

    def run(self) -> None:
        """Until `stop` is set (and `look` called after it)."""
        pause = Pause(first=2.0)
        while not self._stop.is_set():
            self._look.clear()
            try:
                self.report_if_due(time.monotonic())
            except (Unreachable, Refused) as error:
                log.info("device report not accepted yet: %s", error)
                self._stop.wait(pause.next(error.retry_after if isinstance(error, Refused) else None))
                continue
            pause.reset()
            self._look.wait(LOOK_SECONDS)

    def report_if_due(self, now: float) -> bool:
        """Raises Unreachable or Refused; then it is due still."""
        report = {**device_report(), **self._own()}
        essence = _essence(report)
        packages = self._packages.installed()
        listing = packages != self._listed or now - self._listed_at >= SOFTWARE_SECONDS
        if essence == self._sent and now - self._sent_at < REPORT_SECONDS and not listing:
            return False
        if listing:
            report["software"] = packages
        try:
            self._client.request(
                "POST",
                "/agent/v1/report",
                json.dumps(report).encode(),
                {"Content-Type": "application/json"},
            )
        finally:
            self._client.close()  # hours may pass until the next
        self._sent, self._sent_at = essence, now
        if listing:
            self._listed, self._listed_at = packages, now
        return True


def _essence(report: dict[str, Any]) -> str:
    """The report without what counts up all the time."""
    sensors = {
        name: [sensor.get("mechanism"), sensor.get("detail")] for name, sensor in report["sensors"].items()
    }
    return json.dumps({**report, "sensors": sensors, "counters": None}, sort_keys=True)
