"""Puts the agent together: which processes there are, and what is undone when it stops."""

import contextlib
import fcntl
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from shieldwall_agent.config import State
from shieldwall_agent.ipc import Heart
from shieldwall_agent.supervisor import Child, Supervisor

SENSOR_DEADLINE = 60.0  # seconds without a beat: the canaries and the first hashes take their time
GATE_DEADLINE = 2.0  # every exec of the machine waits for this process
RESPONDER_DEADLINE = 60.0
_CAP_SYS_ADMIN = 21
OFFBOARDED = 78  # exit status after which nobody should start the agent again

log = logging.getLogger(__name__)


def run(state: State, ephemeral: bool, log_level: str) -> int:
    """Run until SIGTERM or SIGINT. With `ephemeral` the device's isolation ends with the agent too."""
    logging.basicConfig(
        stream=sys.stderr,
        level=log_level,
        format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s",
    )
    state.create()
    if state.offboarded.exists():  # stopped on the way out
        state.forget()
        return OFFBOARDED
    state.load()
    with _only_one(state):
        wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # from the spool's writer to the uploader
        for module in _SHARED:
            importlib.import_module(module)
        children = [Child("sensor", partial(_sensor, state, wake), SENSOR_DEADLINE)]
        gated = may_gate()
        if gated:
            children.append(Child("gate", partial(_gate, state), GATE_DEADLINE, orphaned=signal.SIGKILL))
        else:
            log.warning("without CAP_SYS_ADMIN: fewer sensors, no blocking, no isolation")
        children.append(Child("responder", partial(_responder, state, wake, gated), RESPONDER_DEADLINE))
        try:
            Supervisor(state.folder, children).run()
        finally:
            if gated:
                _undo(state, ephemeral or state.offboarded.exists())
        if state.offboarded.exists():
            state.forget()
            log.warning("this device was offboarded; the agent has ended for good")
            return OFFBOARDED
    return 0


# What only one process needs is loaded in it; what several need is loaded before they fork, and so is shared.
_SHARED = (
    "ssl",
    "subprocess",
    "shieldwall_agent.bpf.loader",
    "shieldwall_agent.enforcement.gate_client",
    "shieldwall_agent.enforcement.policy",
    "shieldwall_agent.processes",
    "shieldwall_agent.remote_sink",
    "shieldwall_agent.spool",
)


def _sensor(state: State, wake: int, heart: Heart) -> None:
    from shieldwall_agent.sensor_process import run

    run(state, wake, heart)


def _gate(state: State, heart: Heart) -> None:
    from shieldwall_agent.gate_process import run

    run(state, heart)


def _responder(state: State, wake: int, gated: bool, heart: Heart) -> None:
    from shieldwall_agent.responder import run

    run(state, wake, gated, heart)


def may_gate() -> bool:
    """Whether we have CAP_SYS_ADMIN, without which the kernel asks nobody (root may lack it)."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


def _undo(state: State, ephemeral: bool) -> None:
    """What a killed responder may have left in the kernel; with `ephemeral` an isolation too."""
    from shieldwall_agent.enforcement import addresses, isolation, nft, restriction
    from shieldwall_agent.spool import SpoolWriter

    with contextlib.suppress(OSError, nft.NftError):
        nft.delete(addresses.TABLE)
    if ephemeral:
        restriction.lift(state.folder)
    if ephemeral and (state.folder / isolation.FILE_NAME).exists():
        writer = SpoolWriter(state.spool)
        isolation.release_local(state.folder, writer, state.isolate_netns)
        writer.close()


@contextmanager
def _only_one(state: State) -> Iterator[None]:
    with (state.folder / "lock").open("w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # this kind of lock is not the children's too
        except OSError:
            raise RuntimeError(f"another agent is running on {state.folder}") from None
        yield
