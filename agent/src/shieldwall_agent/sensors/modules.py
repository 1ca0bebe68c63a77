"""Kernel modules loaded and unloaded: as events, and by comparing looks at /proc/modules."""

import time
from pathlib import Path

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import Process, as_actor
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable

SECONDS = 5.0

_LIST = Path("/proc/modules")
_TAINTS = {0: "proprietary", 1: "forced", 11: "staging", 12: "out of tree", 13: "unsigned", 15: "live patch"}


def changed(
    loaded: bool, name: bytes, when: float, process: Process | None = None, taints: int = 0, size: int = 0
) -> Event:
    """A row of DeviceEvents; `taints` are the kernel's bits for what is questionable in the module."""
    found = [text for bit, text in _TAINTS.items() if taints >> bit & 1]
    event: Event = {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(when),
        "ActionType": "DriverLoad" if loaded else "DriverUnload",
        "FileName": name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace"),
        **as_actor(process),
    }
    if size:
        event["FileSize"] = size
    if found:
        event["AdditionalFields"] = {"Taints": found}
    return event


class ModuleWatching(OneThread):
    """Names only: which process loaded a module is not told there."""

    name = "/proc/modules"
    covers: tuple[str, ...] = ("modules",)
    misses = {"modules": "who loaded a module, and modules that hide"}

    def __init__(self, around: Surroundings, active: set[str]) -> None:
        super().__init__("modules", self._step)
        self._around = around
        self._active = active
        self._known: dict[bytes, int] = {}

    def start(self) -> None:
        try:
            self._known = _modules()
        except OSError as error:
            raise Unavailable("this kernel has no loadable modules") from error
        self._worker.start()

    def _step(self) -> None:
        now = _modules()
        for loaded, names in (
            (True, now.keys() - self._known.keys()),
            (False, self._known.keys() - now.keys()),
        ):
            for name in sorted(names):
                self._seen += 1
                size = now.get(name) or self._known[name]
                self._around.sink.emit(changed(loaded, name, time.time(), size=size))
        self._known = now
        self._worker.wait(SECONDS)


def _modules() -> dict[bytes, int]:
    """Sizes by name."""
    lines = (line.split() for line in _LIST.read_bytes().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
