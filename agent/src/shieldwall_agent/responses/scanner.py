"""The scanning process: walks files, hashes them, matches YARA rules, writes what it finds as JSON lines.

A process of its own, with the lowest priority and bounds of memory and time, because it parses whatever lies
on the disk. It reads only; what is done about a finding is the responder's business.

`python -m shieldwall_agent.responses.scanner` reads one JSON object from standard input: `scope` (Quick,
Full), `roots` (folders instead of the usual ones), `folder` (the agent's state folder, for the indicator
list), `rules` (name to YARA source).
"""

import hashlib
import json
import os
import pwd
import resource
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import yara

from shieldwall_agent import ipc
from shieldwall_agent.enforcement.filesystems import MountWatch
from shieldwall_agent.enforcement.gate_server import SOCKET
from shieldwall_agent.enforcement.policy import HASH_LENGTHS, PolicyStore

LARGEST = 256 * 1024 * 1024  # bytes; a larger file is counted as skipped
LARGEST_MATCHED = 64 * 1024 * 1024  # bytes of a file that rules are matched with
MATCH_SECONDS = 10
MOST_FILES = {"Quick": 200_000, "Full": 5_000_000}
SECONDS = {"Quick": 15 * 60.0, "Full": 6 * 3600.0}
MOST_FINDINGS = 1000
MEMORY = 2 << 30
LOAD = 0.5  # of one processor
DEEPEST = 64

# Other users' places are looked into here, not used.
QUICK = ("/tmp", "/var/tmp", "/dev/shm", "/run/user", "/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly",  # noqa: S108
         "/etc/init.d", "/etc/systemd/system", "/etc/profile.d", "/usr/local/bin", "/usr/local/sbin",
         "/var/spool/cron", "/var/www", "/opt")  # fmt: skip
HOMES = ("Downloads", "Desktop", ".config/autostart", ".config/systemd", ".local/bin", "bin", ".ssh")
_UNREAL = ("/proc", "/sys", "/dev", "/run")


def main() -> None:
    order = json.load(sys.stdin)
    _restrain()
    gate = _known_to_the_gate(Path(order["folder"]))
    scan = Scan(order)
    scan.run()
    if gate is not None:
        gate.close()
    _say({"done": scan.counts})


class Scan:
    def __init__(self, order: dict[str, Any]) -> None:
        self._scope = "Full" if order.get("scope") == "Full" else "Quick"
        self._roots = [str(root) for root in order.get("roots") or ()]
        self._folder = Path(order["folder"])
        self._policy = PolicyStore(self._folder, read_only=True)
        self._kinds = [kind for kind in self._policy.file_kinds() if kind in HASH_LENGTHS]
        self._rules = _compile(order.get("rules") or {})
        self._deadline = time.monotonic() + SECONDS[self._scope]
        self._seen: set[tuple[int, int]] = set()
        self.counts = {"scanned": 0, "skipped": 0, "found": 0, "complete": True}

    def run(self) -> None:
        for path in self._paths():
            if self.counts["scanned"] >= MOST_FILES[self._scope] or time.monotonic() > self._deadline:
                self.counts["complete"] = False
                return
            if self.counts["found"] >= MOST_FINDINGS:
                self.counts["complete"] = False
                return
            started = time.process_time()
            self._look(path)
            # Rest as long as was worked, so that no more than LOAD of a processor is taken.
            time.sleep(min(1.0, (time.process_time() - started) * (1 / LOAD - 1)))

    def _paths(self) -> Iterator[str]:
        if self._roots:
            for root in self._roots:
                yield from _walk(root)
            return
        yield from _running()
        if self._scope == "Full":
            for _, mount in MountWatch().mounts():
                yield from _walk(mount, _UNREAL)
            return
        for root in QUICK:
            yield from _walk(root)
        for entry in pwd.getpwall():
            for name in HOMES:
                yield from _walk(os.path.join(entry.pw_dir, name))

    def _look(self, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self.counts["skipped"] += 1
            return
        try:
            status = os.fstat(fd)
            place = (status.st_dev, status.st_ino)
            if not stat.S_ISREG(status.st_mode) or place in self._seen or not status.st_size:
                return
            self._seen.add(place)
            if status.st_size > LARGEST or path.startswith(f"{self._folder}/"):
                self.counts["skipped"] += 1
                return
            self.counts["scanned"] += 1
            self._judge(fd, path, status.st_size)
        except (OSError, MemoryError, yara.Error):
            self.counts["skipped"] += 1
        finally:
            os.close(fd)

    def _judge(self, fd: int, path: str, size: int) -> None:
        hashes = _hashes(fd)
        found: dict[str, Any] = {"path": path, "size": size, "hashes": hashes}
        indicator = self._policy.file_rule({kind: hashes[kind] for kind in self._kinds})
        if indicator is not None:
            if indicator.action != "Allowed":  # an allowed file is allowed whatever the rules say
                self._found({**found, "indicator": indicator.id})
            return
        if self._rules is None or size > LARGEST_MATCHED:
            return
        os.lseek(fd, 0, os.SEEK_SET)
        matches = self._rules.match(filepath=f"/proc/self/fd/{fd}", timeout=MATCH_SECONDS)
        if matches:
            first = matches[0]
            meta = {str(key): str(value)[:200] for key, value in list(first.meta.items())[:20]}
            names = [match.rule for match in matches[:10]]
            self._found({**found, "rule": first.rule, "rules": names, "meta": meta})

    def _found(self, found: dict[str, Any]) -> None:
        self.counts["found"] += 1
        _say({"found": found})


def _compile(sources: dict[str, str]) -> Any:
    """The rules that compile; of each file that does not, its name and why is said."""
    good: dict[str, str] = {}
    for name, source in sources.items():
        try:
            yara.compile(source=source, includes=False)
        except yara.Error as error:
            _say({"rule_error": f"{name}: {error}"[:500]})
            continue
        good[name] = source
    return yara.compile(sources=good, includes=False) if good else None


def _walk(root: str, without: tuple[str, ...] = ()) -> Iterator[str]:
    """Files below a folder on its own filesystem; links are not followed."""
    try:
        device = os.lstat(root).st_dev
    except OSError:
        return
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        yield entry.path
                    elif (
                        depth < DEEPEST
                        and entry.is_dir(follow_symlinks=False)
                        and entry.path not in without
                        and entry.stat(follow_symlinks=False).st_dev == device
                    ):
                        waiting.append((entry.path, depth + 1))
        except OSError:
            continue


def _running() -> Iterator[str]:
    for pid in psutil.pids():
        try:
            path = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if not path.endswith(" (deleted)"):
            yield path


def _hashes(fd: int) -> dict[str, str]:
    digests = {
        "FileSha256": hashlib.sha256(),
        "FileSha1": hashlib.sha1(usedforsecurity=False),
        "FileMd5": hashlib.md5(usedforsecurity=False),
    }
    left = LARGEST
    while left > 0 and (chunk := os.read(fd, 256 * 1024)):
        left -= len(chunk)
        for digest in digests.values():
            digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def _restrain() -> None:
    """The lowest priority, and no more memory than is needed."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _known_to_the_gate(folder: Path) -> socket.socket | None:
    """A connection to the gate, while which it lets us read what it refuses to all others."""
    try:
        connection = ipc.connect(folder, SOCKET)
        connection.settimeout(2)
        connection.recv(ipc.LARGEST_MESSAGE)  # its greeting: from now on it knows us
    except OSError:
        return None
    return connection


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
