"""Installed packages, as dpkg and rpm know them."""

import logging
import shutil
import subprocess
from pathlib import Path

MOST_PACKAGES = 5000
LONGEST = 200  # characters of a name or version
QUERY_SECONDS = 60.0

DPKG = Path("/var/lib/dpkg/status")
RPM = (Path("/var/lib/rpm"), Path("/usr/lib/sysimage/rpm"))

Package = tuple[str, str, str]  # name, version, architecture

log = logging.getLogger(__name__)


class Packages:
    """Reads the lists of packages anew only when they have changed."""

    def __init__(self, dpkg: Path = DPKG, rpm: tuple[Path, ...] = RPM) -> None:
        self._dpkg = dpkg
        self._rpm = rpm
        self._seen: tuple[object, ...] | None = None
        self._found: list[Package] = []

    def installed(self) -> list[Package]:
        """Sorted, each once; at most `MOST_PACKAGES`."""
        seen = tuple(_mark(path) for path in (self._dpkg, *_databases(self._rpm)))
        if seen != self._seen:
            found = {*_of_dpkg(self._dpkg), *_of_rpm(self._rpm)}
            if len(found) > MOST_PACKAGES:
                log.warning("%d packages are installed; %d are reported", len(found), MOST_PACKAGES)
            self._found = sorted(found)[:MOST_PACKAGES]
            self._seen = seen
        return self._found


def _of_dpkg(status: Path) -> list[Package]:
    try:
        text = status.read_text(errors="replace")
    except OSError:
        return []
    found = []
    for block in text.split("\n\n"):
        pairs = (line.split(": ", 1) for line in block.splitlines() if ": " in line[:40])
        fields = {name: value for name, value in pairs if not name.startswith(" ")}
        if fields.get("Status", "").endswith(" installed"):
            found.append(_package(fields.get("Package"), fields.get("Version"), fields.get("Architecture")))
    return [package for package in found if package[0]]


def _of_rpm(folders: tuple[Path, ...]) -> list[Package]:
    program = shutil.which("rpm")
    if program is None or not _databases(folders):
        return []
    query = [program, "-qa", "--queryformat", "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{ARCH}\\n"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, errors="replace", timeout=QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("rpm does not answer: %s", error)
        return []
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return [_package(*parts) for parts in lines if len(parts) == 3 and parts[0]]


def _package(name: str | None, version: str | None, architecture: str | None) -> Package:
    return (name or "")[:LONGEST], (version or "")[:LONGEST], (architecture or "")[:LONGEST]


def _databases(folders: tuple[Path, ...]) -> list[Path]:
    names = ("rpmdb.sqlite", "Packages", "Packages.db")
    return [path for folder in folders for name in names if (path := folder / name).exists()]


def _mark(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
