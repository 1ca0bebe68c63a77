"""`shieldwall query` and `shieldwall kql`, as typed, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from shieldwall.cli.chart import draw

SEEN = "DeviceProcessEvents | where Timestamp > ago(7d) | summarize n = count() by DeviceName"


def shieldwall(*words: str, fails: bool = False, **options: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "shieldwall.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    assert (result.returncode != 0) == fails, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + (result.stderr if fails else "")


def test_a_batch_answers_each_line() -> None:
    cases = [
        {"id": "a", "query": SEEN},
        {"id": 2, "query": "print x = dynamic([1, 'y']), t = 90m, d = datetime(2026-01-02)"},
        {"id": "wrong", "query": "DeviceProcessEvents\n| where Nonsense == 1"},
        {"id": "outside", "query": "externaldata(x: string)['https://example.com/x.csv']"},
    ]
    lines = shieldwall("query", "--batch", input="".join(json.dumps(case) + "\n" for case in cases))
    answers = [json.loads(line) for line in lines.splitlines()]
    assert answers[0] == {
        "id": "a",
        "columns": [{"name": "DeviceName", "type": "string"}, {"name": "n", "type": "long"}],
        "rows": [],
    }
    assert answers[1]["rows"] == [[[1, "y"], "01:30:00", "2026-01-02T00:00:00.0000000Z"]]
    assert [column["type"] for column in answers[1]["columns"]] == ["dynamic", "timespan", "datetime"]
    assert answers[2]["error"]["line"] == 2
    assert answers[2]["error"]["column"] == 9
    assert answers[3]["rows"] == []


def test_explain_shows_the_sql_and_needs_no_server() -> None:
    text = shieldwall("query", "--explain", SEEN)
    assert "FROM shieldwall.DeviceProcessEvents" in text
    assert "Line 1, column 1" in shieldwall("query", "--explain", "Nonsense", fails=True)


def test_files_are_checked_with_the_place_of_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "good.kql").write_text(SEEN)
    assert shieldwall("kql", "check", str(tmp_path)) == ""
    (tmp_path / "wrong.kql").write_text("DeviceInfo\n| wheer x")
    (tmp_path / "unknown.kql").write_text("DeviceInfo | project Devicename")
    told = shieldwall("kql", "check", str(tmp_path), fails=True)
    assert f"{tmp_path / 'wrong.kql'}:2:3: 'wheer' is not an operator" in told
    assert "Did you mean 'DeviceName'?" in told


def test_files_are_laid_out_in_place(tmp_path: Path) -> None:
    file = tmp_path / "a.kql"
    file.write_text("DeviceInfo|where OnboardingStatus=='Onboarded'|count // all\n")
    shieldwall("kql", "format", "--check", str(file), fails=True)
    assert shieldwall("kql", "format", str(file)) == f"changed {file}\n"
    assert file.read_text() == "DeviceInfo\n| where OnboardingStatus == 'Onboarded'\n| count  // all\n"
    assert shieldwall("kql", "format", str(file)) == ""
    assert shieldwall("kql", "format", "-", input="print  1") == "print 1\n"


def drawn(columns: list[tuple[str, str]], rows: list[list[object]], kind: str) -> str:
    console = Console(width=60, record=True, file=StringIO())
    assert draw(console, columns, rows, {"kind": kind, "properties": {}})
    return console.export_text()


def test_bars_are_as_long_as_their_numbers() -> None:
    text = drawn([("name", "string"), ("n", "long")], [["a", 10], ["bb", 5], ["c\x1b[2J", 0]], "barchart")
    lines = text.splitlines()[1:]
    assert (
        lines[0].count("█") == 2 * lines[1].count("█")
        or abs(lines[0].count("█") - 2 * lines[1].count("█")) == 1
    )
    assert "\x1b" not in text


def test_a_line_rises_with_its_values() -> None:
    rows = [[f"2026-01-02T{hour:02}:00:00Z", hour] for hour in range(24)]
    lines = drawn([("t", "datetime"), ("n", "long")], rows, "timechart").splitlines()[1:17]
    first = [
        min((at for at, letter in enumerate(line) if ord(letter) > 0x2800), default=None) for line in lines
    ]
    seen = [place for place in first if place is not None]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 16


@pytest.mark.parametrize("kind", ["barchart", "timechart"])
def test_nothing_is_drawn_without_numbers(kind: str) -> None:
    assert not draw(Console(), [("a", "string")], [["x"]], {"kind": kind, "properties": {}})
