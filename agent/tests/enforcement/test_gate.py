"""The gate with the real kernel: what is refused, what runs on, and that nobody hangs."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import RunningGate, indicator, program, runs, wait_for

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
Start = Callable[..., RunningGate]

LOADER = next((str(p) for p in Path("/lib64").glob("ld-linux-*.so.*")), None) or "/lib/ld-linux-aarch64.so.1"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_the_listed_file_is_refused_under_any_name_until_it_is_unlisted(
    start_gate: Start, mount: Path
) -> None:
    gate = start_gate()
    bad, good = program(mount, "bad"), program(mount, "good", b"other")
    assert runs(bad)
    digest = sha256(bad)
    gate.apply(indicator(digest))
    assert not runs(bad)
    assert runs(good)
    copy = mount / "copy"
    shutil.copy("/bin/true", copy)
    copy.write_bytes(copy.read_bytes() + b"marker")
    assert not runs(copy)
    renamed = bad.rename(mount / "renamed")
    assert not runs(renamed)
    appended = program(mount, "appended", b"marker+")
    assert runs(appended)
    gate.apply(delete=("1",))
    assert runs(renamed)
    assert runs(copy)


def test_a_cleared_file_that_is_overwritten_is_asked_about_again(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    victim, bad = program(mount, "victim", b"fine"), program(mount, "bad")
    gate.apply(indicator(sha256(bad)))
    time.sleep(0.1)  # settled, so that it is cleared
    assert runs(victim)
    assert runs(victim)
    with victim.open("r+b") as file:
        file.write(Path("/bin/true").read_bytes() + b"marker")
        file.truncate()
    assert not runs(victim)


@pytest.mark.parametrize(("kind", "name"), [("FileSha1", "sha1"), ("FileMd5", "md5")])
def test_the_other_hashes_count_too(start_gate: Start, mount: Path, kind: str, name: str) -> None:
    gate = start_gate()
    bad = program(mount)
    assert runs(bad)
    gate.apply(indicator(hashlib.new(name, bad.read_bytes()).hexdigest(), kind))
    assert not runs(bad)


def test_a_known_bad_file_cannot_be_loaded_or_read_around_the_gate(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    bad = program(mount)
    digest = sha256(bad)
    assert runs(LOADER, bad)
    gate.apply(indicator(digest))
    gate.client.inspect(str(bad))  # as the file sensor does for what it sees written
    wait_for(lambda: not runs(LOADER, bad))
    assert not runs("/usr/bin/head", "-c1", bad)
    assert not runs(bad)
    assert bad.read_bytes()  # the connected agent may: it quarantines
    gate.apply(delete=("1",))
    assert runs(LOADER, bad)


def test_sha256_outranks_sha1_and_audit_lets_run(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    bad = program(mount)
    content = bad.read_bytes()
    gate.apply(indicator(hashlib.sha1(content).hexdigest(), "FileSha1", identity="a"))
    assert not runs(bad)
    gate.apply(indicator(sha256(bad), action="Audit", identity="b"))
    before = len(gate.sink.events)
    assert runs(bad)
    event = wait_for(lambda: gate.sink.events[before:])[-1]
    assert event["ActionType"] == "AppControlExecutableAudited"
    assert event["AdditionalFields"]["IndicatorId"] == "b"


def test_a_refusal_tells_what_and_who(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    bad = program(mount)
    gate.apply(indicator(sha256(bad), action="Warn"))
    shell = subprocess.run(["/bin/sh", "-c", f"{bad}; true"], capture_output=True, text=True, check=False)
    assert "not permitted" in shell.stderr.lower()
    event = wait_for(lambda: gate.sink.events)[0]
    assert event["Table"] == "DeviceEvents"
    assert event["ActionType"] == "AntivirusDetection"
    assert event["FolderPath"] == str(bad)
    assert event["FileName"] == "tool"
    assert event["SHA256"] == hashlib.sha256(Path("/bin/true").read_bytes() + b"marker").hexdigest()
    assert event["SHA1"]
    assert event["InitiatingProcessCommandLine"] == f"/bin/sh -c {bad}; true"
    assert event["InitiatingProcessAccountName"] == "root"
    assert event["AdditionalFields"]["Action"] == "Warn"


def test_remediation_is_asked_for_when_a_known_file_is_listed(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    gate.apply(indicator("0" * 64, identity="other"))
    bad = program(mount)
    assert runs(bad)
    gate.apply(indicator(sha256(bad), action="BlockAndRemediate"))
    found = wait_for(lambda: gate.finds)[0]
    assert found["path"] == str(bad)
    assert found["inode"] == bad.stat().st_ino


def test_an_expired_indicator_refuses_nothing_even_when_nobody_deletes_it(
    start_gate: Start, mount: Path
) -> None:
    gate = start_gate()
    bad = program(mount)
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    gate.apply(indicator(sha256(bad), expires=expires))
    assert not runs(bad)
    time.sleep(2.1)
    assert runs(bad)


def test_a_file_that_hashes_too_long_runs_this_once_and_is_told_of(start_gate: Start, mount: Path) -> None:
    gate = start_gate(deadline=0.02)
    bad = program(mount, marker=b"\0" * 100_000_000)
    gate.apply(indicator(sha256(bad)))
    os.utime(bad)
    assert runs(bad)
    found = wait_for(lambda: gate.finds)[0]
    assert found["late"] is True
    assert not runs(bad)


def test_a_stopped_gate_hangs_and_a_killed_one_lets_pass(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    bad, good = program(mount, "bad"), program(mount, "good", b"2")
    gate.apply(indicator(sha256(bad)))
    os.kill(gate.pid, signal.SIGSTOP)
    with subprocess.Popen(["/bin/sh", "-c", f"exec {good}"]) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        gate.kill()
        assert waiting.wait(5) == 0
    assert runs(bad)
    gate.start()  # enforced again from what is kept, with no server
    assert gate.client.wait_connected(20)
    wait_for(lambda: not runs(bad))
    assert runs(good)


def test_the_agents_own_program_is_never_refused(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    python = Path(f"/proc/{gate.pid}/exe").resolve()
    gate.apply(indicator(sha256(python)))
    gate.client.inspect(str(python))
    time.sleep(0.5)
    assert runs(python, "-c", "pass")


def test_many_at_once(start_gate: Start, mount: Path) -> None:
    gate = start_gate()
    bad = program(mount, "bad")
    good = [program(mount, f"good{n}", str(n).encode()) for n in range(20)]
    gate.apply(indicator(sha256(bad)))
    children = [subprocess.Popen(["/bin/sh", "-c", f"{p}"]) for p in good for _ in range(5)]
    assert [child.wait(20) for child in children] == [0] * 100
    assert not runs(bad)
