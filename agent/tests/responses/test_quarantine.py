"""Killing real process trees and quarantining the files they run."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scratch import MemorySink, wait_for

from shieldwall_agent.responses.processes import Process, all_processes, kill_trees, process, protected, trees
from shieldwall_agent.responses.quarantine import Quarantine, RunningImages
from shieldwall_agent.responses.vault import Vault

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
depth = int(sys.argv[1])
if depth and os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], str(depth - 1), sys.argv[2]])
print("up", flush=True)
time.sleep(60)
"""


def started(*command: str) -> tuple[subprocess.Popen[bytes], Process]:
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    return child, wait_for(lambda: process(child.pid))


def test_a_whole_tree_goes_even_if_it_ignores_sigterm() -> None:
    child, root = started(sys.executable, "-c", STUBBORN, "3", STUBBORN)
    assert child.stdout
    for _ in range(4):
        child.stdout.readline()
    before = {
        p.pid for p in all_processes() if os.path.exists(f"/proc/{p.pid}") and _session(p.pid) == child.pid
    }
    assert len(before) == 4
    assert kill_trees([root]) == 4
    assert child.wait(5) == -signal.SIGKILL
    wait_for(lambda: not any(_alive(pid) for pid in before))


def test_a_fork_storm_does_not_outrun_it() -> None:
    child, root = started("/bin/sh", "-c", "while :; do sleep 30 & done")
    time.sleep(0.2)
    assert kill_trees([root]) > 10
    child.wait(5)
    wait_for(lambda: not [p for p in all_processes() if _session(p.pid) == child.pid and _alive(p.pid)])


def test_a_reused_pid_is_spared() -> None:
    child, root = started("/bin/sleep", "30")
    try:
        assert kill_trees([Process(root.pid, root.started + 1, root.parent, False)]) == 0
        assert _alive(child.pid)
    finally:
        child.kill()
        child.wait()


def test_init_and_the_agent_stay_with_all_below_them() -> None:
    """Decided on a made-up table, as nothing here may ever be sent to the real ones."""
    init, agent, shell, bad, worse = (
        Process(pid, 1, parent, False) for pid, parent in ((1, 0), (10, 1), (11, 10), (20, 1), (21, 20))
    )
    table = [init, agent, shell, bad, worse]
    assert trees([init], table, {0, 1, 10}) == []
    assert trees([agent], table, {0, 1, 10}) == []
    assert trees([bad], table, {0, 1, 10}) == [bad, worse]
    assert trees([bad], table, {0, 1, 10, 21}) == [bad]
    assert trees([Process(20, 2, 1, False)], table, {0, 1}) == []


def test_who_is_protected() -> None:
    own = protected(all_processes())
    assert {0, 1, os.getpid(), os.getppid()} <= own
    assert all(p.pid in own for p in all_processes() if p.kernel)


def test_stop_and_quarantine_by_hash(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copy("/bin/sleep", bad)
    with bad.open("ab") as file:
        file.write(b"unique")
    copy = tmp_path / "copy"
    shutil.copy(bad, copy)
    other = tmp_path / "other"
    shutil.copy("/bin/sleep", other)
    children = [subprocess.Popen([bad, "60"]), subprocess.Popen([bad, "60"])]
    innocent = subprocess.Popen([other, "60"])
    sink = MemorySink()
    vault = Vault(tmp_path / "vault")
    try:
        digest = hashlib.sha1(bad.read_bytes()).hexdigest()
        quarantine = Quarantine(vault, RunningImages(), sink)
        result = quarantine.stop_and_quarantine(
            digest, [str(copy), str(other), str(tmp_path / "gone")], "action 1"
        )
        assert result.processes_stopped == 2
        assert {entry["path"] for entry in result.quarantined} == {str(bad), str(copy)}
        assert [entry["path"] for entry in result.failed] == [str(other)]
        assert [child.wait(5) for child in children] == [-signal.SIGKILL] * 2
        assert innocent.poll() is None
        assert not bad.exists()
        assert not copy.exists()
        assert {e["SHA1"] for e in sink.events} == {digest}
        assert quarantine.restore(result.quarantined[0]["vault_id"]) == str(bad)
        assert bad.stat().st_mode & 0o111
    finally:
        for child in [*children, innocent]:
            child.kill()
            child.wait()


def test_a_deleted_image_still_stops(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copy("/bin/sleep", bad)
    with bad.open("ab") as file:
        file.write(b"deleted")
    digest = hashlib.sha256(bad.read_bytes()).hexdigest()
    child = subprocess.Popen([bad, "60"])
    wait_for(lambda: os.readlink(f"/proc/{child.pid}/exe") == str(bad))
    bad.unlink()
    result = Quarantine(Vault(tmp_path / "vault"), RunningImages(), MemorySink()).stop_and_quarantine(digest)
    assert result.processes_stopped == 1
    assert child.wait(5) == -signal.SIGKILL


def test_what_the_agent_runs_on_is_never_taken(tmp_path: Path) -> None:
    """Asked for with a module of ours, as a mistake here must not cost the machine its Python."""
    module = tmp_path / "needed_by_the_agent.py"
    module.write_text("# unique to this test\n")
    sys.path.insert(0, str(tmp_path))
    try:
        __import__("needed_by_the_agent")
        digest = hashlib.sha1(module.read_bytes()).hexdigest()
        quarantine = Quarantine(Vault(tmp_path / "vault"), RunningImages(), MemorySink())
        result = quarantine.stop_and_quarantine(digest, [str(module)])
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("needed_by_the_agent", None)
    assert [entry["path"] for entry in result.failed] == [str(module)]
    assert module.exists()


def test_other_processes_of_the_agents_own_interpreter_live_on(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    child = subprocess.Popen([python, "-c", "import time; time.sleep(60)"])
    try:
        status = python.stat()
        found = {"device": status.st_dev, "inode": status.st_ino, "hashes": {}, "path": str(python)}
        assert Quarantine(Vault(tmp_path), RunningImages(), MemorySink()).stop_running(found) == 0
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("digest", ["", "x" * 40, "../etc", "a" * 39])
def test_what_is_no_hash_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="hash"):
        Quarantine(Vault(tmp_path), RunningImages(), MemorySink()).stop_and_quarantine(digest)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
