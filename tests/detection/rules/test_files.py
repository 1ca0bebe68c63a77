"""Rules as files: what is read, what is refused and where, and that examples do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from shieldwall.detection.rules.builtin import FOLDER, builtin_rules
from shieldwall.detection.rules.examples import try_rules
from shieldwall.detection.rules.files import read_folder, read_rules
from shieldwall.telemetry.store import TelemetryStore

GOOD = """\
name: Netcat started
severity: low
techniques: [T1095]
frequency: 30m
lookback: 2h
entities: {User: AccountName}
details: {Command: ProcessCommandLine}
actions: [Isolate, {kind: BlockFile, column: SHA256}]
device_groups: [Servers]
query: |
  DeviceProcessEvents
  | where FileName == "nc"
examples:
  matches:
    - DeviceProcessEvents: {FileName: nc, AdditionalFields: {a: 1}, ProcessId: 7}
    - DeviceProcessEvents:
        - {FileName: bash}
        - {FileName: nc}
  ignores:
    - DeviceProcessEvents: {FileName: ncat}
"""


def wrong(text: str) -> str:
    rules, problems = read_rules(text.encode(), "r.yaml")
    assert rules == []
    return str(problems[0])


def test_a_file_says_all_of_a_rule() -> None:
    [read], problems = read_rules(GOOD.encode(), "r.yaml")
    assert problems == []
    rule = read.rule
    assert (rule.name, rule.title, rule.severity) == ("Netcat started", "Netcat started", "Low")
    assert (rule.period, rule.lookback, rule.source) == (30, 120, "Custom")
    assert rule.entities == {"User": "AccountName"}
    assert [action.kind for action in read.decision.actions] == ["Isolate", "BlockFile"]
    assert read.decision.device_groups == ["Servers"]
    assert (len(read.matches), len(read.ignores)) == (2, 1)
    # Without an id of its own, the name makes it, the same each time.
    assert read.rule.id == read_rules(GOOD.encode(), "other.yaml")[0][0].rule.id


def test_several_rules_stand_in_one_file_and_a_wrong_one_alone_is_left_out() -> None:
    text = f"{GOOD}---\nname: Broken\nquery: Nowhere\n---\nname: Third\nquery: DeviceEvents\n"
    rules, problems = read_rules(text.encode(), "r.yaml")
    assert [item.rule.name for item in rules] == ["Netcat started", "Third"]
    [problem] = problems
    assert problem.line == 24
    assert "Nowhere" in problem.reason


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("name: Netcat started\n", "", 1, "name is missing"),
        ("severity: low", "severity: bad", 2, "severity must be one of"),
        ("severity: low", "gravity: low", 2, "'gravity' is none of"),
        ("severity: low", "severity: [low]", 2, "severity must be text"),
        ("[T1095]", "[1095]", 3, "techniques must be a list of texts"),
        ("[T1095]", "[Txx]", 3, "'Txx' is not a technique"),
        ("frequency: 30m", "frequency: often", 4, "frequency must be continuous, or a time such as"),
        ("frequency: 30m", "frequency: 2m", 4, "from 5 minutes to 14 days"),
        ("lookback: 2h", "lookback: 3d", 5, "shorter than 48 hours"),
        ("AccountName}", "Nobody}", 6, "no column 'Nobody'"),
        ("{Command: ProcessCommandLine}", "{Command: 7}", 7, "details.Command must be the name of a column"),
        ("[Isolate,", "[Explode,", 8, r"actions\[0\].kind must be one of"),
        ("FileName ==", "Filename2 ==", 12, "Filename2"),
        ("  matches:", "  matching:", 14, "matches and ignores only"),
        ("DeviceProcessEvents: {FileName: nc,", "Devices: {FileName: nc,", 14, "no table 'Devices'"),
        ("{FileName: ncat}", "{File: ncat}", 19, "has no column 'File'"),
        ("{FileName: ncat}", "7", 19, "a row of DeviceProcessEvents must be a mapping"),
        ("severity: low", "severity: low\nseverity: high", 3, "is there twice"),
        ("severity: low", "severity: 'low", 0, "YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, message: str) -> None:
    assert GOOD.replace(old, new, 1) != GOOD
    _, [problem] = read_rules(GOOD.replace(old, new, 1).encode(), "r.yaml")
    assert message.replace("\\", "") in problem.reason
    assert problem.line == line or not line


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
        ),
        "name: x\nquery: " + "[" * 5000,
        "name: x\n" + "#" * (1 << 20),
        "- a\n- b\n",
        "name: !!python/object/apply:os.system ['true']\n",
        "\x00",
    ],
)
def test_hostile_files_are_refused_at_once(text: str) -> None:
    assert wrong(text).startswith("r.yaml")


def test_rules_that_are_alike_are_told(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "sub" / "b.yml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no rule")
    rules, problems = read_folder(tmp_path)
    assert len(rules) == 2
    assert [problem.reason.split(":")[0] for problem in problems] == ["id", "name"]


def test_examples_fire_where_they_should(telemetry: TelemetryStore) -> None:
    rules, _ = read_rules(GOOD.encode(), "r.yaml")
    tried = list(try_rules(telemetry, rules))
    assert [(item.kind, item.rows, item.good) for item in tried] == [
        ("matches", 1, True),
        ("matches", 1, True),
        ("ignores", 0, True),
    ]


def test_examples_that_do_otherwise_are_told(telemetry: TelemetryStore) -> None:
    text = GOOD.replace('== "nc"', 'startswith "nc"').replace("FileName: nc, ", "FileName: vi, ")
    rules, _ = read_rules(text.replace("ProcessId: 7", "ProcessId: seven").encode(), "r.yaml")
    tried = list(try_rules(telemetry, rules))
    assert [item.good for item in tried] == [False, True, False]
    assert "does not fit DeviceProcessEvents" in tried[0].error


def test_every_rule_of_our_own_does_what_its_examples_say(telemetry: TelemetryStore) -> None:
    rules, problems = read_folder(FOLDER, "BuiltIn")
    assert [str(problem) for problem in problems] == []
    assert set(builtin_rules()) == {item.rule.id for item in rules}
    for item in rules:
        assert item.matches, f"{item.path}: {item.rule.name} has no example that fires"
        assert item.ignores, f"{item.path}: {item.rule.name} has no example that does not"
        assert item.rule.techniques, f"{item.path}: {item.rule.name} names no technique"
    wrong = [item for item in try_rules(telemetry, rules) if not item.good]
    assert [f"{item.rule.rule.name}: {item.kind} {item.number} {item.error}" for item in wrong] == []
