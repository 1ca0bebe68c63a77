"""The process that answers the kernel's execution permission requests, and does nothing else."""

import contextlib
import os
import signal

from shieldwall_agent.config import State
from shieldwall_agent.enforcement.gate import Gate
from shieldwall_agent.ipc import Heart
from shieldwall_agent.remote_sink import RemoteSink


def run(state: State, heart: Heart) -> None:
    """Until SIGTERM."""
    with contextlib.suppress(OSError):
        os.nice(-10)  # on a busy machine an exec must not wait for us longer than it needs
    gate = Gate(state.folder, RemoteSink(state.folder, "gate"), heart)
    signal.signal(signal.SIGTERM, lambda *_: gate.stop())
    gate.run()
