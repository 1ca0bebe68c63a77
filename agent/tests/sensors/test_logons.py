"""Logon records as they were recorded."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors import canaries, logons
from shieldwall_agent.sensors.base import Surroundings, Unavailable
from shieldwall_agent.sensors.canaries import prove
from shieldwall_agent.sensors.logons import (
    LONGEST_READ,
    AuthLog,
    LoginRecords,
    _Tail,
    from_log,
    from_utmp,
)

SESSION = struct.pack(
    "=h2xi32s4s32s256shhiii16s20x",
    7, 4711, b"pts/0", b"ts/0", b"alice", b"host.example", 0, 0, 0, 1_700_000_000, 5, bytes([192, 0, 2, 7]),
)  # fmt: skip


def test_reads_sessions() -> None:
    (event,) = from_utmp(SESSION, "LogonSuccess")
    assert event["AccountName"] == "alice"
    assert event["RemoteIP"] == "192.0.2.7"
    assert event["LogonType"] == "RemoteInteractive"
    assert event["Timestamp"].startswith("2023-11-14T22:13:20.000005")
    assert event["AdditionalFields"] == {"Terminal": "pts/0", "RemoteHost": "host.example"}


def test_leaves_out_ends_of_sessions_but_no_failure() -> None:
    ended = b"\x08\0" + SESSION[2:]
    assert list(from_utmp(ended, "LogonSuccess")) == []
    failed = b"\x06\0" + SESSION[2:]
    assert [event["ActionType"] for event in from_utmp(failed, "LogonFailed")] == ["LogonFailed"]


def test_reads_the_auth_log() -> None:
    events = list(
        from_log(
            b"Nov  1 10:00:00 h sshd[12]: Accepted publickey for bob from 192.0.2.1 port 5022 ssh2: RSA\n"
            b"Nov  1 10:00:01 h sshd[13]: Failed password for invalid user eve from 2001:db8::1 port 5 ssh2\n"
            b"Nov  1 10:00:02 h sudo:    bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls\n"
            b"Nov  1 10:00:03 h su[9]: FAILED SU (to root) bob on pts/1\n"
            b"Nov  1 10:00:04 h CRON[9]: something else\n"
        )
    )
    assert [(event["ActionType"], event["AccountName"]) for event in events] == [
        ("LogonSuccess", "bob"),
        ("LogonFailed", "eve"),
        ("LogonSuccess", "root"),
        ("LogonFailed", "root"),
    ]
    assert events[1]["RemoteIP"] == "2001:db8::1"
    assert events[0]["RemotePort"] == 5022


@given(st.binary(max_size=1200))
def test_no_bytes_crash(data: bytes) -> None:
    list(from_utmp(data, "LogonFailed"))
    list(from_log(data))


def test_follows_a_file_over_rotation_and_endless_lines(tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    path.write_bytes(b"old\n")
    tail = _Tail(path)
    with path.open("ab") as file:
        file.write(b"new\nhalf")
    assert tail.read(1) == b"new\n"
    path.rename(tmp_path / "auth.log.1")
    path.write_bytes(b"x" * LONGEST_READ + b"\nnext\n")
    for _ in range(3):
        if (data := tail.read(1)).endswith(b"next\n"):
            break
    assert data.endswith(b"next\n")


def test_follows_the_auth_log_and_proves_itself(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "auth.log"
    path.write_text("Nov  1 09:00:00 h sshd[1]: Accepted password for before from 192.0.2.1 port 1 ssh2\n")
    monkeypatch.setattr(AuthLog, "files", (path,))
    monkeypatch.setattr(logons, "SECONDS", 0.02)
    monkeypatch.setattr(canaries, "SECONDS", 0.3)
    mechanism = AuthLog(Surroundings(kept), {"logons"})
    mechanism.start()
    try:
        assert not prove(mechanism, "logons", tmp_path)  # nothing writes to this file

        def syslog(folder: Path) -> Any:
            with path.open("a") as file:
                file.write(f"Nov  1 10:00:00 h shieldwall-agent[1]: {canaries.NAME}\n")
            return contextlib.nullcontext()

        monkeypatch.setitem(canaries._LOGON_ACTS, "auth.log", syslog)
        assert prove(mechanism, "logons", tmp_path)
        with path.open("a") as file:
            file.write("Nov  1 10:00:00 h sshd[1]: Accepted password for bob from 192.0.2.1 port 1 ssh2\n")
        (event,) = kept.wait(lambda event: event["Table"] == "DeviceLogonEvents")
    finally:
        mechanism.stop()
    assert event["AccountName"] == "bob"


def test_follows_the_records_of_sessions_and_failures(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, failures = tmp_path / "wtmp", tmp_path / "btmp"
    for path in (sessions, failures):
        path.write_bytes(SESSION)
    monkeypatch.setattr(LoginRecords, "files", (sessions, failures))
    monkeypatch.setattr(logons, "BTMP", failures)
    monkeypatch.setattr(logons, "SECONDS", 0.02)
    mechanism = LoginRecords(Surroundings(kept), {"logons"})
    mechanism.start()
    try:
        for path in (sessions, failures):
            with path.open("ab") as file:
                file.write(SESSION)
        found = kept.wait(lambda event: event["AccountName"] == "alice", 2)
    finally:
        mechanism.stop()
    assert sorted(event["ActionType"] for event in found) == ["LogonFailed", "LogonSuccess"]


def test_says_which_files_are_not_there(kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AuthLog, "files", (tmp_path / "none",))
    with pytest.raises(Unavailable, match="none can be read of"):
        AuthLog(Surroundings(kept), set()).start()
