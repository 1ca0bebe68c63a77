"""Unix sockets between the agent's processes, in the state folder, for root and the agent's own user."""

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTROL = "control.sock"
EVENTS = "events.sock"
LARGEST_MESSAGE = 256 * 1024  # bytes; a message is one packet


def listen(folder: Path, name: str) -> socket.socket:
    """A non-blocking listening socket; one that a killed process left behind is replaced."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    (folder / name).unlink(missing_ok=True)
    with _short_path(folder, name) as path:
        before = os.umask(0o177)
        try:
            server.bind(path)
        finally:
            os.umask(before)
    server.listen(16)
    return server


def connect(folder: Path, name: str, timeout: float = 5.0) -> socket.socket:
    """Raises OSError when nobody listens, PermissionError when it is not an agent of ours."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        client.settimeout(timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_MESSAGE)
        with _short_path(folder, name) as path:
            client.connect(path)
        if not trusted(client):
            raise PermissionError(f"{folder / name} is served by another user")
    except BaseException:
        client.close()
        raise
    return client


def trusted(peer: socket.socket) -> bool:
    """Whether the other end runs as root or as our own user."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())


def ask(folder: Path, name: str, request: dict[str, Any], timeout: float = 5.0) -> dict[str, Any]:
    """One question to the process that listens on `name`. Raises OSError when there is none, or no answer."""
    with connect(folder, name, timeout) as client:
        client.send(json.dumps(request).encode())
        message = client.recv(LARGEST_MESSAGE)
        if not message:
            raise ConnectionResetError(f"{folder / name} gave no answer")
        answer: dict[str, Any] = json.loads(message)
        return answer


class Heart:
    """A child's end of the pair that joins it to the supervisor. A beat says: alive, and this is how I am."""

    def __init__(self, pair: socket.socket) -> None:
        self._pair = pair
        self._pair.setblocking(False)

    def beat(self, health: dict[str, Any] | None = None) -> None:
        """Never blocks; a full queue already holds beats enough."""
        message = json.dumps(health or {}, default=str).encode()
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionError):
            self._pair.send(message if len(message) <= LARGEST_MESSAGE else b"{}")


@contextlib.contextmanager
def _short_path(folder: Path, name: str) -> Iterator[str]:
    """A way to folder/name of under 108 bytes, the most that a socket address takes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
