"""`shieldwall rules`, as typed, against a real server; examples run on an engine of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shieldwall.cli.rules import rules_commands
from tests.client.conftest import Live, live, template  # noqa: F401

RULE = """\
name: Netcat started
severity: low
frequency: 1h
query: |
  DeviceProcessEvents
  | where FileName == "nc"
examples:
  matches:
    - DeviceProcessEvents: {FileName: nc}
  ignores:
    - DeviceProcessEvents: {FileName: ncat}
"""


@pytest.fixture
def environment(live: Live) -> dict[str, str]:  # noqa: F811
    return {
        "SHIELDWALL_API_URL": live.url,
        "SHIELDWALL_API_TENANT": live.tenant,
        "SHIELDWALL_API_CLIENT_ID": live.client_id,
        "SHIELDWALL_API_CLIENT_SECRET": live.secret,
        "SHIELDWALL_API_CA": live.ca,
        "COLUMNS": "300",
        "TERM": "dumb",
    }


def run(environment: dict[str, str], *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(rules_commands, list(words), env=environment)
    assert result.exit_code == code, result.output
    return result.output


def test_a_rule_is_created_looked_at_tuned_and_deleted(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "netcat.yaml"
    file.write_text(RULE)
    assert "1 added" in run(environment, "create", str(file))
    assert "is there already" in run(environment, "create", str(file), code=2)
    listed = run(environment, "list", "--source", "Custom")
    assert "Netcat started" in listed
    assert "1 of 1 rules" in listed
    assert "Reverse shell command" in run(environment, "list", "--find", "T1095")
    run(environment, "tune", "netcat started", "--severity", "High", "--action", "Isolate")
    said = run(environment, "suppress", "netcat started", "AccountName", "bob", "--reason", "his job")
    assert "suppression 1 is in force" in said
    shown = run(environment, "show", "Netcat started")
    for word in ("High", "Isolate", "1 h", "bob", "his job", 'where FileName == "nc"'):
        assert word in shown
    assert "Manual" in run(environment, "run", "netcat started")
    assert "Manual" in run(environment, "runs", "netcat started")
    run(environment, "unsuppress", "netcat started", "1")
    run(environment, "disable", "netcat started")
    assert "(off)" in run(environment, "list", "--source", "Custom")
    run(environment, "enable", "netcat started")
    run(environment, "delete", "netcat started")
    assert "there is no rule" in run(environment, "show", "netcat started", code=2)


def test_a_folder_is_kept_in_step(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE)
    (tmp_path / "b.yaml").write_text(RULE.replace("Netcat", "Socat"))
    assert "2 rules can be applied" in run(environment, "apply", str(tmp_path), "--check")
    assert "2 added" in run(environment, "apply", str(tmp_path))
    run(environment, "tune", "netcat started", "--severity", "High")
    (tmp_path / "a.yaml").write_text(RULE.replace('"nc"', '"netcat"'))
    (tmp_path / "b.yaml").unlink()
    said = run(environment, "apply", str(tmp_path), "--prune")
    assert "1 updated" in said
    assert "deleted Socat started" in said
    # What was decided here stays.
    assert "High" in run(environment, "list", "--source", "Custom")
    (tmp_path / "a.yaml").write_text(RULE.replace("FileName ==", "Nothing =="))
    said = run(environment, "apply", str(tmp_path), code=1)
    assert "a.yaml:6" in said
    assert "nothing was changed" in said


def rules_test(folder: Path) -> subprocess.CompletedProcess[str]:
    # A process of its own: this one has its engine open already.
    command = [sys.executable, "-m", "shieldwall.cli.main", "rules", "test", str(folder), "--all"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"}
    )


def test_examples_decide_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(RULE)
    good = rules_test(tmp_path)
    assert good.returncode == 0, good.stderr
    assert "1 rules, 2 examples: 2 as they should be, 0 not" in good.stdout
    wrong = RULE.replace("Netcat", "Wrong").replace("{FileName: ncat}", "{FileName: nc}")
    (tmp_path / "wrong.yaml").write_text(wrong)
    (tmp_path / "broken.yaml").write_text(RULE.replace("severity: low", "severity: bad"))
    bad = rules_test(tmp_path)
    assert bad.returncode == 1
    assert "ignores 1: fires (1 rows)" in bad.stdout
    assert "broken.yaml:2: severity must be one of" in bad.stdout
    assert "3 as they should be, 1 not; 1 mistakes in files" in bad.stdout
