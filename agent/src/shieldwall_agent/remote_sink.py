"""The sink of the processes that have no spool: events go by socket to the sensor process, which has it."""

import collections
import contextlib
import json
import logging
import selectors
import socket
import threading
from pathlib import Path

from shieldwall_agent import ipc
from shieldwall_agent.events import Event, encode_line, events_lost, timestamp
from shieldwall_agent.known_files import KnownFiles

MOST_WAITING = 10_000  # events, while the sensor process is being restarted
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class RemoteSink:
    """Queues, and sends from a thread of its own; a full queue drops the oldest and reports how many."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._queue: collections.deque[bytes] = collections.deque(maxlen=MOST_WAITING)
        self._waiting = threading.Event()
        self._lock = threading.Lock()
        self._dropped = 0
        self._connection: socket.socket | None = None
        threading.Thread(target=self._run, name="remote-sink", daemon=True).start()

    def emit(self, event: Event) -> None:
        try:
            event.setdefault("Timestamp", timestamp())
            line = encode_line(event)
        except (TypeError, ValueError, RecursionError):
            line = b""
        with self._lock:
            if not line or len(line) > ipc.LARGEST_MESSAGE or len(self._queue) == MOST_WAITING:
                self._dropped += 1
            if line:
                self._queue.append(line)
        self._waiting.set()

    def flush(self, seconds: float) -> bool:
        """Wait until all is handed over; False when it is not within the time."""
        deadline = threading.Event()
        for _ in range(int(seconds / 0.02) + 1):
            if not self._queue:
                return True
            deadline.wait(0.02)
        return False

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._waiting.wait()
            self._waiting.clear()
            while self._queue:
                if not self._send(self._queue[0]):
                    pause.wait(RETRY_SECONDS)
                    continue
                with self._lock:
                    if self._queue:
                        self._queue.popleft()
            with self._lock:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                self.emit(events_lost(self._name, dropped, "the sensor process was away too long"))

    def _send(self, line: bytes) -> bool:
        try:
            if self._connection is None:
                self._connection = ipc.connect(self._folder, ipc.EVENTS)
            self._connection.send(line)
        except OSError:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return False
        return True


class EventServer:
    """Takes other processes' events into the files' sink of this one, in a thread of its own.

    A message `{"ask": "paths", "sha1": ...}` instead of an event is answered by `{"paths": [...]}`.
    """

    def __init__(self, folder: Path, files: KnownFiles) -> None:
        self._files = files
        self._selector = selectors.DefaultSelector()
        self._selector.register(ipc.listen(folder, ipc.EVENTS), selectors.EVENT_READ, None)
        threading.Thread(target=self._run, name="event-server", daemon=True).start()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if key.data is None:
                    self._accept(source)
                else:
                    self._read(source)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer, _ = server.accept()
            if not ipc.trusted(peer):
                log.warning("events from another user refused")
                peer.close()
                return
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ, peer)

    def _read(self, peer: socket.socket) -> None:
        try:
            message = peer.recv(ipc.LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._selector.unregister(peer)
            peer.close()
            return
        with contextlib.suppress(ValueError):
            event = json.loads(message)
            if isinstance(event, dict) and event.get("ask") == "paths":
                self._answer(peer, str(event.get("sha1")))
            elif isinstance(event, dict):
                self._files.emit(event)

    def _answer(self, peer: socket.socket, sha1: str) -> None:
        with contextlib.suppress(OSError):
            peer.send(json.dumps({"paths": self._files.paths(sha1)}).encode())


def paths_of(folder: Path, sha1: str) -> list[str]:
    """Where the sensor process knows copies of a file; empty when it cannot be asked."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return list(ipc.ask(folder, ipc.EVENTS, {"ask": "paths", "sha1": sha1})["paths"])
    return []
