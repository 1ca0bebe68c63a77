"""Hashing of open files beside the gate's loop, the least hashed first.

A file is hashed in slices and goes back to the queue after each, so huge files never keep small ones waiting.
"""

import hashlib
import heapq
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

KINDS = {"FileSha256": "sha256", "FileSha1": "sha1", "FileMd5": "md5"}
SLICE = 4 * 1024 * 1024  # bytes, about 10 ms
READ = 128 * 1024  # bytes at once; more is no faster and stays in memory for good
LARGEST = 8 * 1024**3  # bytes
MOST_WAITING = 4096

Hashes = dict[str, str]  # kind to lower-case hex
Done = Callable[[Hashes | None], None]


class _Job:
    def __init__(self, fd: int, kinds: Iterable[str], done: Done) -> None:
        self.fd = fd
        self.hashers = {kind: hashlib.new(KINDS[kind], usedforsecurity=False) for kind in kinds}
        self.done = done
        self.offset = 0


class HashQueue:
    """`done` is called in a worker thread, with None when the file cannot be hashed."""

    def __init__(self, workers: int = 2) -> None:
        self._jobs: list[tuple[int, int, _Job]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        for number in range(workers):
            threading.Thread(target=self._work, name=f"hash-{number}", daemon=True).start()

    def submit(self, fd: int, kinds: Iterable[str], done: Done) -> bool:
        """Hash what `fd` is open on; its own duplicate is kept. False when too many are waiting."""
        with self._changed:
            if len(self._jobs) >= MOST_WAITING:
                return False
            heapq.heappush(self._jobs, (0, next(self._order), _Job(os.dup(fd), kinds, done)))
            self._changed.notify()
        return True

    def _work(self) -> None:
        buffer = memoryview(bytearray(READ))
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                _, _, job = heapq.heappop(self._jobs)
            if not self._slice(job, buffer):
                with self._changed:
                    heapq.heappush(self._jobs, (job.offset, next(self._order), job))
                    self._changed.notify()

    def _slice(self, job: _Job, buffer: memoryview) -> bool:
        """Hash on; True when the job has ended."""
        result: Hashes | None = None
        try:
            end = job.offset + SLICE
            while count := os.preadv(job.fd, [buffer], job.offset):
                if job.offset >= LARGEST:
                    return self._finish(job, None)
                job.offset += count
                for hasher in job.hashers.values():
                    hasher.update(buffer[:count])
                if job.offset >= end:
                    return False
            result = digests(job.hashers)
        except OSError:
            pass
        return self._finish(job, result)

    def _finish(self, job: _Job, result: Hashes | None) -> bool:
        os.close(job.fd)
        job.done(result)
        return True


def digests(hashers: dict[str, Any]) -> Hashes:
    return {kind: hasher.hexdigest() for kind, hasher in hashers.items()}


def hash_file(fd: int, kinds: Iterable[str] = KINDS) -> Hashes:
    """The hashes of an open file, here and now. Raises OSError."""
    hashers = {kind: hashlib.new(KINDS[kind], usedforsecurity=False) for kind in kinds}
    buffer = memoryview(bytearray(READ))
    offset = 0
    while count := os.preadv(fd, [buffer], offset):
        offset += count
        for hasher in hashers.values():
            hasher.update(buffer[:count])
    return digests(hashers)
