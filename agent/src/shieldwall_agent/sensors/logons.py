"""Logons from files: lines of sshd, sudo, su and others in the auth log, and the records of wtmp and btmp."""

import os
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from shieldwall_agent.events import Event
from shieldwall_agent.sensors import canaries
from shieldwall_agent.sensors.addresses import text
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable
from shieldwall_agent.sensors.logon_lines import from_line, logon

SECONDS = 1.0
LONGEST_READ = 1 << 20

WTMP, BTMP = Path("/var/log/wtmp"), Path("/var/log/btmp")
AUTH_LOGS = (Path("/var/log/auth.log"), Path("/var/log/secure"))

_UTMP = struct.Struct("=h2xi32s4s32s256shhiii16s20x")
_USER_PROCESS = 7


class _Followed(OneThread):
    """Follows files from their ends, over rotation."""

    name = ""
    covers: tuple[str, ...] = ("logons",)
    files: tuple[Path, ...] = ()

    def __init__(self, around: Surroundings, active: set[str]) -> None:
        super().__init__("logons", self._step)
        self._around = around
        self._active = active
        self._tails: list[_Tail] = []

    def start(self) -> None:
        if not any(os.access(path, os.R_OK) for path in self.files):
            raise Unavailable(f"none can be read of {', '.join(map(str, self.files))}")
        self._tails = [_Tail(path) for path in self.files]
        self._worker.start()

    def _step(self) -> None:
        for tail in self._tails:
            for event in self._read(tail):
                self._seen += 1
                if "logons" in self._active:
                    self._around.sink.emit(event)
        self._worker.wait(SECONDS)

    def _read(self, tail: "_Tail") -> Iterable[Event]:
        raise NotImplementedError


class AuthLog(_Followed):
    """Lines carry local time in seconds, or none that can be trusted, so they are dated when read."""

    name = "auth.log"
    files = AUTH_LOGS
    misses = {"logons": "exact times, and that any user can forge a line"}

    def _read(self, tail: "_Tail") -> Iterable[Event]:
        data = tail.read(1)
        self._seen += canaries.NAME.encode() in data
        return from_log(data)


class LoginRecords(_Followed):
    """Sessions from wtmp, failures from btmp."""

    name = "wtmp, btmp"
    files = (WTMP, BTMP)
    misses = {"logons": "sudo, su, and sessions without a terminal"}

    def _read(self, tail: "_Tail") -> Iterable[Event]:
        return from_utmp(tail.read(_UTMP.size), "LogonFailed" if tail.path == BTMP else "LogonSuccess")


def from_log(data: bytes) -> Iterator[Event]:
    """Logons in lines of an auth log."""
    for line in data.decode("utf-8", "replace").split("\n"):
        if event := from_line(line, time.time()):
            yield event


def from_utmp(data: bytes, action: str) -> Iterator[Event]:
    """Logons in records of wtmp or btmp."""
    for offset in range(0, len(data) - _UTMP.size + 1, _UTMP.size):
        record = _UTMP.unpack_from(data, offset)
        record_type, pid, line, _, user, host, *_rest, seconds, micros, raw = record
        if record_type != _USER_PROCESS and action != "LogonFailed":
            continue
        remote = _text(host)
        address = ""
        if any(raw):
            address = text(2, raw) if not any(raw[4:]) else text(10, raw)
        logon_type = "RemoteInteractive" if remote or address else "Interactive"
        yield logon(
            action,
            logon_type,
            _text(user),
            when=seconds + micros / 1e6,
            address=address,
            pid=pid,
            fields={"Terminal": _text(line), "RemoteHost": remote},
        )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


class _Tail:
    """Reads what is appended to a file, and begins anew when it is replaced or cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0
        try:
            status = path.stat()
            self._inode, self._offset = status.st_ino, status.st_size
        except OSError:
            pass

    def read(self, unit: int) -> bytes:
        """New bytes, whole units of them; for text, whole lines."""
        try:
            status = self.path.stat()
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            if status.st_size == self._offset:
                return b""
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(LONGEST_READ)
        except OSError:
            return b""
        end = len(data) - len(data) % unit if unit > 1 else data.rfind(b"\n") + 1
        if not end and len(data) == LONGEST_READ:
            end = len(data)  # a line without end must not hold up all that follow it
        self._offset += end
        return data[:end]
