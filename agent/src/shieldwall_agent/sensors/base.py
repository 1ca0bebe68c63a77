"""What every mechanism of a sensor is: started, proved by a canary, asked for its health, stopped."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shieldwall_agent.events import Sink
from shieldwall_agent.hashing import Hasher
from shieldwall_agent.processes import Processes


class Unavailable(Exception):
    """A mechanism cannot work here; its text tells people why."""


class Counters:
    """Events told and lost by one sensor."""

    def __init__(self) -> None:
        self.events = 0
        self.lost = 0


class Surroundings:
    """What mechanisms share: where events go, who is who, and hashes."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.processes = Processes()
        self.hasher = Hasher()


class Mechanism(Protocol):
    """One way to see; `covers` names the sensors that it serves."""

    name: str
    covers: tuple[str, ...]

    @property
    def misses(self) -> Mapping[str, str]:
        """By sensor, what it cannot see by its nature."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Sensors that it could not start while it serves others, with the reason."""

    def start(self) -> None:
        """Begin to see; Unavailable when this machine does not let it."""

    def stop(self) -> None: ...

    def alive(self) -> bool:
        """Whether it still sees."""

    def seen(self, sensor: str) -> int:
        """How much it has seen of one sensor, by which the canary is recognised."""

    def lost(self) -> int: ...


class Worker:
    """A thread that calls `step` until it is stopped; one failure ends it and shows as not alive."""

    def __init__(self, name: str, step: Callable[[], Any]) -> None:
        self._step = step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(3)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Sleep; True when it is time to stop."""
        return self._stop.wait(seconds)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._step()
        except Exception as error:
            self.error = error


class OneThread:
    """The part that mechanisms of one thread have in common; they count into `_seen` and `_lost`."""

    misses: Mapping[str, str] = {}
    refused: Mapping[str, str] = {}

    def __init__(self, name: str, step: Callable[[], Any]) -> None:
        self._seen = 0
        self._lost = 0
        self._worker = Worker(name, step)

    def stop(self) -> None:
        self._worker.stop()

    def alive(self) -> bool:
        return self._worker.alive()

    def seen(self, _sensor: str) -> int:
        return self._seen

    def lost(self) -> int:
        return self._lost
