"""Commands on files, from the handler to the command line, with the real vault."""

import hashlib
import subprocess
import sys
import threading
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


def test_deltas_move_the_revision_and_gaps_do_not(control: Control) -> None:
    indicator = {"id": "1", "type": "FileSha1", "value": "a" * 40, "action": "Audit", "severity": "Low"}
    body = {"upsert": [{**indicator, "title": "t", "generate_alert": False, "expires": None}], "delete": []}
    control.apply_indicators({"from": 0, "to": 3, "full": True, **body})
    assert control.policy.revision == 3
    with pytest.raises(RevisionGap):
        control.apply_indicators({"from": 7, "to": 8, **body})
    assert control.policy.revision == 3
