"""The process of all telemetry: sensors, the other processes' events, and the spool that they end up in."""

import contextlib
import os
import signal
import threading
from typing import Any

from shieldwall_agent.config import State
from shieldwall_agent.ipc import Heart
from shieldwall_agent.remote_sink import EventServer
from shieldwall_agent.sensors.manager import Sensors
from shieldwall_agent.spool import SpoolWriter

BEAT_SECONDS = 2.0


def run(state: State, wake: int, heart: Heart) -> None:
    """Until SIGTERM. `wake` is the eventfd by which the uploader learns of new events."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def tell() -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(wake, 1)

    writer = SpoolWriter(state.spool, wake=tell)
    EventServer(state.folder, writer)
    sensors = Sensors(writer, state.folder)
    heart.beat()
    sensors.start()
    try:
        while not stop.is_set():
            heart.beat(_health(sensors, writer))
            stop.wait(BEAT_SECONDS)
    finally:
        sensors.stop()
        writer.close()


def _health(sensors: Sensors, writer: SpoolWriter) -> dict[str, Any]:
    return {"sensors": sensors.health(), "spool": writer.counters()}
