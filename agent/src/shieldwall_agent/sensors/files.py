"""Files created, modified, renamed and deleted, with the process that did it, by fanotify."""

import os
import select
import time

from shieldwall_agent.events import Event, events_lost, timestamp
from shieldwall_agent.processes import Process, as_actor
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable
from shieldwall_agent.sensors.file_handles import (
    CLOSED_AFTER_WRITE,
    CREATED,
    DELETED,
    OVERFLOWN,
    RENAMED,
    FileChange,
    FileGroup,
)
from shieldwall_agent.sensors.own import Own

LARGEST_HASHED = 64 << 20
CREATION_SECONDS = 1.0
"""A new file is told once its writer has closed it, or after this long when nobody writes."""
BURST, PER_SECOND = 400, 40.0
"""What one process may tell of files at once and in the long run; the rest is counted, and said to be."""
REMARK_SECONDS = 30.0
ACTORS = 4096

QUIET = (
    "/proc/",
    "/sys/",
    "/dev/",
    "/run/",
    "/var/log/journal/",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/.cache/",
)


class FileWatching(OneThread):
    """One group over all local filesystems."""

    name = "fanotify"
    covers: tuple[str, ...] = ("files",)
    misses = {"files": "what other machines do on network filesystems, and writes through a mapping"}

    def __init__(self, around: Surroundings, own: Own, active: set[str], quiet: tuple[str, ...]) -> None:
        super().__init__("files", self._step)
        self._around = around
        self._own = own
        self._active = active
        self._quiet = tuple(folder.rstrip("/") + "/" for folder in quiet)
        self._created: dict[str, tuple[float, int]] = {}
        self._allowances: dict[int, _Allowance] = {}
        self._remarked = time.monotonic()
        self._group: FileGroup | None = None

    def start(self) -> None:
        try:
            self._group = FileGroup()
        except OSError as error:
            raise Unavailable(str(error)) from error
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop()
        if self._group is not None and not self._worker.alive():
            self._group.close()
            self._group = None

    def _step(self) -> None:
        assert self._group is not None
        ready, _, _ = select.select([self._group.fd], [], [], 0.5)
        if ready:
            for change in self._group.read():
                self._take(change)
            self._worker.wait(0.05)  # lets changes gather, which the kernel merges
        self._tell_unwritten()
        if time.monotonic() - self._remarked > REMARK_SECONDS:
            self._remarked = time.monotonic()
            self._group.mark_filesystems()
            self._tell_suppressed()

    def _take(self, change: FileChange) -> None:
        if change.mask == OVERFLOWN:
            self._lost += 1
            self._around.sink.emit(
                events_lost("files", 1, "the kernel's queue was full; how many is unknown")
            )
            return
        self._seen += 1
        if "files" not in self._active or self._is_quiet(change.path):
            return
        process = self._around.processes.find(change.pid)
        if process is not None and self._own.is_own(process):
            return
        if change.mask & CREATED:
            self._created[change.path] = (time.monotonic(), change.pid)
        if change.mask & CLOSED_AFTER_WRITE:
            action = "FileCreated" if self._created.pop(change.path, None) else "FileModified"
            self._tell(action, change.path, process, change.pid)
        if change.mask & RENAMED and change.target:
            self._created.pop(change.path, None)
            self._tell("FileRenamed", change.target, process, change.pid, previous=change.path)
        if change.mask & DELETED:
            self._created.pop(change.path, None)
            self._tell("FileDeleted", change.path, process, change.pid)

    def _tell_unwritten(self) -> None:
        """Tell of what was made but not written: links, empty files, files that are still open."""
        oldest = time.monotonic() - CREATION_SECONDS
        for path, (since, pid) in list(self._created.items()):
            if since < oldest:
                del self._created[path]
                self._tell("FileCreated", path, self._around.processes.known(pid), pid)

    def _tell(self, action: str, path: str, process: Process | None, pid: int, previous: str = "") -> None:
        if not self._may_tell(pid):
            return
        event: Event = {
            "Table": "DeviceFileEvents",
            "Timestamp": timestamp(),
            "ActionType": action,
            "FileName": path.rpartition("/")[2],
            "FolderPath": path,
            **as_actor(process),
        }
        if previous:
            event["PreviousFileName"] = previous.rpartition("/")[2]
            event["PreviousFolderPath"] = previous
        if action != "FileDeleted":
            event |= self._content(path)
        self._around.sink.emit(event)

    def _content(self, path: str) -> Event:
        try:
            size = os.stat(path, follow_symlinks=False).st_size
        except OSError:
            return {}
        found = self._around.hasher.hash(path) if 0 < size <= LARGEST_HASHED else None
        return {**(found[0] if found else {}), "FileSize": size}

    def _is_quiet(self, path: str) -> bool:
        return path.startswith((*QUIET[:-1], *self._quiet)) or QUIET[-1] in path

    def _may_tell(self, pid: int) -> bool:
        allowance = self._allowances.get(pid)
        if allowance is None:
            if len(self._allowances) >= ACTORS:
                self._tell_suppressed()
                self._allowances.clear()
            allowance = self._allowances[pid] = _Allowance()
        return allowance.take()

    def _tell_suppressed(self) -> None:
        count = sum(allowance.refused for allowance in self._allowances.values())
        if count:
            self._lost += count
            self._around.sink.emit(events_lost("files", count, "processes that change files all the time"))
        for pid, allowance in list(self._allowances.items()):
            allowance.refused = 0
            if allowance.is_idle():
                del self._allowances[pid]


class _Allowance:
    """A bucket of events that fills with time."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = time.monotonic()
        self.refused = 0

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True

    def is_idle(self) -> bool:
        return time.monotonic() - self._at > BURST / PER_SECOND
