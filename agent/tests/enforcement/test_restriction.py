"""Restricted execution: what may run, with the real kernel on a filesystem of the test's own."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scratch import RunningGate, program, runs, wait_for

from shieldwall_agent.enforcement import restriction
from shieldwall_agent.enforcement.restriction import PackageDatabase, Restriction, RestrictionError

Start = Callable[..., RunningGate]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def allowed(path: Path, **more: Any) -> bool:
    values: dict[str, Any] = {"since": time.time_ns(), "folders": (str(path.parents[1]),), "own": ()}
    return Restriction(**(values | more)).allows(str(path), path.stat())


@needs_root
@pytest.mark.root
def test_only_roots_own_files_in_the_systems_folders_may_run(tmp_path: Path) -> None:
    path = program(tmp_path)
    path.chmod(0o755)
    assert allowed(path)
    assert not allowed(path, folders=("/usr",))
    assert not allowed(path, folders=(str(tmp_path)[:-1],)), "a folder is a whole name"
    assert allowed(path, folders=(), own=(str(tmp_path),))
    status = path.stat()
    assert allowed(path, folders=(), protected={(status.st_dev, status.st_ino)})
    assert allowed(path, folders=(), within=str(tmp_path / "trial")), "a trial leaves all else alone"
    assert not allowed(path, folders=(), within=str(tmp_path))
    for mode in (0o775, 0o757):
        path.chmod(mode)
        assert not allowed(path)
    path.chmod(0o755)
    os.chown(path, 1000, 0)
    assert not allowed(path)


@needs_root
@pytest.mark.root
def test_what_came_after_the_restriction_must_be_of_a_package(tmp_path: Path) -> None:
    path = program(tmp_path)
    before = path.stat().st_ctime_ns - 1
    assert not allowed(path, since=before)
    assert allowed(path, since=before, packaged=lambda name: name == str(path))


def test_packages_are_asked_anew_when_they_change(tmp_path: Path) -> None:
    database = PackageDatabase(tmp_path / "info")
    assert database.has("/usr/bin/anything"), "no dpkg, nothing to ask"
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "tool.list").write_text("/.\n/bin/tool\n/usr/bin/other\n")
    assert database.has("/usr/bin/tool"), "/bin is a link to /usr/bin"
    assert database.has("/usr/bin/other")
    assert not database.has("/usr/bin/othe")
    assert not database.has("/usr/bin/new")
    time.sleep(0.02)
    (tmp_path / "info" / "new.list").write_text("/usr/bin/new\n")
    assert database.has("/usr/bin/new")


def test_an_order_that_would_lock_the_machine_up_is_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "sh"
    shell.write_text("")
    monkeypatch.setattr(restriction, "ESSENTIAL", (str(shell),))
    with pytest.raises(RestrictionError, match="lock up"):
        restriction.order(tmp_path, time.time_ns())
    assert not restriction.ordered(tmp_path)


@needs_root
@pytest.mark.root
def test_this_machines_own_essentials_would_pass(tmp_path: Path) -> None:
    restriction.order(tmp_path, time.time_ns())
    assert restriction.ordered(tmp_path), "ordered only: no gate looks at this folder"
    assert restriction.lift(tmp_path)
    assert not restriction.lift(tmp_path)


def test_an_order_that_cannot_be_read_restricts_nothing(tmp_path: Path) -> None:
    assert restriction.load(tmp_path) is None
    for text in ("", "{}", "[]", '{"since": "x", "folders": []}'):
        (tmp_path / restriction.FILE_NAME).write_text(text)
        assert restriction.load(tmp_path) is None


@needs_root
@pytest.mark.root
def test_the_gate_refuses_what_is_none_of_the_systems(start_gate: Start, mount: Path) -> None:
    (mount / "usr").mkdir()
    (mount / "home").mkdir()
    tool, payload = program(mount / "usr"), program(mount / "home", "payload", b"other")
    gate = start_gate()
    assert runs(payload)
    restriction.order(gate.folder, time.time_ns(), (str(mount / "usr"),), mount)
    assert gate.client.changed(wait=20)
    assert gate.health()["restricted"] is True
    assert not runs(payload)
    assert not runs(payload), "and again"
    assert runs(tool)
    dropped = program(mount / "usr", "dropped", b"dropped")
    assert not runs(dropped), "came after the restriction, and of no package"
    wait_for(lambda: len(gate.sink.events) >= 3)
    assert {event["ActionType"] for event in gate.sink.events} == {"AppControlExecutableBlocked"}
    told = [event["FolderPath"] for event in gate.sink.events]
    assert told == [str(payload), str(payload), str(dropped)], "once for each process that tried"
    assert restriction.lift(gate.folder)
    wait_for(lambda: runs(payload), 10)
    assert runs(dropped), "the local way needs nobody but the gate's own look"


@needs_root
@pytest.mark.root
def test_a_restriction_outlives_the_gate_and_ends_with_it(start_gate: Start, mount: Path) -> None:
    (mount / "home").mkdir()
    payload = program(mount / "home", "payload")
    gate = start_gate()
    restriction.order(gate.folder, time.time_ns(), (str(mount / "usr"),), mount)
    assert gate.client.changed(wait=20)
    assert not runs(payload)
    gate.kill()
    assert runs(payload), "without a gate everything runs: nobody is locked out"
    gate.start()
    assert gate.client.wait_connected(20)
    wait_for(lambda: not runs(payload), 10)
