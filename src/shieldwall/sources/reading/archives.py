"""Files, folders and archives as one flow of plain files. Nothing is written under a name that an archive
gives, and what comes out is bounded."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from shieldwall.sources.reading.account import Account
from shieldwall.sources.reading.detect import HEAD_BYTES, archive_kind

DEPTH = 4
"""How deep archives may lie within one another."""
MEMBERS = 100_000
RATIO = 250
"""What may come out of an archive for each byte of it, and at least ``LEAST`` in all."""
LEAST = 1 << 30
_WINDOW = 1 << 27
"""Largest window that a zstd frame may ask for: what ``zstd --long`` uses."""
BROKEN = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    zstandard.ZstdError,
)
"""What reading a broken archive, or one in an unknown way, raises."""


class TooMuch(ValueError):
    """An archive holds more than it may."""


@dataclass(frozen=True)
class PlainFile:
    """A file that is no archive: its name, its beginning, and all of it from the beginning on."""

    name: str
    head: bytes
    stream: BinaryIO
    path: Path | None
    """Where it lies, if it does not lie in an archive."""


class _Allowance:
    """How much may still come out of one archive, with all that lies within."""

    def __init__(self, size: int) -> None:
        self.bytes = max(LEAST, size * RATIO)
        self.members = MEMBERS

    def take(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise TooMuch(f"more comes out of it than {RATIO} times its size")

    def member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise TooMuch(f"it holds more than {MEMBERS} files")


class _Counted(io.RawIOBase):
    """A stream whose bytes are taken from an allowance; reading it raises TooMuch at the bound."""

    def __init__(self, stream: BinaryIO, allowance: _Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        part = self._stream.read(len(view))
        self._allowance.take(len(part))
        view[: len(part)] = part
        return len(part)


class _Gunzip(io.RawIOBase):
    """What a gzip file holds, of all its members; what is behind them and none itself is passed over."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._member = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        while True:
            if self._member.eof:
                self._waiting = self._member.unused_data or self._stream.read(1 << 16)
                if not self._waiting.startswith(b"\x1f\x8b"):
                    return 0
                self._member = zlib.decompressobj(wbits=31)
            data = self._waiting or self._stream.read(1 << 16)
            if not data:
                raise EOFError("the gzip file is cut off")
            part = self._member.decompress(data, len(view))
            self._waiting = self._member.unconsumed_tail
            if part:
                view[: len(part)] = part
                return len(part)


def plain_files(path: Path, account: Account) -> Iterator[PlainFile]:
    """Every plain file in a file, archive or folder; what cannot be opened is put into the account."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            # A link may lead out of the folder, or round in it.
            if inner.is_file() and not inner.is_symlink():
                yield from plain_files(inner, account)
        return
    try:
        with path.open("rb", HEAD_BYTES) as file:
            allowance = _Allowance(path.stat().st_size)
            yield from _within(
                str(path), io.BufferedReader(cast(io.RawIOBase, file), HEAD_BYTES), allowance, 0, account
            )
    except OSError as error:
        account.problem(str(path), error.strerror or str(error))


def _within(
    name: str, stream: Any, allowance: _Allowance, depth: int, account: Account
) -> Iterator[PlainFile]:
    head = _peek(stream)
    kind = archive_kind(head)
    if not kind:
        yield PlainFile(name, head, cast(BinaryIO, stream), None if depth else Path(name))
        return
    if depth >= DEPTH:
        account.problem(name, f"archives lie in one another deeper than {DEPTH}")
        return
    try:
        for inner, opened in _MEMBERS[kind](name, cast(BinaryIO, stream), allowance):
            counted = io.BufferedReader(_Counted(opened, allowance), HEAD_BYTES)
            yield from _within(inner, counted, allowance, depth + 1, account)
    except BROKEN as error:
        account.problem(
            name, f"not read to its end: {' '.join(str(error).split())[:200] or type(error).__name__}"
        )


def _peek(stream: Any) -> bytes:
    """The beginning of a stream, without taking it."""
    head: bytes = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    return head


def reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


Members = Iterator[tuple[str, BinaryIO]]


def _zip(name: str, stream: BinaryIO, allowance: _Allowance) -> Members:
    with _seekable(stream) as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            allowance.member()
            if entry.is_dir() or _is_mac_metadata(entry.filename):
                continue
            if entry.flag_bits & 1:
                raise ValueError(f"{entry.filename[:100]} is encrypted")
            with archive.open(entry) as opened:
                yield f"{name}/{entry.filename}", cast(BinaryIO, opened)


def _tar(name: str, stream: BinaryIO, allowance: _Allowance) -> Members:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            allowance.member()
            opened = archive.extractfile(entry) if entry.isfile() else None
            if opened is not None and not _is_mac_metadata(entry.name):
                yield f"{name}/{entry.name}", cast(BinaryIO, opened)


def _gzip(name: str, stream: BinaryIO, allowance: _Allowance) -> Members:
    yield name.removesuffix(".gz"), cast(BinaryIO, io.BufferedReader(_Gunzip(stream), HEAD_BYTES))


def _zstd(name: str, stream: BinaryIO, allowance: _Allowance) -> Members:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with decompressor.stream_reader(stream, read_across_frames=True, closefd=False) as opened:
        yield name.removesuffix(".zst"), cast(BinaryIO, opened)


_MEMBERS = {"zip": _zip, "tar": _tar, "gzip": _gzip, "zstd": _zstd}


def _is_mac_metadata(name: str) -> bool:
    """Finder's shadow files, which have the names of the real ones."""
    return name.startswith("__MACOSX/") or "/._" in f"/{name}"


def _seekable(stream: BinaryIO) -> BinaryIO:
    """The stream, or a nameless copy of it, that can be read from anywhere."""
    try:
        if stream.seekable():
            stream.seek(0)
            return stream
    except (OSError, ValueError):
        pass
    return spooled(stream)


def spooled(stream: BinaryIO) -> BinaryIO:
    """A copy of the rest of a stream in a file without a name."""
    file = cast(BinaryIO, tempfile.TemporaryFile(prefix="shieldwall-"))  # noqa: SIM115
    while part := stream.read(1 << 20):
        file.write(part)
    file.seek(0)
    return file
