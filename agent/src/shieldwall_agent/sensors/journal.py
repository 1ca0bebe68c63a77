"""Logons from systemd's journal, by `journalctl` that follows it.

A process of its own, since a damaged journal file may kill its reader; the library would let it kill us.
"""

import json
import os
import select
import subprocess
import time
from typing import Any

from shieldwall_agent.events import Event
from shieldwall_agent.sensors import canaries
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable
from shieldwall_agent.sensors.logon_lines import from_message

POLL_SECONDS = 0.5
LONGEST_LINE = 1 << 18

_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_PID,_UID,_EXE"
_COMMAND = (
    "journalctl", "--follow", "--output=json", f"--output-fields={_FIELDS}", "--quiet",
    "--no-pager", "SYSLOG_FACILITY=4", "SYSLOG_FACILITY=10",
)  # fmt: skip
_SYSTEM_FOLDERS = ("/usr/", "/bin/", "/sbin/", "/lib/")


class Journal(OneThread):
    """journalctl ends by itself when this end of its pipe is closed, even by a kill."""

    name = "journald"
    covers: tuple[str, ...] = ("logons",)
    misses = {"logons": "programs that tell the journal nothing"}

    def __init__(self, around: Surroundings, active: set[str]) -> None:
        super().__init__("journal", self._step)
        self._around = around
        self._active = active
        self._reader: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def start(self) -> None:
        if os.geteuid() != 0:
            raise Unavailable("only root reads all of the journal")
        try:
            # From now, not from when it has started.
            command = (*_COMMAND, f"--since=@{time.time():.6f}")
            self._reader = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise Unavailable(f"journalctl cannot be run: {error.strerror}") from error
        self._worker.start()

    def stop(self) -> None:
        super().stop()
        if self._reader is not None:
            self._reader.kill()
            self._reader.communicate()
            self._reader = None

    def _step(self) -> None:
        assert self._reader is not None
        assert self._reader.stdout is not None
        pipe = self._reader.stdout.fileno()
        if not select.select([pipe], [], [], POLL_SECONDS)[0]:
            return
        data = os.read(pipe, 65_536)
        if not data:
            raise OSError("journalctl has ended")
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if canaries.NAME.encode() in line:
            self._seen += 1
        elif event := from_entry(line):
            self._seen += 1
            if "logons" in self._active:
                self._around.sink.emit(event)


def from_entry(line: bytes) -> Event | None:
    """The logon that an entry of the journal, as JSON, tells."""
    try:
        entry = json.loads(line)
        program, pid = _text(entry.get("SYSLOG_IDENTIFIER")), int(entry.get("_PID", 0))
        when = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not _is_trusted(program, _text(entry.get("_UID")), _text(entry.get("_EXE"))):
        return None
    return from_message(program, pid, _text(entry.get("MESSAGE")), when)


def _is_trusted(program: str, uid: str, image: str) -> bool:
    """Whether a program is what it calls itself: anybody may write anything to the journal.

    User and image are known from the kernel. Of a user's processes only the installed su is su.
    """
    return uid == "0" or (image.rpartition("/")[2] == program and image.startswith(_SYSTEM_FOLDERS))


def _text(value: Any) -> str:
    """A field: text, or when it is none the numbers of its bytes; the first of several."""
    if isinstance(value, list) and value and not isinstance(value[0], int):
        value = value[0]
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
