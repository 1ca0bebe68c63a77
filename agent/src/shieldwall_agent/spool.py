"""The bounded on-disk queue between sensors and server: the writing side, which is the sensor process's sink.

Files are all that writer and reader share (`spool_format`, `spool_reader`). Every event has an index that
rises by one. Events that could not be kept (memory full while the disk stalls, disk full, bound reached)
have taken their indexes too: a gap is a loss, however it came about, and the reader counts and reports it.
"""

import contextlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from shieldwall_agent.events import LARGEST_EVENT, Event, ReportIds, encode_line, timestamp
from shieldwall_agent.spool_format import (
    PACKED,
    RAW,
    Group,
    Segment,
    frame,
    groups,
    read_cursor,
    segments,
    sync_folder,
    write_atomically,
)

DEFAULT_BOUND = 512 * 1024 * 1024  # bytes on disk
SEGMENT_BYTES = 4 * 1024 * 1024
GROUP_BYTES = 256 * 1024
BUFFER_BYTES = 16 * 1024 * 1024  # in memory, reached only when the disk stalls
FLUSH_SECONDS = 0.15  # what is emitted within this time shares one write and one sync
STEADY_FLUSH_SECONDS = 0.3  # the same while events keep coming: a sync for each few costs more than they do


class SpoolWriter:
    """Buffers what is emitted; a thread of its own writes and syncs it, then calls `wake`."""

    def __init__(
        self,
        folder: Path,
        bound: int = DEFAULT_BOUND,
        wake: Callable[[], None] = lambda: None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._bound = bound
        self._segment_bytes = segment_bytes
        self._wake = wake
        self._report_ids = ReportIds()
        self._lock = threading.Lock()
        self._gathered = threading.Event()
        self._lines: list[bytes] = []
        self._buffered = 0
        self._overflowed = 0
        self._closing = False
        self.emitted = 0
        self.spooled = 0
        self.dropped = 0
        self._unsynced = 0
        self._lost_last = False
        self._next = _first_free_index(folder)
        self._file = self._open_segment()
        self._enforce_bound()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        try:
            event.setdefault("Timestamp", timestamp())
            event["ReportId"] = self._report_ids.next()
            line = encode_line(event)
        except (TypeError, ValueError, RecursionError):
            line = b""
        with self._lock:
            self.emitted += 1
            if not line or len(line) > LARGEST_EVENT or self._buffered > BUFFER_BYTES or self._closing:
                self._overflowed += 1
                return
            self._lines.append(line)
            self._buffered += len(line)
            if len(self._lines) == 1:
                self._gathered.set()

    def close(self) -> None:
        """Write what is buffered and stop."""
        with self._lock:
            self._closing = True
            self._gathered.set()
        self._thread.join()
        self._file.close()
        if self._lost_last:
            # An empty segment's name keeps the gap, which otherwise only the next group would show.
            with contextlib.suppress(OSError):
                self._open_segment().close()

    def counters(self) -> dict[str, int]:
        return {"emitted": self.emitted, "spooled": self.spooled, "dropped": self.dropped}

    def _run(self) -> None:
        stored = 0.0
        while True:
            self._gathered.wait()
            if not self._closing and self._buffered < GROUP_BYTES:
                steady = time.monotonic() - stored < STEADY_FLUSH_SECONDS
                time.sleep(STEADY_FLUSH_SECONDS if steady else FLUSH_SECONDS)
            with self._lock:
                lines, self._lines, self._buffered = self._lines, [], 0
                overflowed, self._overflowed = self._overflowed, 0
                closing = self._closing
                self._gathered.clear()
            self._store(lines, overflowed)
            stored = time.monotonic()
            if closing:
                return

    def _store(self, lines: list[bytes], overflowed: int) -> None:
        for chunk in _chunks(lines):
            self._append(frame(Group(self._next, len(chunk), b"".join(chunk))), len(chunk))
            self._next += len(chunk)
            if self._file.tell() >= self._segment_bytes:
                self._sync()
                self._roll()
        self._next += overflowed
        self.dropped += overflowed
        self._lost_last |= overflowed > 0
        self._sync()

    def _append(self, data: bytes, rows: int) -> None:
        offset = self._file.tell()
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            self._unsynced += rows
            self._lost_last = False
        except OSError:
            self.dropped += rows
            self._lost_last = True
            try:
                self._file.seek(offset)
                self._file.truncate()
            except OSError:
                pass  # the reader steps over a torn group

    def _sync(self) -> None:
        if not self._unsynced:
            return
        try:
            os.fdatasync(self._file.fileno())
            self.spooled += self._unsynced
        except OSError:
            self.dropped += self._unsynced
        self._unsynced = 0
        self._wake()

    def _open_segment(self) -> BinaryIO:
        self._segment = Segment(self._next, self._folder / f"{self._next:020d}{RAW}")
        descriptor = os.open(self._segment.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        sync_folder(self._folder)
        return os.fdopen(descriptor, "wb", buffering=0)

    def _roll(self) -> None:
        full, file = self._segment, self._file
        try:
            self._file = self._open_segment()
            file.close()
            cursor = read_cursor(self._folder)
            if cursor is None or cursor.attempted < full.first:
                pack(full)
            self._enforce_bound()
        except OSError:
            pass  # no room for a new segment: the old one grows on, and the next write tries again

    def _enforce_bound(self) -> None:
        """Delete the oldest segments, never the one being written."""
        found = [(segment, _size(segment)) for segment in segments(self._folder)]
        excess = sum(size for _, size in found) + self._segment_bytes - self._bound
        for segment, size in found[:-1]:
            if excess <= 0:
                return
            segment.path.unlink(missing_ok=True)
            excess -= size


def pack(segment: Segment) -> None:
    """Compress a full segment that the server has not begun to take: it will lie a while."""
    path = segment.path.with_suffix(PACKED)
    write_atomically(path, zlib.compress(segment.path.read_bytes(), 1))
    segment.path.unlink(missing_ok=True)


def _size(segment: Segment) -> int:
    try:
        return segment.path.stat().st_size
    except FileNotFoundError:
        return 0


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Runs of lines of about GROUP_BYTES."""
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= GROUP_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _first_free_index(folder: Path) -> int:
    """Above all that was stored or sent: to the server a used index would look like a duplicate."""
    cursor = read_cursor(folder)
    highest = max(cursor.acknowledged, cursor.attempted) if cursor else 0
    for segment in segments(folder)[-2:]:
        highest = max([highest, segment.first - 1, *(group.last for _, group in groups(segment.read()))])
    return highest + 1
