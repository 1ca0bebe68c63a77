"""Texts that are no rules, or none that can run: refused with line and field, and nothing else lost."""

from __future__ import annotations

import time

import pytest

from shieldwall.detection.sigma.conversion import Converter
from shieldwall.detection.sigma.documents import MOST_BYTES
from shieldwall.detection.sigma.parsing import File
from tests.detection.sigma.conftest import convert

GOOD = """title: Good
id: 11111111-1111-4111-8111-111111111111
logsource:
    product: windows
    category: process_creation
detection:
    sel:
        CommandLine|contains: whoami
        Image|endswith: '\\cmd.exe'
    condition: sel
level: low
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + place)}: &{chr(98 + place)} [{', '.join([f'*{chr(97 + place)}'] * 10)}]\n"
    for place in range(8)
)

UNREADABLE = [
    (BOMB, 5, "the document has more than 50000 parts"),
    ("a: &a\n  b: *a\n", 1, "an alias stands for what contains it"),
    ("x: " + "[" * 100_000, 1, "the document is nested deeper than 30"),
    ("- " * 100_000, 1, "the document is nested deeper than 30"),
    ("title: x\ntitle: y\n", 2, "the key 'title' is there twice"),
    ("title: [", 2, "YAML: did not find expected node content"),
    ("title: x\n\tdetection: y", 2, "YAML: found a tab character that violates indentation"),
    ("title: x\ndate: 2024-13-45\n", 2, "YAML: month must be in 1..12"),
    ("title: !!python/object/apply:os.system [id]", 1, "YAML: could not determine a constructor for the tag"),
    ("? [a, b]\n: c", 1, "a key must be plain text"),
    ("x: &x {a: 1}\ny:\n  <<: *x", 3, "merge keys (<<) are not supported"),
    ("just text", 1, "a rule must be a mapping"),
    ("", 0, "the file has no rule"),
    ("---\n" * 600, 502, "the file has more than 500 documents"),
]


@pytest.mark.parametrize(("text", "line", "reason"), UNREADABLE, ids=[case[2] for case in UNREADABLE])
def test_what_is_no_yaml_of_rules_names_the_line_at_once(text: str, line: int, reason: str) -> None:
    started = time.monotonic()
    found = convert(text, GOOD)
    assert time.monotonic() - started < 5
    assert [rule.name for rule in found.rules] == ["Good"]
    (refused,) = found.refused
    assert (refused.path, refused.line) == ("0.yml", line)
    assert refused.reason.startswith(reason)


def test_a_large_file_and_one_of_other_text() -> None:
    files = [File("large.yml", b"x: " + b"y" * MOST_BYTES), File("latin.yml", b"title: x\nauthor: Jos\xe9\n")]
    large, latin = Converter().convert(files).refused
    assert large.reason == "the file is larger than 1 MiB"
    assert (latin.reason, latin.line) == ("the text is not UTF-8", 2)


CHANGES = [
    ("CommandLine|contains", "CommandLine|includes", "detection.sel.CommandLine|includes", 8),
    ("CommandLine|contains: whoami", "CommandLine|re: '(who'", "detection.sel.CommandLine|re", 8),
    ("CommandLine|contains: whoami", "CommandLine|re: 'a(?=b)'", "detection.sel.CommandLine|re", 8),
    ("CommandLine|contains: whoami", "CommandLine|re: '(a{1000}){1000}'", "detection.sel.CommandLine|re", 8),
    ("CommandLine|contains: whoami", "Ip|cidr: 10.0.0.0/99", "detection.sel.Ip|cidr", 8),
    ("CommandLine|contains: whoami", "CommandLine|gt: much", "detection.sel.CommandLine|gt", 8),
    ("CommandLine|contains: whoami", "Image|expand: '%nobody%'", "detection.sel.Image|expand", 8),
    ("CommandLine|contains: whoami", "CommandLine|base64: 'a*b'", "detection.sel.CommandLine|base64", 8),
    ("CommandLine|contains: whoami", "CommandLine: {a: 1}", "detection.sel.CommandLine", 8),
    ("condition: sel", "condition: sel and", "detection.condition", 10),
    ("condition: sel", "condition: other", "detection.condition", 10),
    ("condition: sel", "condition: 1 of nothing_*", "detection.condition", 10),
    ("condition: sel", "condition: sel | count() > 5", "detection.condition", 10),
    ("    condition: sel\n", "", "detection.condition", 6),
    ("category: process_creation", "category: telepathy", "logsource", 3),
    ("product: windows\n    category: process_creation", "service: unheard", "logsource", 3),
    ("level: low", "level: enormous", "level", 11),
    ("id: 11111111-1111-4111-8111-111111111111", "id: one", "id", 2),
    ("title: Good\n", "", "title", 1),
]


@pytest.mark.parametrize(("old", "new", "field", "line"), CHANGES, ids=[case[1] for case in CHANGES])
def test_a_wrong_rule_names_its_field_and_the_line(old: str, new: str, field: str, line: int) -> None:
    assert old in GOOD
    found = convert(GOOD.replace(old, new))
    assert not found.rules
    (refused,) = found.refused
    assert (refused.field, refused.line) == (field, line), refused
    assert refused.reason


def test_a_regular_expression_that_would_explode_runs_in_linear_time() -> None:
    """RE2 has no backtracking: the pattern is taken, and says so in the query."""
    found = convert(GOOD.replace("CommandLine|contains: whoami", "CommandLine|re: '(a+)+$'"))
    assert "(a+)+$" in found.rules[0].query


def test_rules_of_one_file_are_refused_by_themselves() -> None:
    second = GOOD.replace("11111111-1", "22222222-2").replace("level: low", "level: none")
    found = convert(f"{GOOD}---\n{second}")
    assert [rule.name for rule in found.rules] == ["Good"]
    assert (found.refused[0].field, found.refused[0].line) == ("level", 23)


def test_rules_of_older_files_share_what_is_global() -> None:
    shared = "action: global\ntitle: Shared\nlogsource: {product: windows, service: system}\n"
    parts = [f"---\ndetection:\n    sel: {{EventID: {number}}}\n    condition: sel\n" for number in (1, 2)]
    found = convert(shared + "".join(parts))
    assert not found.refused
    assert [rule.query.count(f"EventId == {number}") for number, rule in enumerate(found.rules, 1)] == [1, 1]


def test_what_a_rule_says_of_itself() -> None:
    told = """
description: |
    Uses {{Column}} in its text.
references: [https://example.org/a]
falsepositives: [Administrators, Scripts]
tags: [attack.defense-impairment, attack.t1685, attack.t1059.001, cve.2020-1]
level: critical
"""
    (rule,) = convert(GOOD.replace("level: low\n", told.lstrip())).rules
    assert rule.id == "11111111-1111-4111-8111-111111111111"
    assert (rule.severity, rule.category, rule.period, rule.source) == ("High", "DefenseEvasion", 0, "Sigma")
    assert rule.techniques == ("T1685", "T1059.001")
    assert rule.description == "Uses { {Column} } in its text.\nReference: https://example.org/a"
    assert rule.recommended_action == "Known false positives: Administrators; Scripts"
    assert rule.origin.startswith("title: Good\n")


def test_a_rule_is_readable_kql_over_the_table_of_its_events() -> None:
    (rule,) = convert(GOOD).rules
    assert rule.query.splitlines() == [
        "DeviceProcessEvents",
        '| where ActionType == "ProcessCreated"',
        '    and FolderPath !startswith "/"',
        '    and ProcessCommandLine contains "whoami"',
        '    and FolderPath endswith @"\\cmd.exe"',
    ]
