"""The gate's side of its connections with the agent's other processes. Nothing here ever waits."""

import collections
import contextlib
import json
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shieldwall_agent import ipc

SOCKET = "gate.sock"
MOST_NEWS = 256  # finds kept for a responder that is being restarted


class GateServer:
    """`trusted`: pids of the connected processes, which may open bad files to hash and quarantine them."""

    def __init__(self, folder: Path, poll: "select.poll") -> None:
        self._poll = poll
        self._server = ipc.listen(folder, SOCKET)
        self._poll.register(self._server.fileno(), select.POLLIN)
        self._clients: dict[int, tuple[socket.socket, int]] = {}
        self._news: collections.deque[bytes] = collections.deque(maxlen=MOST_NEWS)
        self.trusted: frozenset[int] = frozenset()

    def close(self) -> None:
        self._server.close()
        for client, _ in self._clients.values():
            client.close()

    def fileno(self) -> int:
        return self._server.fileno()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._server.accept()
            if not ipc.trusted(client):
                client.close()
                return
            client.setblocking(False)
            pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            self._clients[client.fileno()] = (client, pid)
            self._poll.register(client.fileno(), select.POLLIN)
            self._note_trusted()
            client.send(json.dumps({"hello": os.getpid()}).encode())
            self._send_news()

    @contextmanager
    def hear(self, fd: int) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """A client's message, and files that it opened for us; they are closed at the end.

        Raises ValueError for a message that is none."""
        client, _ = self._clients[fd]
        try:
            data, files, _, _ = socket.recv_fds(client, ipc.LARGEST_MESSAGE, 1)
        except BlockingIOError:
            data, files = b"{}", []
        except OSError:
            data, files = b"", []
        if not data:
            self._poll.unregister(fd)
            self._clients.pop(fd)[0].close()
            self._note_trusted()
        try:
            yield json.loads(data or b"{}"), files
        finally:
            for file in files:
                os.close(file)

    def answer(self, fd: int, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, KeyError):
            self._clients[fd][0].send(json.dumps(message).encode())

    def tell(self, news: dict[str, Any]) -> None:
        """To all who are connected, or to the next one who is."""
        self._news.append(json.dumps(news).encode())
        self._send_news()

    def _send_news(self) -> None:
        while self._news and self._clients:
            for client, _ in list(self._clients.values()):
                with contextlib.suppress(OSError):
                    client.send(self._news[0])
            self._news.popleft()

    def _note_trusted(self) -> None:
        self.trusted = frozenset(pid for _, pid in self._clients.values())
