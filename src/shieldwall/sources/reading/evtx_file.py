"""EVTX files through the evtx package: what can be read of damaged ones, and an account of the rest."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import evtx

from shieldwall.sources.reading.account import Account

MAGIC = b"ElfFile\x00"
DAMAGES_IN_A_ROW = 1000
"""After as many failures with nothing read between them, the rest of a file is given up."""

_HEADER = 4096
_CHUNK = 65536
_CHUNK_MAGIC = b"ElfChnk\x00"
_RECORDS_AT_MOST = _CHUNK // 24
"""A record's frame alone has 24 bytes."""


def lines(path: Path, name: str, account: Account) -> Iterator[bytes]:
    """Each record as a line of JSON; what is missing is put into the account."""
    expected, chunks, told = _announced(path)
    with _whole_chunks(path) as file:
        read = yield from _records(file, name, account)
    if read < expected:
        account.damaged += expected - read
        account.problem(name, f"{expected - read:,} of {expected:,} records that it holds cannot be read")
    if chunks < told:
        account.problem(name, f"{told - chunks} of its {told} chunks are missing")


def _records(path: str, name: str, account: Account) -> Generator[bytes, None, int]:
    read = in_a_row = 0
    why = ""
    try:
        records = iter(evtx.PyEvtxParser(path, number_of_threads=1).records_json())
    except (RuntimeError, OSError, ValueError) as error:
        account.problem(name, f"cannot be opened as EVTX: {_short(error)}")
        return 0
    while in_a_row < DAMAGES_IN_A_ROW:
        try:
            record = next(records, None)
        except (RuntimeError, OSError, ValueError) as error:
            in_a_row, why = in_a_row + 1, why or _short(error)
            continue
        if record is None:
            break
        read, in_a_row = read + 1, 0
        yield record["data"].encode("utf-8", "replace")
    if why:
        account.problem(name, f"damaged: {why}")
    return read


def _announced(path: Path) -> tuple[int, int, int]:
    """How many records its chunks say they hold, how many chunks there are, and how many the header tells."""
    records = chunks = 0
    with path.open("rb") as file:
        header = file.read(48)
        told = struct.unpack_from("<H", header, 42)[0] if len(header) >= 44 else 0
        for start in range(_HEADER, path.stat().st_size, _CHUNK):
            file.seek(start)
            beginning = file.read(24)
            if len(beginning) == 24 and beginning.startswith(_CHUNK_MAGIC):
                first, last = struct.unpack_from("<QQ", beginning, 8)
                chunks += 1
                records += max(0, min(last - first + 1, _RECORDS_AT_MOST)) if last < 1 << 63 else 0
    return records, chunks, told


@contextmanager
def _whole_chunks(path: Path) -> Iterator[str]:
    """The file itself, or a copy of one that is cut off, its last chunk filled up so that it is read."""
    size = path.stat().st_size
    rest = (size - _HEADER) % _CHUNK
    if size < _HEADER or rest == 0:
        yield str(path)
        return
    with tempfile.NamedTemporaryFile(prefix="shieldwall-", suffix=".evtx") as copy:
        with path.open("rb") as file:
            shutil.copyfileobj(file, copy)
        copy.write(bytes(_CHUNK - rest))
        copy.flush()
        yield copy.name


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
