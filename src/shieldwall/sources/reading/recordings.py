"""Recordings of any format as blocks of JSON lines, each with whose records they are."""

from __future__ import annotations

import io
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from shieldwall.sources.reading import evtx_file, json_lines, text_logs
from shieldwall.sources.reading.account import Account, Block
from shieldwall.sources.reading.archives import BROKEN, PlainFile, plain_files, reason
from shieldwall.sources.reading.detect import format_of, source_in
from shieldwall.sources.reading.repeats import told_apart

BLOCK_BYTES = 40 << 20
BLOCK_LINES = 90_000
"""What one block holds at most, but for its last line."""

_TEXT_SOURCES = {"zeek": "zeek", "auditd": "auditd", "xml": "windows"}


def read(paths: Iterable[Path], account: Account) -> Iterator[Block]:
    """The records of all files, archives and folders, in order; what could not be read is in the account."""
    gathered = _Gathered(account)
    for path in paths:
        for file in plain_files(path, account):
            yield from _blocks(file, gathered, account)
        account.paths += 1
    yield from gathered.rest()


class TooLong(Exception):
    """A body's lines are more than they may be."""


def body_lines(form: str, payload: bytes, most: int) -> bytes:
    """A request's body as JSON lines. Text that cannot be read stays as it is, to be rejected by line.

    TooLong when lines that are made of another format have more than ``most`` bytes.
    """
    lines = _own_lines(form, payload)
    if lines is None:
        return payload
    kept: list[bytes] = []
    size = 0
    for line in lines:
        kept.append(line)
        size += len(line) + 1
        if size > most:
            raise TooLong
    return b"\n".join(kept)


def _own_lines(form: str, payload: bytes) -> Iterator[bytes] | None:
    """The lines that are made of a body; None where it has them already."""
    head = payload[:65536].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"{", b"[")) and not json_lines.is_lines(head):
        return told_apart(_until_broken(payload))
    kind = format_of(payload[:65536])
    if kind == "evtx" and form == "windows":
        return _of_evtx(payload)
    lines = payload.split(b"\n")
    if kind == "zeek" and form == "zeek":
        return told_apart(text_logs.zeek(lines))
    if kind == "auditd" and form == "auditd":
        return told_apart(text_logs.auditd(lines))
    if kind == "xml" and form == "windows":
        return told_apart(text_logs.xml_events(lines))
    if len(set(lines)) == len(lines):
        return None
    return told_apart(line.rstrip(b"\r") for line in lines)


def _of_evtx(payload: bytes) -> Iterator[bytes]:
    """The records of an EVTX file; of a damaged one what can be read, and last what is missing."""
    account = Account()
    yield from _streamed_evtx(io.BytesIO(payload), "the file", account)
    for problem in account.problems:
        yield problem.text.encode()


def _until_broken(payload: bytes) -> Iterator[bytes]:
    stream = io.BytesIO(payload)
    try:
        yield from json_lines.objects(stream)
    except json_lines.BadJson as error:
        yield str(error).encode()


def _blocks(file: PlainFile, gathered: _Gathered, account: Account) -> Iterator[Block]:
    kind = format_of(file.head)
    if not kind:
        if file.head.strip():
            account.skipped.append(file.name)
        return
    account.files += 1
    source = source_in(file.head, file.name) if kind == "json" else _TEXT_SOURCES.get(kind, "windows")
    lines = _to_its_end(_lines(file, kind, source, account), file, account)
    # Windows itself numbers what is in its own files.
    yield from gathered.take(source, lines if kind == "evtx" else told_apart(lines))


def _to_its_end(lines: Iterator[bytes], file: PlainFile, account: Account) -> Iterator[bytes]:
    """The lines up to where the file is broken, which the account then tells."""
    try:
        yield from lines
    except BROKEN as error:
        account.damaged += 1
        account.problem(file.name, f"not read to its end: {reason(error)}")


def _lines(file: PlainFile, kind: str, source: str, account: Account) -> Iterator[bytes]:
    if kind == "evtx" and file.path:
        yield from evtx_file.lines(file.path, file.name, account)
    elif kind == "evtx":
        yield from _streamed_evtx(file.stream, file.name, account)
    elif kind == "json":
        lines = (
            json_lines.lines(file.stream)
            if json_lines.is_lines(file.head)
            else json_lines.objects(file.stream)
        )
        yield from _with_path(lines, file) if source == "zeek" else lines
    else:
        lines = iter(lambda: file.stream.readline(json_lines.LINE_BYTES), b"")
        if kind == "zeek":
            yield from text_logs.zeek(lines)
        elif kind == "auditd":
            yield from text_logs.auditd(lines)
        else:
            yield from text_logs.xml_events(lines)


def _streamed_evtx(stream: IO[bytes], name: str, account: Account) -> Iterator[bytes]:
    """The records of EVTX that is no file of its own: its parser reads files."""
    with tempfile.NamedTemporaryFile(prefix="shieldwall-", suffix=".evtx") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield from evtx_file.lines(Path(copy.name), name, account)


def _with_path(lines: Iterator[bytes], file: PlainFile) -> Iterator[bytes]:
    """Zeek's JSON tells the log in the file's name only, unless it is sent somewhere."""
    first = next(lines, None)
    if first is None:
        return
    both = itertools.chain([first], lines)
    if b'"_path"' in first:
        yield from both
        return
    name = PurePosixPath(file.name).name.split(".")[0]
    before = b'{"_path":"' + "".join(c for c in name if c.isalnum() or c in "_-").encode() + b'",'
    for line in both:
        yield before + line[1:] if line.startswith(b"{") and len(line) > 2 else line


class _Gathered:
    """Lines of each source until they make a block: many small files are one."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lines: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}

    def take(self, source: str, lines: Iterable[bytes]) -> Iterator[Block]:
        """Take a file's lines; each block that they make full."""
        mine = self._lines.setdefault(source, [])
        size = self._sizes.get(source, 0)
        for line in lines:
            mine.append(line)
            size += len(line)
            if size >= BLOCK_BYTES or len(mine) >= BLOCK_LINES:
                yield self._block(source)
                mine, size = self._lines.setdefault(source, []), 0
        self._sizes[source] = size

    def rest(self) -> Iterator[Block]:
        for source in [source for source, lines in self._lines.items() if lines]:
            yield self._block(source)

    def _block(self, source: str) -> Block:
        lines = self._lines.pop(source)
        self._sizes.pop(source, None)
        self._account.records += len(lines)
        return Block(source, b"\n".join(lines), len(lines))
