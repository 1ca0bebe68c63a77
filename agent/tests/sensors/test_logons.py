"""Logon records as they were recorded."""

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.logons import LONGEST_READ, _Tail, from_log, from_utmp

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
