"""fanotify permission events by ctypes: the kernel asks, we answer allow or deny.

Each mark below is for an open file descriptor's inode or filesystem, so nothing is looked up by a name
that may have been swapped meanwhile.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
)

FAN_CLOSE_WRITE = 0x00000008
FAN_Q_OVERFLOW = 0x00004000
FAN_OPEN_PERM = 0x00010000
FAN_OPEN_EXEC_PERM = 0x00040000

_FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_CLASS_CONTENT = 0x1, 0x2, 0x4
_FAN_UNLIMITED_QUEUE, _FAN_UNLIMITED_MARKS = 0x10, 0x20
_MARK_ADD, _MARK_REMOVE, _MARK_IGNORED_MASK = 0x1, 0x2, 0x20
_MARK_FLUSH, _MARK_FILESYSTEM, _MARK_EVICTABLE = 0x80, 0x100, 0x200
_ALLOW, _DENY = 1, 2

_EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, metadata length, mask, fd, pid
_RESPONSE = struct.Struct("=iI")
_VERSION = 3
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class PermissionEvent:
    mask: int
    fd: int  # the file itself, open for reading; ours to close; -1 for an overflow
    pid: int  # thread group of the one who asks

    @property
    def asks(self) -> bool:
        return bool(self.mask & (FAN_OPEN_PERM | FAN_OPEN_EXEC_PERM))


class Group:
    """One fanotify group of the content class. Closing it (or dying) lets everything pass."""

    def __init__(self) -> None:
        flags = (
            _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_CLASS_CONTENT | _FAN_UNLIMITED_QUEUE | _FAN_UNLIMITED_MARKS
        )
        self.fd = _check(_libc.fanotify_init(flags, os.O_RDONLY | os.O_LARGEFILE | os.O_CLOEXEC))
        self._evictable = True

    def close(self) -> None:
        os.close(self.fd)

    def watch_filesystem(self, path: str) -> None:
        self._mark(_MARK_ADD | _MARK_FILESYSTEM, FAN_OPEN_EXEC_PERM, path)

    def unwatch_filesystems(self) -> None:
        self._mark(_MARK_FLUSH | _MARK_FILESYSTEM, 0, "/")

    def clear(self, fd: int) -> None:
        """Ask no more about executing this inode until it is written to, and tell when a writer has closed
        it.

        The kernel drops the ignore mark at a write; a writer through a shared mapping shows at its close
        only."""
        for mark, mask in ((_MARK_IGNORED_MASK, FAN_OPEN_EXEC_PERM), (0, FAN_CLOSE_WRITE)):
            if self._evictable:  # without pinning the inode in memory, kernels >= 5.19
                try:
                    self._mark_fd(_MARK_ADD | _MARK_EVICTABLE | mark, mask, fd)
                    continue
                except OSError as error:
                    if error.errno == errno.EEXIST:  # pinned already, as one formerly known bad
                        pass
                    elif error.errno == errno.EINVAL:
                        self._evictable = False
                    else:
                        raise
            self._mark_fd(_MARK_ADD | mark, mask, fd)

    def unclear(self, fd: int) -> None:
        try:
            self._mark_fd(_MARK_REMOVE | _MARK_IGNORED_MASK, FAN_OPEN_EXEC_PERM, fd)
        except FileNotFoundError:
            pass

    def guard(self, fd: int) -> None:
        """Ask about every open of this inode, so that loaders and interpreters do not get round the exec
        hook."""
        self._mark_fd(_MARK_ADD, FAN_OPEN_PERM, fd)

    def forget_inodes(self) -> None:
        self._mark(_MARK_FLUSH, 0, "/")

    def read(self) -> Iterator[PermissionEvent]:
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            length, version, _, _, mask, fd, pid = _EVENT.unpack_from(data, offset)
            if version != _VERSION:
                raise OSError(errno.EPROTO, f"fanotify metadata version {version}")
            offset += length
            yield PermissionEvent(mask, fd, pid)

    def answer(self, event: PermissionEvent, allow: bool) -> None:
        os.write(self.fd, _RESPONSE.pack(event.fd, _ALLOW if allow else _DENY))

    def _mark(self, flags: int, mask: int, path: str) -> None:
        _check(_libc.fanotify_mark(self.fd, flags, mask, -100, os.fsencode(path)))

    def _mark_fd(self, flags: int, mask: int, fd: int) -> None:
        # By way of /proc, because the call itself takes no O_PATH descriptor.
        self._mark(flags, mask, f"/proc/self/fd/{fd}")


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
