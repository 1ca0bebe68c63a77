"""fanotify's naming of files: which directory a kernel handle is, and the group that reports by handle."""

import collections
import ctypes
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from shieldwall_agent.enforcement.filesystems import MountWatch

CREATED, DELETED, CLOSED_AFTER_WRITE, RENAMED, OVERFLOWN = 0x100, 0x200, 0x8, 0x10000000, 0x4000

_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _UNLIMITED_MARKS = 0x1, 0x2, 0x10, 0x20
_REPORT_FID, _REPORT_DIRECTORY, _REPORT_NAME = 0x200, 0x400, 0x800
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, metadata length, mask, fd, pid
_INFORMATION = struct.Struct("=BBH8sIi")  # type, pad, length, filesystem, handle's bytes, handle's type
_NAMED, _OLD_NAME, _NEW_NAME = 2, 10, 12
_READ_BYTES = 1 << 18
_PATH_SECONDS = 2.0
_PATHS_KEPT = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
)


@dataclass(frozen=True, slots=True)
class FileChange:
    """One change: `mask` may hold several of them, merged by the kernel. `target` is a rename's new path."""

    mask: int
    pid: int
    path: str
    target: str = ""


class FileGroup:
    """A fanotify group that tells names. Raises OSError where the kernel or the privileges do not let it."""

    def __init__(self) -> None:
        flags = _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _UNLIMITED_MARKS
        flags |= _REPORT_FID | _REPORT_DIRECTORY | _REPORT_NAME
        self.fd = _check(_libc.fanotify_init(flags, os.O_RDONLY | os.O_LARGEFILE | os.O_CLOEXEC))
        self._mounts = MountWatch()
        self._roots: dict[bytes, int] = {}
        self._marked: set[int] = set()
        self._paths: collections.OrderedDict[bytes, tuple[float, str]] = collections.OrderedDict()
        self.mark_filesystems()

    def close(self) -> None:
        os.close(self.fd)
        self._mounts.close()
        for root in self._roots.values():
            os.close(root)

    def mark_filesystems(self) -> None:
        """Watch every local filesystem that is not watched yet."""
        for device, point in self._mounts.mounts():
            if device in self._marked:
                continue
            self._marked.add(device)
            mask = CREATED | DELETED | CLOSED_AFTER_WRITE | RENAMED
            try:
                root = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            mark = _MARK_ADD | _MARK_FILESYSTEM
            if _libc.fanotify_mark(self.fd, mark, mask, -100, os.fsencode(point)) < 0:
                os.close(root)  # a filesystem without handles, such as some overlays
                continue
            self._roots[_filesystem_id(root)] = root
        if not self._roots:
            raise OSError("no filesystem here reports changes by name")

    def read(self) -> Iterator[FileChange]:
        """What has changed since the last read; a change with OVERFLOWN tells of an unknown number lost."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            length, _, _, header, mask, _, pid = _EVENT.unpack_from(data, offset)
            names = dict(self._names(data, offset + header, offset + length))
            offset += length
            if mask & OVERFLOWN:
                yield FileChange(OVERFLOWN, 0, "")
            elif _OLD_NAME in names:
                yield FileChange(mask, pid, names[_OLD_NAME], names.get(_NEW_NAME, ""))
            elif _NAMED in names:
                yield FileChange(mask, pid, names[_NAMED])

    def _names(self, data: bytes, offset: int, end: int) -> Iterator[tuple[int, str]]:
        while offset + _INFORMATION.size <= end:
            kind, _, length, filesystem, size, handle_type = _INFORMATION.unpack_from(data, offset)
            if length < _INFORMATION.size or offset + length > end:
                return
            handle = data[offset + _INFORMATION.size : offset + _INFORMATION.size + size]
            name = data[offset + _INFORMATION.size + size : offset + length].split(b"\0", 1)[0]
            offset += length
            if kind in (_NAMED, _OLD_NAME, _NEW_NAME):
                folder = self._folder(filesystem, handle, handle_type)
                if folder:
                    yield kind, f"{folder.rstrip('/')}/{os.fsdecode(name)}"

    def _folder(self, filesystem: bytes, handle: bytes, handle_type: int) -> str:
        """The path of a directory now; kept briefly, as a busy folder's changes come in bunches."""
        key = filesystem + handle
        kept = self._paths.get(key)
        if kept and time.monotonic() - kept[0] < _PATH_SECONDS:
            return kept[1]
        root = self._roots.get(filesystem)
        if root is None:
            return ""
        buffer = ctypes.create_string_buffer(struct.pack("=Ii", len(handle), handle_type) + handle)
        descriptor = _libc.open_by_handle_at(root, buffer, os.O_PATH | os.O_CLOEXEC)
        if descriptor < 0:
            return ""  # the directory is gone already
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return ""
        finally:
            os.close(descriptor)
        self._paths[key] = (time.monotonic(), path)
        self._paths.move_to_end(key)
        if len(self._paths) > _PATHS_KEPT:
            self._paths.popitem(last=False)
        return path


def _filesystem_id(descriptor: int) -> bytes:
    """The id by which fanotify names the filesystem, from fstatfs."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.fstatfs(descriptor, buffer))
    return buffer.raw[56:64]  # f_fsid behind seven words, on every 64-bit Linux


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
