"""The process that speaks with the server: uploads, long poll, commands and their results, enforcement."""

import contextlib
import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

from shieldwall_agent import ipc
from shieldwall_agent.channel import Channel
from shieldwall_agent.commands import Journal
from shieldwall_agent.config import State
from shieldwall_agent.control import Control
from shieldwall_agent.device_reporter import DeviceReporter
from shieldwall_agent.enforcement import restriction
from shieldwall_agent.executor import Executor
from shieldwall_agent.identity import Clock
from shieldwall_agent.ipc import Heart
from shieldwall_agent.remote_sink import RemoteSink
from shieldwall_agent.results import Reporter
from shieldwall_agent.spool_reader import SpoolReader
from shieldwall_agent.transport import Client
from shieldwall_agent.uploader import Uploader

BEAT_SECONDS = 2.0
DOWNLOAD_SECONDS = 120.0
FIRST_REPORT_SECONDS = 10.0  # the first report waits so long for the sensors to have started

log = logging.getLogger(__name__)


def run(state: State, wake: int, gated: bool, heart: Heart) -> None:
    """Until SIGTERM. `wake` is the eventfd by which the spool's writer tells of new events."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    heart.beat()
    enrolment = state.load()
    clock = Clock()
    client = Client.open(state, enrolment, clock)
    sink = RemoteSink(state.folder, "responder")
    journal = Journal(state.journal)
    reported = threading.Event()

    def download(target: str) -> bytes:
        files = client.another()
        try:
            return files.request("GET", target, timeout=DOWNLOAD_SECONDS).body
        finally:
            files.close()

    def leave() -> None:
        """The server knows that this device has left it: all of the agent ends."""
        state.offboarded.touch()
        os.kill(os.getppid(), signal.SIGTERM)

    control = Control(
        state.folder, enrolment.address, sink, gated, state.isolate_netns, state.only_under, download
    )
    executor = Executor(journal, control.handlers(), reported.set)
    uploader = Uploader(client.another(), SpoolReader(state.spool), _waiter(wake), sink.emit, stop)
    channel = Channel(
        client,
        clock,
        enrolment.command_key,
        enrolment.device_id,
        journal,
        lambda: control.policy.revision,
        control.isolation.isolated,
        control.apply_indicators,
        executor.dispatch,
        stop,
    )

    def health() -> dict[str, Any]:
        return {
            "upload": uploader.counters(),
            "channel": channel.counters(),
            "clock_offset": clock.offset,
            "policy_revision": control.policy.revision,
            "isolated": control.isolation.isolated(),
            "restricted": restriction.ordered(state.folder),
            "enforcement": control.health(),
        }

    reporter = Reporter(client.another(), journal, reported, stop, leave)
    device = DeviceReporter(client.another(), lambda: _own_report(state, health()), stop)
    control.start()
    executor.resume(clock.now())
    for work in (uploader.run, channel.run, reporter.run, device.run):
        threading.Thread(target=work, name=work.__qualname__, daemon=True).start()
    isolated = control.isolation.isolated()
    while not stop.is_set():
        heart.beat(health())
        if control.isolation.isolated() != isolated:
            isolated = not isolated
            device.look()
        stop.wait(BEAT_SECONDS)
    control.stop()
    sink.flush(1.0)


def _own_report(state: State, health: dict[str, Any]) -> dict[str, Any]:
    """The part of the device report that only the agent's processes know."""
    sensor: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError):
        sensor = ipc.ask(state.folder, ipc.CONTROL, {"ask": "status"})["processes"]["sensor"]
    return {
        "sensors": sensor.get("sensors", {}),
        "isolated": health["isolated"],
        "counters": {
            "spool": sensor.get("spool", {}),
            "upload": health["upload"],
            "channel": health["channel"],
        },
    }


def _waiter(wake: int) -> Callable[[float], None]:
    poll = select.poll()
    poll.register(wake, select.POLLIN)

    def wait(seconds: float) -> None:
        if poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(wake)

    return wait
