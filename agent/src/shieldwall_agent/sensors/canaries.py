"""What is done for a sensor to see, so that a mechanism proves that it sees."""

import contextlib
import os
import secrets
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shieldwall_agent.sensors.base import Mechanism

SECONDS = 3.0
NAME = f"canary-{secrets.token_hex(8)}.invalid"
"""The name that is asked for; nobody else can know it, so what asks for it need not be told."""
AUDIT_TEST = 1120
LOG = "/dev/log"


def prove(mechanism: Mechanism, sensor: str, folder: Path) -> bool:
    """Whether a mechanism sees something that we do for it to see; True where nothing can be done.

    `folder` is the agent's own.
    """
    act = _ACTS.get(sensor) or _LOGON_ACTS.get(mechanism.name if sensor == "logons" else "")
    if act is None:
        return True
    before = mechanism.seen(sensor)
    deadline = time.monotonic() + SECONDS
    with act(folder):
        while mechanism.seen(sensor) == before:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
    return True


@contextlib.contextmanager
def _child(*command: str) -> Iterator[None]:
    """Another process, because audit tells its daemon nothing of itself. It lives until it is seen."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            yield
        finally:
            child.kill()


def _run_something(_folder: Path) -> contextlib.AbstractContextManager[None]:
    return _child("/bin/sleep", f"{SECONDS:.0f}")


def _connect_somewhere(_folder: Path) -> contextlib.AbstractContextManager[None]:
    return _child(sys.executable, "-IS", "-c", _CONNECT, str(SECONDS))


_CONNECT = """
import socket, sys, time
with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
    client.connect(server.getsockname())
    time.sleep(float(sys.argv[1]))
"""


@contextlib.contextmanager
def _ask_a_name(_folder: Path) -> Iterator[None]:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    query = struct.pack("!6H", 0x5357, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(query, ("127.0.0.1", 53))
        yield


@contextlib.contextmanager
def _make_a_file(folder: Path) -> Iterator[None]:
    path = folder / f".canary-{os.getpid()}"
    path.write_bytes(b"canary")
    path.unlink()
    yield


_ACTS: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "processes": _run_something,
    "network": _connect_somewhere,
    "dns": _ask_a_name,
    "files": _make_a_file,
}


@contextlib.contextmanager
def _write_a_line(_folder: Path) -> Iterator[None]:
    """To the system's log, as what sshd writes there, though for debugging only."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.connect(LOG)
        log.send(f"<87>shieldwall-agent[{os.getpid()}]: {NAME}".encode())
    yield


@contextlib.contextmanager
def _tell_audit(_folder: Path) -> Iterator[None]:
    """A record as programs make them, of the type for tests."""
    body = f"op={NAME}\0".encode()  # the kernel overwrites the last byte
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _AUDIT) as audit:
        audit.send(struct.pack("=IHHII", 16 + len(body), AUDIT_TEST, 1, 1, 0) + body)
    yield


_AUDIT = 9
_LOGON_ACTS = {"audit netlink": _tell_audit, "journald": _write_a_line, "auth.log": _write_a_line}
"""By mechanism. Each leaves a line in a log of the machine."""
