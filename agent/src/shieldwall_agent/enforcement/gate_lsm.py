"""Refusal by hash within the kernel: BPF programs on LSM hooks that ask IMA for each file's hash.

Nobody waits for this process, and nothing is refused any more when it ends. IMA hashes with one algorithm,
which the canary tells; only hashes of that kind can be refused. Needs a kernel with IMA, and `bpf` among its
security modules: without, the canary is not refused and the constructor raises.

Known limits: what is mapped first and made executable by mprotect is not asked about, nor is what is larger
than 1 GB; a program that started before it was listed runs on, whatever the action; events carry the one hash
only.
"""

import errno
import hashlib
import mmap
import os
import secrets
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shieldwall_agent.bpf.loader import BpfError, BpfObject
from shieldwall_agent.clock import started, ticks_of
from shieldwall_agent.enforcement.gate_reports import ListedFile
from shieldwall_agent.enforcement.kernel_rules import DENY, MOST_RULES, RULE, packed
from shieldwall_agent.events import Event

CANARY_SECONDS = 1.0

_PROGRAMS = ("on_exec", "on_map", "on_open")
_FILE = struct.Struct("=QQIIII32s")  # inode, size, device, pid, action, algorithm, digest
_PROCESS = struct.Struct("=QIII4x16s1024s")  # start, parent, uid, length of the command, name, command
_PATH_OFFSET = _FILE.size + _PROCESS.size
_NUMBER = struct.Struct("=Q")
_FIRST = struct.pack("=I", 0)
_KEY_SIZE = 32
_ALGORITHMS = {2: ("FileSha1", 20), 4: ("FileSha256", 32)}  # of the kernel's enum hash_algo: kind, size

Rule = tuple[str, float | None]  # an indicator's action and expiry


@dataclass(frozen=True, slots=True)
class Refusal:
    """A listed file that was about to run; `denied` or only audited."""

    file: ListedFile  # its path is empty when the kernel could not tell
    pid: int
    denied: bool
    process: Event  # InitiatingProcess columns


class LsmGate:
    """`refused` is called from `read`. `folder`: where the canary is executed.

    Raises BpfError when the kernel does not take the programs or they do not prove to work."""

    def __init__(self, folder: Path, refused: Callable[[Refusal], None]) -> None:
        self._refused = refused
        self._installed: dict[bytes, Rule] = {}
        self._proofs: list[Refusal] = []
        self._proving = True
        self._object = BpfObject("lsm")
        try:
            self._ring = self._object.ring("events", self._event)
            for program in _PROGRAMS:
                self._object.attach(program)
            self.kind = self._prove(folder)
            self._proving = False
            self._spared = _digests_of_own_files(self.kind)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let everything pass again."""
        self._object.close()

    def fileno(self) -> int:
        """Readable while refusals wait."""
        return self._ring.fileno()

    def read(self) -> None:
        self._ring.poll(0)

    def lost(self) -> int:
        """Refusals for which the ring had no room, and files that could not be hashed."""
        return self._object.number("lost") + self._object.number("unhashed")

    def apply(self, rules: Mapping[str, Rule]) -> None:
        """Refuse exactly the files with these hashes, of `kind`, from now on. Raises BpfError."""
        wanted = {
            key: rule
            for value, rule in rules.items()
            if rule[0] != "Allowed" and (key := _key(value)) not in self._spared
        }
        if len(wanted) > MOST_RULES:
            raise BpfError(f"more than {MOST_RULES} hashes")
        for key, rule in wanted.items():
            if self._installed.get(key) != rule:
                self._object.put("hashes", key, packed(*rule))
                self._installed[key] = rule
        for key in self._installed.keys() - wanted.keys():
            self._object.remove("hashes", key)
            del self._installed[key]
        self._activate(bool(wanted))

    def _activate(self, active: bool) -> None:
        self._object.put("active", _FIRST, _NUMBER.pack(active))

    def _prove(self, folder: Path) -> str:
        """Execute and map a file before and after it is listed; the kind of hash by which it was refused.

        The programs may load and do nothing: IMA may be missing, or not started."""
        content = b"#!/bin/true\n# " + secrets.token_hex(16).encode()
        keys = [_key(hashlib.new(name, content).hexdigest()) for name in ("sha1", "sha256")]
        path = folder / f"lsm-canary-{os.getpid()}"
        try:
            path.write_bytes(content)
            path.chmod(0o700)
            if _refusals(path):
                raise BpfError(f"nothing can be executed in {folder}")
            for key in keys:
                self._object.put("hashes", key, RULE.pack(0, 0, DENY))
            self._activate(True)
            refusals = _refusals(path)
        finally:
            self._activate(False)
            for key in keys:
                self._object.remove("hashes", key)
            path.unlink(missing_ok=True)
        self.read()
        if len(refusals) != 2 or not self._proofs:
            passed = {"executed", "mapped"} - set(refusals)
            raise BpfError(f"the canary was {' and '.join(sorted(passed)) or 'refused in silence'}")
        return next(iter(self._proofs[0].file.hashes))

    def _event(self, data: bytes) -> None:
        inode, size, device, pid, action, algorithm, digest = _FILE.unpack_from(data)
        kind, length = _ALGORITHMS[algorithm]
        name = os.fsdecode(data[_PATH_OFFSET:].partition(b"\0")[0]).removesuffix(" (deleted)")
        file = ListedFile(name, _device(name, device, inode), inode, size, {kind: digest[:length].hex()})
        refusal = Refusal(file, pid, action == DENY, _process(pid, data))
        if self._proving:
            self._proofs.append(refusal)
        else:
            self._refused(refusal)


def _process(pid: int, data: bytes) -> Event:
    start, parent, uid, length, name, command = _PROCESS.unpack_from(data, _FILE.size)
    return {
        "InitiatingProcessId": pid,
        "InitiatingProcessCreationTime": started(ticks_of(start)),
        "InitiatingProcessAccountName": uid,
        "InitiatingProcessParentId": parent,
        "InitiatingProcessFileName": os.fsdecode(name.partition(b"\0")[0]),
        "InitiatingProcessCommandLine": os.fsdecode(command[:length].rstrip(b"\0").replace(b"\0", b" ")),
    }


def _device(path: str, device: int, inode: int) -> int:
    """As stat tells it: some filesystems show another one there than the kernel's own."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        status = None
    if status is not None and status.st_ino == inode:
        return status.st_dev
    return os.makedev(device >> 20, device & 0xFFFFF)


def _key(value: str) -> bytes:
    return bytes.fromhex(value).ljust(_KEY_SIZE, b"\0")


def _refusals(path: Path) -> list[str]:
    """What is refused of: executing a file, mapping it as code."""
    refused = []
    try:
        subprocess.run([path], stdin=subprocess.DEVNULL, timeout=CANARY_SECONDS, check=False)
    except PermissionError as error:
        if error.errno == errno.EPERM:
            refused.append("executed")
    except subprocess.TimeoutExpired as error:
        raise BpfError("the canary did not end") from error
    with path.open("rb") as file:
        try:
            mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
        except PermissionError:
            refused.append("mapped")
    return refused


def _digests_of_own_files(kind: str) -> set[bytes]:
    """Of the programs and libraries of the agent and of init: refusing those would stop the machine.

    By hash and not by inode, as some filesystems show other device numbers than the kernel's own."""
    paths: set[str] = set()
    for process in ("self", str(os.getppid()), "1"):
        try:
            lines = os.fsdecode(Path(f"/proc/{process}/maps").read_bytes()).splitlines()
        except OSError:
            continue
        paths |= {
            line.split(None, 5)[5] for line in lines if " /" in line and line.split(None, 2)[1][2] == "x"
        }
    found = set()
    for path in paths:
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, {"FileSha1": "sha1", "FileSha256": "sha256"}[kind])
        except OSError:
            continue
        found.add(_key(digest.hexdigest()))
    return found
