"""Kernel modules loaded and unloaded, by comparing looks at /proc/modules."""

from pathlib import Path

from shieldwall_agent.events import timestamp
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable

SECONDS = 5.0

_LIST = Path("/proc/modules")


class ModuleWatching(OneThread):
    """Names only: which process loaded a module is not told there."""

    name = "/proc/modules"
    covers: tuple[str, ...] = ("modules",)

    def __init__(self, around: Surroundings, active: set[str]) -> None:
        super().__init__("modules", self._step)
        self._around = around
        self._active = active
        self._known: dict[str, int] = {}

    def start(self) -> None:
        try:
            self._known = _modules()
        except OSError as error:
            raise Unavailable("this kernel has no loadable modules") from error
        self._worker.start()

    def _step(self) -> None:
        now = _modules()
        for action, names in (
            ("DriverLoad", now.keys() - self._known.keys()),
            ("DriverUnload", self._known.keys() - now.keys()),
        ):
            for name in sorted(names):
                self._seen += 1
                self._around.sink.emit(
                    {
                        "Table": "DeviceEvents",
                        "Timestamp": timestamp(),
                        "ActionType": action,
                        "FileName": name,
                        "FileSize": now.get(name) or self._known.get(name),
                    }
                )
        self._known = now
        self._worker.wait(SECONDS)


def _modules() -> dict[str, int]:
    """Sizes by name."""
    lines = (line.split() for line in _LIST.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
