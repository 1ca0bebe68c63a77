"""SHA-1, SHA-256 and MD5 of files, kept as long as the file stays as it is."""

import collections
import hashlib
import os
import stat
import threading

LARGEST = 256 << 20  # bytes; a larger file is told without hashes
MOST_KEPT = 20_000

_CHUNK = 64 << 10  # stays in the processor's cache for three digests

Hashed = tuple[dict[str, str], int]  # hashes by column name, and the size


class Hasher:
    """Hashes each state of a file once. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[tuple[int, ...], dict[str, str]] = collections.OrderedDict()

    def hash(self, path: str, inode: int | None = None, pid: int = 0) -> Hashed | None:
        """Hashes of a regular file; None when it cannot be read, is too large, or is no longer `inode`.

        While `pid` lives, its image is read by way of /proc, which finds it whatever its path means here.
        """
        for candidate in (f"/proc/{pid}/exe" if pid else "", path):
            if candidate and (found := self._hash(candidate, inode)):
                return found
        return None

    def _hash(self, path: str, inode: int | None) -> Hashed | None:
        try:
            # Most images are known by their state: no need to open them.
            if kept := self._known(os.stat(path), inode):
                return kept
            # Not blocking: a FIFO put in the file's place must not hold us up.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or (inode is not None and status.st_ino != inode):
                return None
            size = status.st_size
            if size > LARGEST:
                return {}, size
            hashes = _digest(descriptor)
            after = os.fstat(descriptor)
            if (after.st_size, after.st_mtime_ns) == (size, status.st_mtime_ns):
                self._keep(_state(status), hashes)
            return hashes, size
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _known(self, status: os.stat_result, inode: int | None) -> Hashed | None:
        if inode is not None and status.st_ino != inode:
            return None
        with self._lock:
            hashes = self._kept.get(_state(status))
        return (hashes, status.st_size) if hashes is not None else None

    def _keep(self, key: tuple[int, ...], hashes: dict[str, str]) -> None:
        with self._lock:
            self._kept[key] = hashes
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)


def _state(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _digest(descriptor: int) -> dict[str, str]:
    digests = {
        "SHA1": hashlib.sha1(usedforsecurity=False),
        "SHA256": hashlib.sha256(),
        "MD5": hashlib.md5(usedforsecurity=False),
    }
    offset = 0
    while part := os.pread(descriptor, _CHUNK, offset):
        offset += len(part)
        for digest in digests.values():
            digest.update(part)
        if offset > LARGEST:
            break
    return {name: digest.hexdigest() for name, digest in digests.items()}
