"""Live response on this machine, within the test's own folders."""

import gzip
import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent.executor import Failed
from shieldwall_agent.responses import live_response
from shieldwall_agent.responses.live_response import LiveResponse, fetched


class Session:
    """One device's live response, over a library in memory."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "live_response"
        self.results = folder / "results"
        self.contents: dict[str, bytes] = {}
        self.cancelled = threading.Event()

    def file(self, name: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        self.contents[f"/agent/v1/actions/1/files/{digest}"] = content
        return {"name": name, "sha256": digest, "size": len(content)}

    def run(self, *commands: dict[str, Any]) -> list[dict[str, Any]]:
        device = LiveResponse(
            self.place, lambda action, file: fetched(self.contents.__getitem__, action, file)
        )
        outcome = device.run({"id": "1", "commands": list(commands)}, self.results, self.cancelled)
        assert outcome.package == self.results
        return list(outcome.result["commands"])

    def script(self, content: str, arguments: str = "", **more: Any) -> dict[str, Any]:
        """Run a script and read its transcript."""
        self.run(
            {"type": "RunScript", "file": self.file("s.sh", content.encode()), "args": arguments, **more}
        )
        return self.transcript()

    def transcript(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.results / "0.json").read_text())
        return found


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_a_scripts_transcript_has_the_four_keys(session: Session) -> None:
    transcript = session.script("echo out; echo err >&2; exit 3", "")
    assert transcript == {
        "script_name": "s.sh",
        "exit_code": 3,
        "script_output": "out\n",
        "script_errors": "err\n",
    }


def test_arguments_are_words_and_never_commands(session: Session, tmp_path: Path) -> None:
    evil = f"one 'two three' ; touch {tmp_path}/pwned $(touch {tmp_path}/pwned)"
    transcript = session.script('#!/bin/sh\nfor word in "$@"; do echo "$word"; done', evil)
    assert transcript["script_output"].splitlines()[:4] == ["one", "two three", ";", "touch"]
    assert not (tmp_path / "pwned").exists()


def test_commands_run_in_order_and_share_a_folder(session: Session, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.log"
    wanted.write_bytes(b"line\n" * 1000)
    told = session.run(
        {"type": "PutFile", "file": session.file("data.txt", b"data")},
        {"type": "RunScript", "file": session.file("s.sh", b"#!/bin/sh\ncat data.txt; id -u"), "args": ""},
        {"type": "GetFile", "path": str(wanted)},
    )
    assert [(entry["index"], entry["status"]) for entry in told] == [
        (0, "Completed"),
        (1, "Completed"),
        (2, "Completed"),
    ]
    assert sorted(path.name for path in session.results.iterdir()) == ["1.json", "2.gz"], "put has no result"
    transcript = json.loads((session.results / "1.json").read_text())
    assert transcript["script_output"] == f"data{os.geteuid()}\n"
    assert gzip.decompress((session.results / "2.gz").read_bytes()) == wanted.read_bytes()
    assert session.place.stat().st_mode & 0o777 == 0o700


def test_the_first_failure_ends_the_session_and_keeps_what_came_before(session: Session) -> None:
    with pytest.raises(Failed) as failure:
        session.run(
            {"type": "RunScript", "file": session.file("s.sh", b"echo hi"), "args": ""},
            {"type": "GetFile", "path": "/nowhere/at/all"},
            {"type": "GetFile", "path": "/etc/hostname"},
        )
    told = failure.value.outcome.result["commands"]
    assert [entry["status"] for entry in told] == ["Completed", "Failed"]
    assert "/nowhere/at/all" in told[1]["error"]
    assert failure.value.outcome.package == session.results
    assert session.transcript()["script_output"] == "hi\n"


def test_a_script_that_takes_too_long_is_stopped_with_all_it_started(
    session: Session, tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(Failed, match="too long"):
        session.script(f"echo started; (sleep 3; touch {tmp_path}/late) & sleep 60", seconds=1)
    assert time.monotonic() - began < 10
    assert session.transcript()["script_output"] == "started\n"
    time.sleep(2.5)
    assert not (tmp_path / "late").exists()


def test_a_script_has_only_so_much_processor_time(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_response, "MOST_CPU", 1)
    transcript = session.script("ulimit -t 100; while :; do :; done", seconds=60)
    assert transcript["exit_code"] < 0 or transcript["exit_code"] > 128


def test_a_script_that_leaves_something_running_does_not_hold_the_session(session: Session) -> None:
    began = time.monotonic()
    assert session.script("sleep 30 & echo done")["script_output"] == "done\n"
    assert time.monotonic() - began < 10


def test_output_is_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_response, "LARGEST_OUTPUT", 10_000)
    transcript = session.script("head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert transcript["script_output"] == "x" * 10_000
    assert (transcript["exit_code"], transcript["script_errors"]) == (0, "end\n")


def test_a_cancelled_script_is_stopped(session: Session) -> None:
    threading.Timer(0.5, session.cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Failed, match="cancelled"):
        session.script("sleep 60")
    assert time.monotonic() - began < 10


def test_a_file_that_is_not_the_signed_one_is_not_run(session: Session, tmp_path: Path) -> None:
    file = session.file("s.sh", b"echo good")
    session.contents = dict.fromkeys(session.contents, f"touch {tmp_path}/pwned".encode())
    with pytest.raises(Failed, match="is not s"):
        session.run({"type": "RunScript", "file": file, "args": ""})
    assert not (tmp_path / "pwned").exists()
    assert not list(session.place.iterdir())


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".x", "a/b", "", "a b"])
def test_names_never_leave_the_folder(session: Session, name: str) -> None:
    with pytest.raises(Failed, match="not a file name"):
        session.run({"type": "PutFile", "file": session.file(name, b"x")})


def test_a_put_file_replaces_a_link_and_not_what_it_leads_to(session: Session, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    session.place.mkdir(mode=0o700)
    (session.place / "x").symlink_to(victim)
    session.run({"type": "PutFile", "file": session.file("x", b"new")})
    assert victim.read_text() == "safe"


def test_only_regular_files_within_the_bound_are_fetched(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_response, "LARGEST_FILE", 1000)
    (tmp_path / "fifo").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(1001))
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name, why in (
        ("pipe", "regular"),
        ("empty", "empty"),
        ("large", "more than"),
        ("link", "link"),
        ("", "regular"),
    ):
        session.results = tmp_path / f"results-{name}"
        with pytest.raises(Failed, match=why):
            session.run({"type": "GetFile", "path": str(tmp_path / name)})
        assert not list(session.results.iterdir())
    with pytest.raises(Failed, match="begin with"):
        session.results = tmp_path / "results-relative"
        session.run({"type": "GetFile", "path": "target"})
