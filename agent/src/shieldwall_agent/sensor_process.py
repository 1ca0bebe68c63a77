"""The process of all telemetry: sensors, the other processes' events, and the spool that they end up in."""

import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from shieldwall_agent.config import State
from shieldwall_agent.enforcement.gate_client import GateClient
from shieldwall_agent.events import Event, Sink
from shieldwall_agent.ipc import Heart
from shieldwall_agent.known_files import KnownFiles
from shieldwall_agent.remote_sink import EventServer
from shieldwall_agent.sensors.manager import Sensors
from shieldwall_agent.spool import SpoolWriter

BEAT_SECONDS = 2.0
SAVE_SECONDS = 300.0
COLLECT_AFTER = (20_000, 20, 50)
"""New objects before each generation's garbage is sought. Events are trees that go once they are spooled; to
seek cycles among them every few hundred objects, as Python does by itself, takes a sixth of a storm's CPU."""

log = logging.getLogger(__name__)


def run(state: State, wake: int, heart: Heart) -> None:
    """Until SIGTERM. `wake` is the eventfd by which the uploader learns of new events."""
    gc.set_threshold(*COLLECT_AFTER)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def tell() -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(wake, 1)

    writer = SpoolWriter(state.spool, wake=tell)
    files = KnownFiles(writer, state.folder / "files.json")
    EventServer(state.folder, files)
    # While it stands, this process may read, and so hash, files that the gate refuses to all others.
    gate = GateClient(state.folder)
    sensors = Sensors(NewPrograms(files, gate.inspect), state.folder)
    heart.beat()
    sensors.start()
    saved = time.monotonic()
    try:
        while not stop.is_set():
            heart.beat(_health(sensors, writer))
            if time.monotonic() - saved > SAVE_SECONDS:
                saved = time.monotonic()
                _save(files)
            stop.wait(BEAT_SECONDS)
    finally:
        sensors.stop()
        gate.close()
        _save(files)
        writer.close()


class NewPrograms:
    """A sink that shows the gate each program as it is written, before anybody runs or loads it."""

    def __init__(self, sink: Sink, inspect: Callable[[str], None]) -> None:
        self._sink = sink
        self._inspect = inspect

    def emit(self, event: Event) -> None:
        path = event.get("FolderPath")
        if event.get("Table") == "DeviceFileEvents" and event.get("SHA256") and isinstance(path, str):
            with contextlib.suppress(OSError):
                if os.stat(path, follow_symlinks=False).st_mode & 0o111:
                    self._inspect(path)
        self._sink.emit(event)


def _save(files: KnownFiles) -> None:
    try:
        files.save()
    except OSError:
        log.exception("what is known of files could not be kept")


def _health(sensors: Sensors, writer: SpoolWriter) -> dict[str, Any]:
    return {"sensors": sensors.health(), "spool": writer.counters()}
