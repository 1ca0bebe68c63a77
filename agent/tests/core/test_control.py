"""Commands on files, from the handler to the command line, with the real vault."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent.control import Control
from shieldwall_agent.enforcement.policy import RevisionGap
from shieldwall_agent.known_files import KnownFiles
from shieldwall_agent.remote_sink import EventServer, RemoteSink


class Collected:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, event: dict[str, Any]) -> None:
        self.events.append(event)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path, ("127.0.0.1", 8443), RemoteSink(tmp_path, "responder"), gated=False)
    made.start()
    yield made
    made.stop()


def command_line(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "shieldwall_agent", "--state", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_file_that_does_not_run_is_found_by_its_hash_and_restored(tmp_path: Path, control: Control) -> None:
    files = KnownFiles(Collected(), tmp_path / "files.json")
    EventServer(tmp_path, files)
    bad = tmp_path / "dropped"
    bad.write_bytes(b"bad" * 1000)
    sha1 = hashlib.sha1(bad.read_bytes()).hexdigest()
    files.emit({"Table": "DeviceFileEvents", "FolderPath": str(bad), "SHA1": sha1})
    handlers = control.handlers()
    outcome = handlers["stop_and_quarantine"]({"sha1": sha1.upper()}, threading.Event())
    assert not bad.exists()
    vault_id = outcome.result["quarantined"][0]["vault_id"]
    listed = command_line(tmp_path, "vault", "list")
    assert vault_id in listed
    assert str(bad) in listed
    assert str(bad) in command_line(tmp_path, "vault", "restore", vault_id)
    assert hashlib.sha1(bad.read_bytes()).hexdigest() == sha1
    assert "empty" in command_line(tmp_path, "vault", "list")


@pytest.mark.parametrize("sha1", ["", "nothex" * 8, "a" * 40])
def test_hash_that_is_none_or_unknown_fails(control: Control, sha1: str) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        control.handlers()["stop_and_quarantine"]({"sha1": sha1}, threading.Event())


def test_package_is_a_zip(control: Control) -> None:
    outcome = control.handlers()["collect_package"]({}, threading.Event())
    assert outcome.package is not None
    assert zipfile.ZipFile(outcome.package).testzip() is None


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Control, Collected]]:
    """Control whose events can be seen."""
    sink = Collected()
    made = Control(tmp_path / "state", ("127.0.0.1", 8443), sink, gated=False)
    made.start()
    yield made, sink
    made.stop()


def listed(path: Path, *kinds: str, action: str = "BlockAndRemediate") -> dict[str, Any]:
    """A delta that puts a file on the list by hashes of it."""
    content = path.read_bytes()
    upsert = []
    for kind in kinds:
        digest = hashlib.new(kind.removeprefix("File").lower(), content).hexdigest()
        words = {"id": kind, "type": kind, "value": digest, "action": action, "severity": "High"}
        upsert.append({**words, "title": "Bad program", "generate_alert": True, "expires": None})
    return {"from": 0, "to": 1, "full": True, "upsert": upsert, "delete": []}


def program(path: Path) -> subprocess.Popen[bytes]:
    """A program of its own, running. Its first line comes when it runs."""
    shutil.copy(shutil.which("cat") or "/bin/cat", path)
    with path.open("ab") as file:
        file.write(path.name.encode())
    child = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    child.stdin.write(b"up\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"up\n"
    return child


@pytest.mark.parametrize("kinds", [("FileSha1",), ("FileSha256", "FileSha1", "FileMd5")])
def test_a_running_file_that_comes_onto_the_list_is_reported_once_for_each_process(
    tmp_path: Path, watched: tuple[Control, Collected], kinds: tuple[str, ...]
) -> None:
    control, sink = watched
    bad = tmp_path / "bad"
    children = [program(bad)]
    children.append(subprocess.Popen([bad], stdin=subprocess.PIPE))
    while os.readlink(f"/proc/{children[1].pid}/exe") != str(bad):
        time.sleep(0.01)
    innocent = program(tmp_path / "good")
    try:
        delta = listed(bad, *kinds)
        control.apply_indicators(delta)
        assert [child.wait(10) for child in children] == [-9, -9]
        deadline = time.monotonic() + 10
        while len(found := [e for e in sink.events if e["ActionType"] == "AntivirusDetection"]) < 2:
            assert time.monotonic() < deadline, sink.events
            time.sleep(0.01)
        time.sleep(0.3)
        assert len([e for e in sink.events if e["ActionType"] == "AntivirusDetection"]) == 2
        assert {event["InitiatingProcessId"] for event in found} == {child.pid for child in children}
        for event in found:
            assert (event["Table"], event["FolderPath"], event["FileName"]) == (
                "DeviceEvents",
                str(bad),
                "bad",
            )
            assert event["InitiatingProcessFolderPath"] == str(bad)
            assert isinstance(event["InitiatingProcessAccountName"], str)
            assert event["InitiatingProcessCreationTime"]
            fields = event["AdditionalFields"]
            assert (fields["WasExecutingWhileDetected"], fields["WasRemediated"]) == (True, True)
            assert (fields["IndicatorId"], fields["Action"]) in {
                (kind, "BlockAndRemediate") for kind in kinds
            }
            assert fields["ThreatName"] == "EUS:Win32/CustomEnterpriseBlock!cl"
        assert [e["FolderPath"] for e in sink.events if e["ActionType"] == "FileQuarantined"] == [str(bad)]
        assert innocent.poll() is None
    finally:
        for child in (*children, innocent):
            child.kill()
            child.wait()


def test_a_running_file_that_is_only_blocked_goes_on(
    tmp_path: Path, watched: tuple[Control, Collected]
) -> None:
    control, sink = watched
    child = program(tmp_path / "bad")
    try:
        control.apply_indicators(listed(tmp_path / "bad", "FileSha1", action="Block"))
        time.sleep(1)
        assert child.poll() is None
        assert sink.events == []
    finally:
        child.kill()
        child.wait()


def test_deltas_move_the_revision_and_gaps_do_not(control: Control) -> None:
    indicator = {"id": "1", "type": "FileSha1", "value": "a" * 40, "action": "Audit", "severity": "Low"}
    body = {"upsert": [{**indicator, "title": "t", "generate_alert": False, "expires": None}], "delete": []}
    control.apply_indicators({"from": 0, "to": 3, "full": True, **body})
    assert control.policy.revision == 3
    with pytest.raises(RevisionGap):
        control.apply_indicators({"from": 7, "to": 8, **body})
    assert control.policy.revision == 3
