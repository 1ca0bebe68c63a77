"""Restricted execution: only what belongs to the system may be executed; the gate asks `allows` of each file.

May run: files in the system's own folders that belong to root, that nobody else can write, and that were
there before the restriction began, or that the package database lists (so that updates do not lock the
machine up). So may the agent's and init's own files, and the agent's scripts in its private folder.
Everything else is refused by fanotify: what was downloaded, dropped or built, wherever it lies.

Safe: an order that would refuse a shell, init, the loader or the agent itself is not carried out. Bounded: it
ends with the gate, which fails open, and it looks at executions only, so data and running programs are left
alone. Reversible: by the server, or here by `shieldwall-agent unrestrict --local`.

Known limits: interpreters are programs of the system, so `sh FILE` runs on; so is the loader (`ld.so FILE`).
Root can change what this trusts. Network and FUSE filesystems are not asked about.
"""

import json
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement.file_identity import protected_files
from shieldwall_agent.spool_format import sync_folder, write_atomically

FILE_NAME = "restriction.json"
SYSTEM_FOLDERS = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/snap",
    "/nix/store",
    "/gnu/store",
)
ESSENTIAL = (
    "/bin/sh",
    "/proc/1/exe",
    "/proc/self/exe",
    "/sbin/agetty",
    "/usr/sbin/sshd",
    "/bin/login",
    "/usr/bin/sudo",
)
MOST_KNOWN = 10_000
_DPKG = Path("/var/lib/dpkg/info")
_FOREIGN_WRITERS = stat.S_IWGRP | stat.S_IWOTH


class RestrictionError(RuntimeError):
    """The order was not carried out; everything may run as before."""


@dataclass
class Restriction:
    """What an order says. `since`: unix nanoseconds."""

    since: int
    folders: tuple[str, ...]
    own: tuple[str, ...]
    protected: Collection[tuple[int, int]] = field(default_factory=frozenset)
    packaged: Callable[[str], bool] = lambda _: False
    within: str = ""
    """Only files below this folder are restricted at all; for trials."""

    def allows(self, path: str, status: os.stat_result) -> bool:
        """Whether a file may be executed. `path` is as the kernel tells it; it is not looked up."""
        if self.within and not _under(path, (self.within,)):
            return True
        if (status.st_dev, status.st_ino) in self.protected or _under(path, self.own):
            return True
        if status.st_uid != 0 or status.st_mode & _FOREIGN_WRITERS or not _under(path, self.folders):
            return False
        return max(status.st_ctime_ns, status.st_mtime_ns) <= self.since or self.packaged(path)


class PackageDatabase:
    """Which files belong to a package of dpkg. Where there is no dpkg, every file counts as belonging."""

    def __init__(self, folder: Path = _DPKG) -> None:
        self._folder = folder
        self._changed = -1
        self._known: dict[str, bool] = {}

    def has(self, path: str) -> bool:
        """Asked of few files only, so each is looked up; again when packages were installed or removed."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            return True
        if changed != self._changed or len(self._known) >= MOST_KNOWN:
            self._known.clear()
            self._changed = changed
        if path not in self._known:
            # Where /bin is a link to /usr/bin, packages may still say /bin.
            names = {path, path.removeprefix("/usr")}
            self._known[path] = self._listed({b"\n" + os.fsencode(name) + b"\n" for name in names})
        return self._known[path]

    def _listed(self, lines: Iterable[bytes]) -> bool:
        for listing in self._folder.glob("*.list"):
            try:
                content = b"\n" + listing.read_bytes()
            except OSError:
                continue
            if any(line in content for line in lines):
                return True
        return False


def order(
    folder: Path, now_ns: int, folders: Sequence[str] = SYSTEM_FOLDERS, within: Path | None = None
) -> None:
    """Keep the order to restrict; the gate carries it out. Raises RestrictionError, with nothing changed."""
    kept = {"since": now_ns, "folders": list(folders), "within": str(within or "")}
    _check_essential(_restriction(folder, kept))
    write_atomically(folder / FILE_NAME, json.dumps(kept).encode())


def lift(folder: Path) -> bool:
    """Delete the order; whether there was one."""
    path = folder / FILE_NAME
    was = path.exists()
    path.unlink(missing_ok=True)
    sync_folder(folder)
    return was


def ordered(folder: Path) -> bool:
    return (folder / FILE_NAME).exists()


def mark(folder: Path) -> int:
    """Differs whenever the order has changed; 0 without one."""
    try:
        return (folder / FILE_NAME).stat().st_mtime_ns
    except OSError:
        return 0


def load(folder: Path) -> Restriction | None:
    """The order as it stands. One that cannot be read restricts nothing: a machine must not lock up."""
    try:
        kept = json.loads((folder / FILE_NAME).read_bytes())
        return _restriction(folder, kept)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _restriction(folder: Path, kept: Mapping[str, Any]) -> Restriction:
    return Restriction(
        since=int(kept["since"]),
        folders=tuple(str(name) for name in kept["folders"]),
        own=(str(folder.resolve() / "live_response"),),
        protected=protected_files(),
        packaged=PackageDatabase().has,
        within=str(kept["within"]),
    )


def _check_essential(made: Restriction) -> None:
    for name in ESSENTIAL:
        try:
            path = os.path.realpath(name)
            status = os.stat(path)
        except OSError:
            continue
        if not made.allows(path, status):
            raise RestrictionError(f"{path} would be refused, and the machine would lock up")


def _under(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)
