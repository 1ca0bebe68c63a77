"""What is done for a sensor to see, so that a mechanism proves that it sees."""

import os
import secrets
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from shieldwall_agent.sensors.base import Mechanism

SECONDS = 3.0
NAME = f"canary-{secrets.token_hex(8)}.invalid"
"""The name that is asked for; nobody else can know it, so what asks for it need not be told."""


def prove(mechanism: Mechanism, sensor: str, folder: Path) -> bool:
    """Whether a mechanism sees something that we do for it to see; True where nothing can be done.

    `folder` is the agent's own.
    """
    act = _ACTS.get(sensor)
    if act is None:
        return True
    before = mechanism.seen(sensor)
    deadline = time.monotonic() + SECONDS
    # In a new thread, because audit knows only tasks that began after it was enabled.
    actor = threading.Thread(target=act, args=(folder,), name="canary", daemon=True)
    actor.start()
    while mechanism.seen(sensor) == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    actor.join(SECONDS)
    return True


def _run_something(_folder: Path) -> None:
    # Lives long enough for a mechanism that polls.
    with subprocess.Popen(["/bin/sleep", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        pass


def _connect_somewhere(_folder: Path) -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.settimeout(1)
        client.connect(server.getsockname())


def _ask_a_name(_folder: Path) -> None:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    query = struct.pack("!6H", 0x5357, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(query, ("127.0.0.1", 53))


def _make_a_file(folder: Path) -> None:
    path = folder / f".canary-{os.getpid()}"
    path.write_bytes(b"canary")
    path.unlink()


_ACTS: dict[str, Callable[[Path], None]] = {
    "processes": _run_something,
    "network": _connect_somewhere,
    "dns": _ask_a_name,
    "files": _make_a_file,
}
