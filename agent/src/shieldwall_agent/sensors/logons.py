"""Logons: sessions from wtmp, failures from btmp, and what sshd, sudo and su write to the auth log."""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import HOST
from shieldwall_agent.sensors.addresses import kind, text
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable

SECONDS = 1.0
LONGEST_READ = 1 << 20

WTMP, BTMP = Path("/var/log/wtmp"), Path("/var/log/btmp")
AUTH_LOGS = (Path("/var/log/auth.log"), Path("/var/log/secure"))

_UTMP = struct.Struct("=h2xi32s4s32s256shhiii16s20x")
_USER_PROCESS = 7
_PATTERNS = (
    (
        re.compile(
            r"sshd\[(?P<pid>\d+)\]: Accepted \S+ for (?P<user>\S+) from (?P<ip>\S+) port (?P<port>\d+)"
        ),
        "LogonSuccess",
        "RemoteInteractive",
    ),
    (
        re.compile(
            r"sshd\[(?P<pid>\d+)\]: Failed \S+ for (?:invalid user )?(?P<user>\S*) "
            r"from (?P<ip>\S+) port (?P<port>\d+)"
        ),
        "LogonFailed",
        "RemoteInteractive",
    ),
    (
        re.compile(r"sudo(?:\[(?P<pid>\d+)\])?:\s+(?P<by>\S+) : TTY=\S+ ; PWD=.* ; USER=(?P<user>\S+) ;"),
        "LogonSuccess",
        "Local",
    ),
    (
        re.compile(r"su(?:\[(?P<pid>\d+)\])?: \(to (?P<user>\S+)\) (?P<by>\S+) on "),
        "LogonSuccess",
        "Local",
    ),
    (
        re.compile(r"su(?:\[(?P<pid>\d+)\])?: FAILED SU \(to (?P<user>\S+)\) (?P<by>\S+) on "),
        "LogonFailed",
        "Local",
    ),
)


class LogonFiles(OneThread):
    """Follows the files from their ends, over rotation."""

    name = "wtmp, btmp, auth.log"
    covers: tuple[str, ...] = ("logons",)

    def __init__(self, around: Surroundings, active: set[str]) -> None:
        super().__init__("logons", self._step)
        self._around = around
        self._active = active
        self._followed: list[tuple[_Tail, bool]] = []

    def start(self) -> None:
        readable = [path for path in (WTMP, BTMP, *AUTH_LOGS) if os.access(path, os.R_OK)]
        if not readable:
            raise Unavailable("no wtmp, btmp or auth.log can be read")
        self._followed = [(_Tail(path), path in (WTMP, BTMP)) for path in (WTMP, BTMP, *AUTH_LOGS)]
        self._worker.start()

    def _step(self) -> None:
        for tail, binary in self._followed:
            data = tail.read(_UTMP.size if binary else 1)
            action = "LogonFailed" if tail.path == BTMP else "LogonSuccess"
            for event in from_utmp(data, action) if binary else from_log(data):
                self._seen += 1
                if "logons" in self._active:
                    self._around.sink.emit(event)
        self._worker.wait(SECONDS)


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
        yield _logon(
            action,
            logon_type,
            _text(user),
            timestamp(seconds + micros / 1e6),
            address,
            fields={"Terminal": _text(line), "RemoteHost": remote},
            pid=pid,
        )


def from_log(data: bytes) -> Iterator[Event]:
    """Logons in lines of an auth log; their own time is in local seconds, so they are dated when read."""
    for line in data.decode("utf-8", "replace").splitlines():
        for pattern, action, logon_type in _PATTERNS:
            if found := pattern.search(line):
                groups = found.groupdict()
                fields = {"By": groups["by"]} if groups.get("by") else {}
                event = _logon(
                    action,
                    logon_type,
                    groups["user"],
                    timestamp(),
                    groups.get("ip") or "",
                    fields,
                    int(groups.get("pid") or 0),
                )
                if groups.get("port"):
                    event["RemotePort"] = int(groups["port"])
                yield event
                break


def _logon(
    action: str, logon_type: str, user: str, when: str, address: str, fields: dict[str, str], pid: int
) -> Event:
    event: Event = {
        "Table": "DeviceLogonEvents",
        "Timestamp": when,
        "ActionType": action,
        "LogonType": logon_type,
        "AccountName": user,
        "AccountDomain": HOST,
        "IsLocalAdmin": user == "root",
        "AdditionalFields": fields,
    }
    if address:
        event |= {"RemoteIP": address, "RemoteIPType": kind(address)}
    if pid:
        event["InitiatingProcessId"] = pid
    return event


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
