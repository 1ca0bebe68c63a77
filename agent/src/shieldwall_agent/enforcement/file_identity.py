"""Which file it is, and in which state: what a hash may be kept for."""

import os
import time
from dataclasses import dataclass

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
