"""A connection to the gate from another process of the agent; it comes back by itself when the gate is
restarted.

While it stands, this process may open files that the gate refuses to all others.
"""

import contextlib
import json
import os
import queue
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shieldwall_agent import ipc
from shieldwall_agent.enforcement.gate_server import SOCKET

RETRY_SECONDS = 0.2
MOST_INSPECTIONS = 4096  # paths waiting to be opened

Found = Callable[[dict[str, Any]], None]


class GateClient:
    """`found` is called, in a thread of this object, with each bad file that may be running or must be
    remediated."""

    def __init__(self, folder: Path, found: Found | None = None) -> None:
        self._folder = folder
        self._found = found
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._applied = threading.Condition()
        self._answers = 0
        self._connection: socket.socket | None = None
        self._paths: queue.Queue[str | None] = queue.Queue(MOST_INSPECTIONS)
        self._finds: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=f"gate-{target.__name__.strip('_')}", daemon=True)
            for target in (self._listen, self._inspect_all, self._handle_finds)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._paths.put_nowait(None)
        self._finds.put(None)
        if connection := self._connection:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def wait_connected(self, seconds: float) -> bool:
        return self._connected.wait(seconds)

    def changed(self, wait: float = 0.0) -> bool:
        """Tell the gate that the list has changed; with `wait`, whether it enforces the change by then."""
        with self._applied:
            before = self._answers
            if not self._send(json.dumps({"changed": True}).encode()):
                return False
            return bool(wait) and self._applied.wait_for(lambda: self._answers > before, wait)

    def inspect(self, path: str) -> None:
        """Let the gate hash a file that was written, before anybody executes it. Never blocks."""
        with contextlib.suppress(queue.Full):
            self._paths.put_nowait(path)

    def _send(self, data: bytes, files: list[int] | None = None) -> bool:
        connection = self._connection
        if connection is None:
            return False  # a starting gate reads the list itself
        try:
            socket.send_fds(connection, [data], files or [])
        except OSError:
            return False
        return True

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                connection = ipc.connect(self._folder, SOCKET)
            except OSError:
                self._stopping.wait(RETRY_SECONDS)
                continue
            connection.settimeout(None)
            try:
                while data := connection.recv(ipc.LARGEST_MESSAGE):
                    self._handle(json.loads(data), connection)
            except (OSError, ValueError):
                pass
            finally:
                self._connection = None
                self._connected.clear()
                connection.close()

    def _handle(self, message: dict[str, Any], connection: socket.socket) -> None:
        if "hello" in message:
            self._connection = connection
            self._connected.set()
        elif "applied" in message:
            with self._applied:
                self._answers += 1
                self._applied.notify_all()
        elif "found" in message and self._found is not None:
            self._finds.put(message["found"])

    def _handle_finds(self) -> None:
        while (found := self._finds.get()) is not None:
            if self._found is not None:
                self._found(found)

    def _inspect_all(self) -> None:
        while (path := self._paths.get()) is not None:
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if stat.S_ISREG(os.fstat(file).st_mode):
                        self._send(b"{}", [file])
                finally:
                    os.close(file)
