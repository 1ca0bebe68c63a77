"""Who is who: every process that lives or lately lived, with its image, command line and parent."""

import collections
import os
import pwd
import socket
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from shieldwall_agent.clock import started
from shieldwall_agent.events import Event

MOST_DEAD = 8192
"""Processes remembered after their end, so that late events and children still find them."""
LONGEST_COMMAND = 32_768
FARTHEST_ANCESTOR = 16

_PROC = Path("/proc")


@dataclass(slots=True)
class Process:
    """One process; `ticks` is its start on the boot clock, which with its pid makes it unique."""

    pid: int
    ticks: int
    ppid: int = 0
    uid: int = 0
    path: str = ""
    command_line: str = ""
    cwd: str = ""
    hashes: dict[str, str] = field(default_factory=dict)  # by the column's name: SHA1, SHA256, MD5
    size: int | None = None
    parent: "Process | None" = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def heir(self) -> "Process":
        """What a fork starts as: all of its parent's but the identity."""
        return Process(0, 0, 0, self.uid, self.path, self.command_line, self.cwd, self.hashes, self.size)


class Processes:
    """The cache, fed by a sensor's forks, executions and exits, or by looks into /proc. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[int, Process] = {}
        self._dead: collections.OrderedDict[int, Process] = collections.OrderedDict()

    def seed(self) -> None:
        """Read every process that runs now."""
        for name in os.listdir(_PROC):
            if name.isdigit():
                self.look(int(name))

    def find(self, pid: int) -> Process | None:
        """The process that has this pid, or lately had; read from /proc when it is not known yet."""
        with self._lock:
            found = self._live.get(pid) or self._dead.get(pid)
        return found or self.look(pid)

    def known(self, pid: int) -> Process | None:
        with self._lock:
            return self._live.get(pid) or self._dead.get(pid)

    def fork(self, pid: int, ticks: int, ppid: int, uid: int) -> Process:
        """A process that began as a copy of its parent; the one that is known already, if it is."""
        known = self._live.get(pid)
        if known is not None and known.ticks == ticks:
            return known
        parent = self.find(ppid) if ppid else None
        with self._lock:
            known = self._live.get(pid)
            if known is not None and known.ticks == ticks:
                return known
            process = parent.heir() if parent else Process(0, 0)
            process.pid, process.ticks, process.ppid = pid, ticks, ppid
            process.uid, process.parent = uid, parent
            self._live[pid] = process
            self._dead.pop(pid, None)
        _forget_far_ancestors(process)
        return process

    def exit(self, pid: int) -> None:
        with self._lock:
            process = self._live.pop(pid, None)
            if process is None:
                return
            self._dead[pid] = process
            self._dead.move_to_end(pid)
            if len(self._dead) > MOST_DEAD:
                self._dead.popitem(last=False)

    def live(self) -> list[Process]:
        with self._lock:
            return list(self._live.values())

    def look(self, pid: int) -> Process | None:
        """Read a process from /proc and remember it; None when it is gone."""
        seen = read_process(pid)
        if seen is None:
            return None
        parent = self.known(seen.ppid)
        if parent is None and seen.ppid and seen.ppid != pid:
            parent = self.look(seen.ppid)
        seen.parent = parent
        with self._lock:
            known = self._live.get(pid)
            if known is not None and known.ticks == seen.ticks:
                return known
            self._live[pid] = seen
        return seen


def read_process(pid: int) -> Process | None:
    """What /proc tells of a process, as far as it still does."""
    base = _PROC / str(pid)
    try:
        stat = (base / "stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        process = Process(pid, int(fields[19]), int(fields[1]), base.stat().st_uid)
    except (OSError, ValueError, IndexError):
        return None
    process.path = image_of(pid) or stat.partition("(")[2].rpartition(")")[0]
    process.cwd = cwd_of(pid)
    process.command_line = command_line_of(pid)
    return process


def image_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def cwd_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
    except OSError:
        return ""


def command_line_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return joined(file.read(LONGEST_COMMAND))
    except OSError:
        return ""


def joined(arguments: bytes) -> str:
    """Arguments that end in NUL each, as one line."""
    return os.fsdecode(arguments.rstrip(b"\0").replace(b"\0", b" "))


def _forget_far_ancestors(process: Process) -> None:
    """Bound the chain: a daemon that forks itself again and again would else keep all of its past."""
    ancestor: Process | None = process
    for _ in range(FARTHEST_ANCESTOR):
        if ancestor is None:
            return
        ancestor = ancestor.parent
    if ancestor is not None:
        ancestor.parent = None


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def as_actor(process: Process | None) -> Event:
    """The InitiatingProcess columns of the process that did something."""
    if process is None:
        return {}
    columns: Event = {
        "InitiatingProcessId": process.pid,
        "InitiatingProcessCreationTime": started(process.ticks),
        "InitiatingProcessFileName": process.name,
        "InitiatingProcessFolderPath": process.path,
        "InitiatingProcessCommandLine": process.command_line,
        "InitiatingProcessAccountName": user_name(process.uid),
        "InitiatingProcessAccountDomain": HOST,
        "InitiatingProcessParentId": process.ppid,
    }
    for name, value in process.hashes.items():
        columns["InitiatingProcess" + name] = value
    if process.size is not None:
        columns["InitiatingProcessFileSize"] = process.size
    if process.parent is not None:
        columns["InitiatingProcessParentFileName"] = process.parent.name
        columns["InitiatingProcessParentCreationTime"] = started(process.parent.ticks)
    return columns


def as_created(process: Process) -> Event:
    """The columns of the process itself in DeviceProcessEvents, its parent being the initiating one."""
    columns: Event = {
        "FileName": process.name,
        "FolderPath": process.path,
        "ProcessId": process.pid,
        "ProcessCommandLine": process.command_line,
        "ProcessCreationTime": started(process.ticks),
        "AccountName": user_name(process.uid),
        "AccountDomain": HOST,
        **process.hashes,
        **as_actor(process.parent),
    }
    if process.size is not None:
        columns["FileSize"] = process.size
    return columns


HOST = socket.gethostname()
