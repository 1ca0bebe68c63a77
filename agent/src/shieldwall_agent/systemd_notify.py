"""systemd's readiness and watchdog protocol, without its library; does nothing where there is no systemd."""

import contextlib
import os
import socket
import time


class Notifier:
    def __init__(self) -> None:
        self._path = os.environ.pop("NOTIFY_SOCKET", "")
        self._interval = int(os.environ.pop("WATCHDOG_USEC", "0") or 0) / 2e6  # seconds
        self._ready = False
        self._next = 0.0

    def tick(self, healthy: bool) -> None:
        """Call often. Tells that we are ready once, and that we live as often as the watchdog asks."""
        if not self._path:
            return
        if healthy and not self._ready:
            self._ready = True
            self._send("READY=1\nSTATUS=Running")
        now = time.monotonic()
        if self._interval and now >= self._next:
            self._next = now + self._interval
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(address)
            client.send(text.encode())
