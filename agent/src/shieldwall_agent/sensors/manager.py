"""Chooses for each sensor the first mechanism that proves itself, and another when it fails."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shieldwall_agent.events import Event, Sink
from shieldwall_agent.sensors.audit import AuditNetlink
from shieldwall_agent.sensors.base import Mechanism, Surroundings, Unavailable
from shieldwall_agent.sensors.canaries import prove
from shieldwall_agent.sensors.ebpf import Ebpf
from shieldwall_agent.sensors.files import FileWatching
from shieldwall_agent.sensors.journal import Journal
from shieldwall_agent.sensors.logons import AuthLog, LoginRecords
from shieldwall_agent.sensors.modules import ModuleWatching
from shieldwall_agent.sensors.own import Own
from shieldwall_agent.sensors.packets import DnsPackets
from shieldwall_agent.sensors.polling import ConnectionPolling, ProcessPolling

SENSORS = ("processes", "network", "dns", "files", "logons", "modules")
WATCH_SECONDS = 10.0
PROVE_SECONDS = 300.0
PROVED_ONCE = {"logons"}  # since each proof leaves a line in the machine's logs

log = logging.getLogger(__name__)


class Sensors:
    """All sensors of this endpoint. `folder` is the agent's own, whose files are not told."""

    def __init__(self, sink: Sink, folder: Path) -> None:
        self._counted = _Counting(sink)
        self._around = Surroundings(self._counted)
        self._folder = folder
        self._running: dict[str, Mechanism] = {}
        self._active: dict[int, set[str]] = {}
        self._why_not: dict[str, list[str]] = {name: [] for name in SENSORS}
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="sensor-watch", daemon=True)

    def start(self) -> None:
        """Start what works here. Takes some seconds, since each mechanism has to prove itself."""
        self._choose()
        self._watcher.start()

    def stop(self) -> None:
        self._stop.set()
        for mechanism in set(self._running.values()):
            mechanism.stop()

    def health(self) -> dict[str, dict[str, Any]]:
        """By sensor: mechanism (empty without one), what it misses, events told and lost, and why better ones
        do not run."""
        found = {}
        for name in SENSORS:
            mechanism = self._running.get(name)
            found[name] = {
                "mechanism": mechanism.name if mechanism else "",
                "misses": mechanism.misses.get(name, "") if mechanism else "",
                "events": self._counted.by_sensor.get(name, 0),
                "lost": mechanism.lost() if mechanism else 0,
                "detail": "; ".join(self._why_not[name]),
            }
        return found

    def _mechanisms(self) -> list[Callable[[set[str]], Mechanism]]:
        """Best first."""
        around, own, folder = self._around, Own(), str(self._folder)
        return [
            lambda active: Ebpf(around, own, active),
            # No rules for what eBPF already tells of.
            lambda active: AuditNetlink(around, own, active, set(SENSORS) - self._running.keys()),
            lambda active: ProcessPolling(around, own, active),
            lambda active: ConnectionPolling(around, own, active),
            lambda active: DnsPackets(around, own, active),
            lambda active: FileWatching(around, own, active, (folder,)),
            lambda active: Journal(around, active),
            lambda active: AuthLog(around, active),
            lambda active: LoginRecords(around, active),
            lambda active: ModuleWatching(around, active),
        ]

    def _choose(self) -> None:
        """Start mechanisms until every sensor that can have one has it."""
        for make in self._mechanisms():
            active: set[str] = set()
            mechanism = make(active)
            wanted = [name for name in mechanism.covers if name not in self._running]
            if not wanted or self._stop.is_set():
                continue
            try:
                mechanism.start()
            except Unavailable as error:
                self._note(wanted, mechanism, str(error))
                continue
            for name in mechanism.refused.keys() & set(wanted):
                self._note([name], mechanism, mechanism.refused[name])
                wanted.remove(name)
            proven = [name for name in wanted if prove(mechanism, name, self._folder)]
            self._note(set(wanted) - set(proven), mechanism, "did not see its own canary")
            if not proven:
                mechanism.stop()
                continue
            active.update(proven)
            self._active[id(mechanism)] = active
            for name in proven:
                self._running[name] = mechanism

    def _note(self, sensors: Any, mechanism: Mechanism, reason: str) -> None:
        for name in sensors:
            log.info("%s not by %s: %s", name, mechanism.name, reason)
            if (text := f"{mechanism.name}: {reason}") not in self._why_not[name]:
                self._why_not[name].append(text)

    def _watch(self) -> None:
        """Replace a mechanism that has died or gone blind."""
        proved = time.monotonic()
        while not self._stop.wait(WATCH_SECONDS):
            prove_now = time.monotonic() - proved > PROVE_SECONDS
            if prove_now:
                proved = time.monotonic()
            failed = {
                mechanism
                for name, mechanism in self._running.items()
                if not mechanism.alive()
                or (prove_now and name not in PROVED_ONCE and not prove(mechanism, name, self._folder))
            }
            for mechanism in failed:
                log.error("%s has failed and is replaced", mechanism.name)
                mechanism.stop()
                for name in [name for name, runs in self._running.items() if runs is mechanism]:
                    del self._running[name]
            if failed:
                self._choose()


class _Counting:
    """Counts events by sensor on their way."""

    _SENSOR_OF = {
        "DeviceProcessEvents": "processes",
        "DeviceNetworkEvents": "network",
        "DeviceFileEvents": "files",
        "DeviceLogonEvents": "logons",
    }

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.by_sensor: dict[str, int] = {}

    def emit(self, event: Event) -> None:
        name = self._SENSOR_OF.get(event["Table"])
        if name is None:
            action = event.get("ActionType", "")
            name = "dns" if action.startswith("DnsQuery") else "modules" if "Driver" in action else ""
        self.by_sensor[name] = self.by_sensor.get(name, 0) + 1
        self._sink.emit(event)
