"""The kernel's own refusal by hash, where it is; and that the gate takes fanotify where it is not.

What is refused holds for both, so these tests pass on any kernel: the mechanism alone differs."""

import ctypes
import hashlib
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import RunningGate, indicator, program, runs, wait_for

from shieldwall_agent.bpf.loader import BpfError
from shieldwall_agent.enforcement.gate_lsm import LsmGate

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
Start = Callable[..., RunningGate]

LOADER = next((str(p) for p in Path("/lib64").glob("ld-linux-*.so.*")), None) or "/lib/ld-linux-aarch64.so.1"


def sha256(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def why_not(tmp_path: Path) -> str:
    """Why the kernel cannot refuse by itself; empty if it can."""
    try:
        LsmGate(tmp_path, lambda _: None).close()
    except BpfError as error:
        return str(error)
    return ""


def test_without_ima_the_kernel_proves_nothing(tmp_path: Path, why_not: str) -> None:
    has_ima = " ima_file_hash\n" in Path("/proc/kallsyms").read_text()
    assert has_ima or why_not
    assert not list(tmp_path.glob("lsm-canary*"))


def test_the_gate_takes_what_proves_to_work_and_tells_it(
    start_gate: Start, mount: Path, why_not: str
) -> None:
    gate = start_gate(kind="all")
    bad, good = program(mount, "bad"), program(mount, "good", b"other")
    assert runs(bad)
    gate.apply(indicator(sha256(bad)))
    health = gate.health()
    assert health["mechanism"] == ("fanotify" if why_not else "BPF LSM")
    assert health["filesystems"] == (1 if why_not else 0)
    assert (health["canary"] == "refused") == (not why_not)
    assert health["lsm"] == why_not
    assert not runs(bad)
    assert not runs(LOADER, bad)
    assert runs(good)
    assert gate.health()["denied"]
    event = wait_for(lambda: gate.sink.events)[0]
    assert event["ActionType"] == "AntivirusDetection"
    assert event["FolderPath"] == str(bad)
    assert event["SHA256"] == sha256(bad)
    assert event["InitiatingProcessId"]
    gate.kill()
    assert runs(bad)
    gate.start()
    assert gate.client.wait_connected(20)
    wait_for(lambda: not runs(bad))


def test_a_cleared_file_is_hashed_again_after_any_change(start_gate: Start, mount: Path) -> None:
    gate = start_gate(kind="all")
    bad, written, mapped = (
        program(mount, "bad"),
        program(mount, "a", b"FINE__"),
        program(mount, "b", b"FINE__"),
    )
    gate.apply(indicator(sha256(bad)))
    for _ in range(4):
        time.sleep(0.06)
        assert runs(written)
        assert runs(mapped)
    with written.open("r+b") as file:
        file.seek(-6, os.SEEK_END)
        file.write(b"marker")
    assert not runs(written)
    with mapped.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        assert view[-1]
        view[-6:] = b"marker"
    wait_for(lambda: not runs(mapped))


def test_listed_libraries_are_not_loaded_but_the_agents_own_are(start_gate: Start, mount: Path) -> None:
    gate = start_gate(kind="all")
    library = mount / "library.so"
    shutil.copy(_libc(), library)
    with library.open("ab") as file:
        file.write(b"marker")
    load = f"import ctypes; ctypes.CDLL({str(library)!r})"
    assert runs(sys.executable, "-c", load)
    gate.apply(
        indicator(sha256(library), identity="library"),
        indicator(sha256(_libc()), identity="libc"),
        indicator(sha256(os.path.realpath(sys.executable)), identity="python"),
    )
    gate.client.inspect(str(library))
    wait_for(lambda: not runs(sys.executable, "-c", load))
    assert runs(sys.executable, "-c", "pass")


def test_remediation_is_asked_for_at_a_refusal(start_gate: Start, mount: Path) -> None:
    gate = start_gate(kind="all")
    bad = program(mount)
    gate.apply(indicator(sha256(bad), action="BlockAndRemediate"))
    assert not runs(bad)
    found = wait_for(lambda: gate.finds)[0]
    status = bad.stat()
    assert (found["device"], found["inode"], found["path"]) == (status.st_dev, status.st_ino, str(bad))


def test_a_stopped_gate_keeps_nobody_waiting_if_the_kernel_refuses(
    start_gate: Start, mount: Path, why_not: str
) -> None:
    gate = start_gate(kind="all")
    bad, good = program(mount, "bad"), program(mount, "good", b"other")
    gate.apply(indicator(sha256(bad)))
    os.kill(gate.pid, signal.SIGSTOP)
    with subprocess.Popen(["/bin/sh", "-c", f"exec {good}"]) as child:
        if why_not:
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.5)
            os.kill(gate.pid, signal.SIGCONT)
        assert child.wait(10) == 0
    assert not runs(bad)


def test_hashes_that_the_kernel_does_not_make_are_left_to_fanotify(start_gate: Start, mount: Path) -> None:
    gate = start_gate(kind="fake")
    bad, other = program(mount, "bad"), program(mount, "other", b"other")

    def state() -> tuple[str, int, list[str]]:
        health = gate.health()
        given = json.loads((gate.folder / "lsm.json").read_text())
        return health["mechanism"], health["filesystems"], given

    gate.apply(indicator(sha256(bad)), indicator("1" * 64, action="Allowed", identity="2"))
    assert state() == ("BPF LSM", 0, sorted([sha256(bad), "1" * 64]))
    assert runs(bad)  # the fake refuses nothing
    md5 = hashlib.md5(other.read_bytes(), usedforsecurity=False).hexdigest()
    gate.apply(indicator(md5, "FileMd5", identity="md5"))
    assert state() == ("fanotify", 1, [])
    assert not runs(other)
    assert not runs(bad)
    gate.apply(delete=("md5",))
    assert state() == ("BPF LSM", 0, sorted([sha256(bad), "1" * 64]))
    assert runs(other)


def _libc() -> str:
    ctypes.CDLL(None)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[5] for line in lines if "/libc.so" in line or "/libc-" in line)
