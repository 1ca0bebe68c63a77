"""`shieldwall rules scan`, as typed, over small recordings of our own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RULE = """
title: Accounts listed
id: 33333333-3333-4333-8333-333333333333
logsource: {category: process_creation, product: windows}
detection:
  listing: {Image|endswith: '\\net.exe', CommandLine|contains: ' user'}
  condition: listing
level: high
tags: [attack.t1087.001]
"""
COUNTING = """
title: Many listings
id: 44444444-4444-4444-8444-444444444444
correlation:
  type: event_count
  rules: [33333333-3333-4333-8333-333333333333]
  group-by: [Computer]
  timespan: 5m
  condition: {gte: 3}
  generate: true
level: high
"""


def record(number: int, host: str, line: str) -> dict[str, object]:
    """A process creation as Sysmon tells it, in flat JSON."""
    return {
        "@timestamp": f"2020-05-01T10:00:{number:02}.000Z",
        "UtcTime": f"2020-05-01 10:00:{number:02}.000",
        "Hostname": host,
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "SourceName": "Microsoft-Windows-Sysmon",
        "EventID": 1,
        "RecordNumber": number,
        "ProcessId": "700",
        "Image": "C:\\Windows\\System32\\net.exe",
        "CommandLine": line,
        "User": "HOST\\somebody",
    }


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHIELDWALL_DATA", str(tmp_path / "data"))
    lines = [
        *(record(number, "one.example.com", "net  user") for number in range(3)),
        record(3, "two.example.com", "net user /domain"),
        record(4, "two.example.com", "net view"),
    ]
    path = tmp_path / "recording.json"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def run(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the engine in this one has its store already."""
    program = "import typer; from shieldwall.cli.rules_scan import scan; typer.run(scan)"
    command = [sys.executable, "-c", program, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    return result


def test_what_fired_is_told_by_host_and_technique(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "rule.yml").write_text(RULE)
    result = run(recording, "--rules", tmp_path / "rule.yml", "--no-builtin", "--json")
    told = json.loads(result.stdout)
    assert told["fired"] == [
        {
            "id": "33333333-3333-4333-8333-333333333333",
            "name": "Accounts listed",
            "severity": "High",
            "techniques": ["T1087.001"],
            "events": 4,
            "hosts": {"one.example.com": 3, "two.example.com": 1},
        }
    ]
    assert (told["records"], told["stored"], told["rejected"]) == (5, 5, 0)
    drawn = run(recording, "--rules", tmp_path / "rule.yml", "--no-builtin").stdout
    assert "Accounts listed" in drawn
    assert "1 of 1 rules fired on 4 events" in drawn


def test_rules_over_several_events_are_left_out_and_said_to_be(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(f"{RULE}---{COUNTING}")
    told = json.loads(run(recording, "--rules", tmp_path / "rules.yml", "--no-builtin", "--json").stdout)
    assert len(told["fired"]) == 1
    assert list(told["leftOut"]) == ["44444444-4444-4444-8444-444444444444"]


def test_without_rules_it_says_so(recording: Path) -> None:
    result = run(recording, "--no-builtin", code=2)
    assert "there are no rules" in result.stderr
