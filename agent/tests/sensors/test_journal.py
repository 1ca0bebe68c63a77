"""A real journald, in a mount namespace of its own, and its entries as journalctl writes them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.journal import from_entry

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
MACHINE = Path(__file__).parent / "journal_machine.py"
ACCEPTED = "Accepted password for bob from 192.0.2.1 port 5022 ssh2"


def _entry(**fields: object) -> bytes:
    known = {
        "SYSLOG_IDENTIFIER": "sshd", "_PID": "12", "_UID": "0", "_EXE": "/usr/sbin/sshd",
        "__REALTIME_TIMESTAMP": "1700000000123456", "MESSAGE": ACCEPTED,
    }  # fmt: skip
    return json.dumps({**known, **fields}).encode()


def test_reads_an_entry() -> None:
    event = from_entry(_entry())
    assert event
    assert (event["AccountName"], event["RemoteIP"], event["InitiatingProcessId"]) == ("bob", "192.0.2.1", 12)
    assert event["Timestamp"] == "2023-11-14T22:13:20.123456Z"
    assert from_entry(_entry(MESSAGE=list(ACCEPTED.encode()))) == event
    assert from_entry(_entry(MESSAGE=[ACCEPTED, "another"])) == event
    assert from_entry(_entry(MESSAGE=None)) is None


def test_believes_no_user_who_claims_to_be_sshd() -> None:
    assert from_entry(_entry(_UID="1000", _EXE="/usr/bin/logger")) is None
    assert from_entry(_entry(_UID="1000", _EXE="/home/eve/sshd")) is None
    assert from_entry(_entry(_UID="1000", _EXE=None)) is None
    switched = {"SYSLOG_IDENTIFIER": "su", "MESSAGE": "(to root) bob on pts/1", "_UID": "1000"}
    assert from_entry(_entry(**switched, _EXE="/usr/bin/su"))
    assert from_entry(_entry(**switched, _EXE="/tmp/su")) is None


@given(st.binary(max_size=80) | st.sampled_from([b"[]", b"1", b"{}", b'"a"', b"[" * 100_000]))
def test_no_line_crashes(line: bytes) -> None:
    from_entry(line)
    from_entry(_entry()[:-1] + b', "MESSAGE": ' + line + b"}")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not JOURNALD.exists() or not shutil.which("journalctl"), reason="needs systemd's journal")
def test_follows_a_real_journal() -> None:
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, MACHINE, JOURNALD],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if "skip" in found:
        pytest.skip(found["skip"])
    assert found == {
        "proved": True,
        "told": [
            ["LogonSuccess", "bob", "192.0.2.1"],
            ["LogonSuccess", "root", ""],
            ["LogonFailed", "eve", "192.0.2.2"],
        ],
        "alive": True,
        "fell": True,
        "ended": True,
        "left": False,
    }
