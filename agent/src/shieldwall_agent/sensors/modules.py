"""Kernel modules loaded and unloaded, by comparing looks at /proc/modules."""

from pathlib import Path

from shieldwall_agent.events import timestamp
from shieldwall_agent.sensors.base import Surroundings, Unavailable, Worker

SECONDS = 5.0

_LIST = Path("/proc/modules")


class ModuleWatching:
    """Names only: which process loaded a module is not told there."""

    name = "/proc/modules"
    covers: tuple[str, ...] = ("modules",)

    def __init__(self, around: Surroundings, active: set[str]) -> None:
        self._around = around
        self._active = active
        self._seen = 0
        self._known: dict[str, int] = {}
        self._worker = Worker("modules", self._step)

    def start(self) -> None:
        try:
            self._known = _modules()
        except OSError as error:
            raise Unavailable("this kernel has no loadable modules") from error
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop()

    def alive(self) -> bool:
        return self._worker.alive()

    def seen(self, sensor: str) -> int:
        return self._seen

    def lost(self) -> int:
        return 0

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
