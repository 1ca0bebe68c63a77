"""What the spool looks like on disk, shared by its writer and its reader.

A segment file is named by its first event's index and holds CRC-framed groups of NDJSON lines; a segment
that filled up before the server took it is packed as one zlib stream. The cursor file holds what was
acknowledged and how far the batch that was last sent reaches.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_MAGIC = b"\xffSW1"  # 0xff occurs in no UTF-8 text, so a search for it finds only frames
_FRAME = struct.Struct("<4sIQII")  # magic, payload bytes, first index, rows, CRC-32 of all the rest
_SLOT_BYTES = 512
RAW, PACKED = ".seg", ".segz"


@dataclass(frozen=True)
class Group:
    first: int
    rows: int
    payload: bytes

    @property
    def last(self) -> int:
        return self.first + self.rows - 1


@dataclass(frozen=True)
class Cursor:
    stream: str
    acknowledged: int = 0  # last index the server has, or that is known to be lost
    attempted: int = 0  # last index of the batch that was sent; never below acknowledged
    lost: int = 0


def frame(group: Group) -> bytes:
    head = _FRAME.pack(_MAGIC, len(group.payload), group.first, group.rows, 0)
    crc = zlib.crc32(group.payload, zlib.crc32(head))
    return _FRAME.pack(_MAGIC, len(group.payload), group.first, group.rows, crc) + group.payload


def _group_at(data: bytes, offset: int) -> Group | None:
    if len(data) - offset < _FRAME.size:
        return None
    magic, length, first, rows, crc = _FRAME.unpack_from(data, offset)
    start = offset + _FRAME.size
    if magic != _MAGIC or start + length > len(data):
        return None
    payload = data[start : start + length]
    if zlib.crc32(payload, zlib.crc32(_FRAME.pack(magic, length, first, rows, 0))) != crc:
        return None
    return Group(first, rows, payload)


def groups(data: bytes, offset: int = 0) -> Iterator[tuple[int, Group]]:
    """Every sound group at or after `offset`, with its offset; damage is stepped over."""
    while offset >= 0:
        group = _group_at(data, offset)
        if group is None:
            offset = data.find(_MAGIC, offset + 1)
            continue
        yield offset, group
        offset += _FRAME.size + len(group.payload)


@dataclass(frozen=True)
class Segment:
    first: int
    path: Path

    def read(self, offset: int = 0) -> bytes:
        """What it holds from an (unpacked) offset on; nothing when it is gone or cannot be unpacked."""
        if self.path.suffix == RAW:
            try:
                with self.path.open("rb") as file:
                    file.seek(offset)
                    return file.read()
            except OSError:
                pass  # the writer may have packed it since it was listed
        try:
            return zlib.decompress(self.path.with_suffix(PACKED).read_bytes())[offset:]
        except (OSError, zlib.error):
            return b""


def segments(folder: Path) -> list[Segment]:
    """The segments, oldest first; of one that is in both forms (a crash while packing), the packed one."""
    found: dict[int, Segment] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (RAW, PACKED) and path.stem.isdigit():
            found[int(path.stem)] = Segment(int(path.stem), path)
    return [found[first] for first in sorted(found)]


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that it is whole and on disk after any crash. Mode 0600."""
    scratch = path.with_name(path.name + ".tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_cursor(folder: Path) -> Cursor | None:
    found = _newest_slot(folder / "cursor")
    return found[1] if found else None


class CursorFile:
    """Keeps the cursor in two slots of one small file, written in turn and in place.

    In place, so that a full disk does not stop the uploads that empty it; in turn, so that a crash while one
    is written leaves the other.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "cursor"
        found = _newest_slot(path)
        self._generation, self.cursor = found or (0, Cursor(stream=os.urandom(16).hex()))
        if found is None:
            write_atomically(path, _slot(0, self.cursor) + bytes(_SLOT_BYTES))
        self._file = path.open("r+b", buffering=0)

    def set(self, cursor: Cursor, durable: bool) -> None:
        self.cursor = cursor
        self._generation += 1
        slot = _slot(self._generation, cursor)
        os.pwrite(self._file.fileno(), slot, self._generation % 2 * _SLOT_BYTES)
        if durable:
            os.fdatasync(self._file.fileno())


def _slot(generation: int, cursor: Cursor) -> bytes:
    content = json.dumps([generation, asdict(cursor)]).encode()
    return (b"%08x " % zlib.crc32(content) + content + b"\n").ljust(_SLOT_BYTES)


def _newest_slot(path: Path) -> tuple[int, Cursor] | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    found: list[tuple[int, Cursor]] = []
    for slot in (data[:_SLOT_BYTES], data[_SLOT_BYTES:]):
        try:
            content = slot[9:].strip()
            if int(slot[:8], 16) == zlib.crc32(content):
                generation, fields = json.loads(content)
                found.append((generation, Cursor(**fields)))
        except (ValueError, TypeError):
            continue
    return max(found, key=lambda entry: entry[0], default=None)
