"""Which file it is, and in which state: what a hash may be kept for."""

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SETTLED_NS = (
    50_000_000  # timestamps tick in milliseconds: a file changed this lately may change again unseen
)


@dataclass(frozen=True, slots=True)
class FileKey:
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileKey":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def place(self) -> tuple[int, int]:
        return (self.device, self.inode)

    @property
    def settled(self) -> bool:
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > _SETTLED_NS


def protected_files() -> set[tuple[int, int]]:
    """(device, inode) of the programs, libraries and modules of the agent and of init.

    Refusing or removing those would stop the agent or the whole machine, whatever an indicator says."""
    paths = {path for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))}
    return _places(paths | _mapped("self") | _mapped("1"))


def _mapped(process: str) -> set[str]:
    try:
        lines = os.fsdecode(Path(f"/proc/{process}/maps").read_bytes()).splitlines()
    except OSError:
        return set()
    return {line.split(None, 5)[5] for line in lines if " /" in line}


def _places(paths: Iterable[str]) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return found
