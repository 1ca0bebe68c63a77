"""The rule files of a path: a file, a folder, a zip or a tar archive; bounded, in the order of names."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from shieldwall.detection.sigma.documents import MOST_BYTES
from shieldwall.detection.sigma.parsing import File
from shieldwall.detection.sigma.refusals import Refused

SUFFIXES = (".yml", ".yaml")
MOST_FILES = 50_000
MOST_TOTAL = 512 << 20
"""Bytes of all files together."""
MOST_ENTRIES = 500_000
"""Entries of an archive, or files of a folder, that are looked at."""


class UnreadablePathError(ValueError):
    """A path that is no file, folder or archive of rules, or too much."""


def read(path: Path) -> tuple[list[File], list[Refused]]:
    """The rule files under a path, and those that cannot be taken. UnreadablePathError names what is wrong.

    Links are not followed, and nothing is written. Files of a folder are named by their place in it.
    """
    try:
        if path.is_dir():
            found = _folder(path)
        elif zipfile.is_zipfile(path):
            found = _zip(path)
        elif path.suffix.lower() in SUFFIXES:
            found = iter([(path.name, _content(path))])
        elif tarfile.is_tarfile(path):
            found = _tar(path)
        else:
            raise UnreadablePathError(f"{path} is no rule file, folder, zip or tar archive")
        return _bounded(path, found)
    except (
        OSError,
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        RuntimeError,
    ) as error:
        # RuntimeError: a method of compression or encryption that is not known.
        raise UnreadablePathError(f"{path} cannot be read: {error}") from None


def _bounded(path: Path, found: Iterator[tuple[str, bytes]]) -> tuple[list[File], list[Refused]]:
    files: list[File] = []
    refused: list[Refused] = []
    total = 0
    for name, content in found:
        total += len(content)
        if len(files) + len(refused) >= MOST_FILES or total > MOST_TOTAL:
            raise UnreadablePathError(
                f"{path} has more than {MOST_FILES} rule files, or {MOST_TOTAL >> 20} MiB of them"
            )
        name = "".join(char if char.isprintable() else "?" for char in name)[:500]
        if len(content) > MOST_BYTES:
            reason = f"the file is larger than {MOST_BYTES >> 20} MiB"
            refused.append(Refused(name, "", reason, "", 0, "unreadable"))
        else:
            files.append(File(name, content))
    return sorted(files, key=lambda file: file.path), refused


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    count = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MOST_ENTRIES:
                raise UnreadablePathError(f"{path} has more than {MOST_ENTRIES} files")
            file = Path(folder, name)
            if file.suffix.lower() in SUFFIXES and stat.S_ISREG(file.lstat().st_mode):
                yield str(file.relative_to(path)), _content(file)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise UnreadablePathError(f"{path} has more than {MOST_ENTRIES} entries")
        for entry in entries:
            if not entry.is_dir() and entry.filename.lower().endswith(SUFFIXES):
                with archive.open(entry) as file:
                    yield entry.filename, file.read(MOST_BYTES + 1)


def _tar(path: Path) -> Iterator[tuple[str, bytes]]:
    read = 0
    with tarfile.open(path) as archive:
        for count, entry in enumerate(archive):
            read += entry.size
            # What is skipped is unpacked all the same.
            if count >= MOST_ENTRIES or read > 4 * MOST_TOTAL:
                raise UnreadablePathError(f"{path} unpacks to too much")
            file = archive.extractfile(entry) if entry.isreg() else None
            if file is not None and entry.name.lower().endswith(SUFFIXES):
                yield entry.name, file.read(MOST_BYTES + 1)
