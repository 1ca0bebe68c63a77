"""Each modifier and form of condition: which events fire, by hand, by a plain evaluator, by the product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.detection.sigma.conftest import Run, StoreEvents, only
from tests.detection.sigma.evaluator import evaluator

EVENTS: list[dict[str, Any]] = [
    {"CommandLine": "powershell.exe -enc SQBFAFgA", "Image": "C:\\Windows\\powershell.exe", "EventID": 4688},
    {"CommandLine": "POWERSHELL.EXE /ENC abc", "Image": "C:\\WINDOWS\\PowerShell.exe", "Port": 443},
    {"CommandLine": "cmd.exe /c echo *star* what?", "Port": "443", "Ip": "10.1.2.3"},
    {"CommandLine": "a\\b \"quoted\" 'single' and\nsecond line", "Port": 8080, "Ip": "192.168.0.1"},
    {"CommandLine": "", "Ip": "fe80::1", "Port": 80},
    {"Image": "C:\\x.exe", "Parent": "c:\\X.EXE", "Ip": "8.8.8.8", "Flag": True},
    {"CommandLine": "Ünïcode ÄÖÜ straße", "Image": "/usr/bin/cat", "Parent": "/usr/bin", "Flag": "true"},
    {"CommandLine": "c2VjcmV0 IHNlY3JldA== zZWNyZX", "Image": "cat", "Parent": "/usr/bin/cat", "Flag": False},
    {"CommandLine": "x s\0e\0c\0 y", "When": "2026-03-05T14:07:09Z", "Value": -2.5},
    {"CommandLine": "x –enc —enc ―enc", "When": "not a time", "Value": "ten", "Ip": "nowhere"},
    {"Nested": {"Inner": "needle in here"}, "Names": ["first", "second one"], "Value": 10},
    {"needle": "the name of a field is no value", "Value": "10", "Nothing": None},
    {"Data": {"#text": ["HostApplication=C:\\Temp\\a.exe", 'second "x"']}, "CommandLine": "100%", "Port": 44},
    {"Data": "HostApplication=C:\\Temp\\a.exe", "Odd-Name.x": "odd", "CommandLine": "aXbYc", "Port": 1443},
    {"CommandLine": "line one\nline two end", "Image": "C:\\a\\b\\c.exe", "Port": "0443"},
]

CASES: list[tuple[str, list[int]]] = [
    # Texts, letter case, wildcards, escapes.
    ("sel: {CommandLine: 'powershell.exe -ENC sqbfafga'}", [0]),
    ("sel: {CommandLine|contains: ENC}", [0, 1, 9]),
    ("sel: {CommandLine|contains|cased: ENC}", [1]),
    ("sel: {CommandLine|startswith: powershell}", [0, 1]),
    ("sel: {CommandLine|startswith|cased: powershell}", [0]),
    ("sel: {CommandLine|endswith: ABC}", [1]),
    ("sel: {CommandLine|cased: 'POWERSHELL.EXE /ENC abc'}", [1]),
    ("sel: {CommandLine: 'power*enc*'}", [0, 1]),
    ("sel: {CommandLine: '?ower*'}", [0, 1]),
    ("sel: {CommandLine: 'a?b?c'}", [13]),
    ("sel: {CommandLine: 'a*c'}", [13]),
    ("sel: {CommandLine|cased: 'aX*c'}", [13]),
    ("sel: {CommandLine|cased: 'ax*c'}", []),
    (r"sel: {CommandLine|contains: '\*star\*'}", [2]),
    (r"sel: {CommandLine|endswith: 'what\?'}", [2]),
    ("sel: {CommandLine|endswith: 'wha?*'}", [2]),
    (r"sel: {CommandLine|contains: 'a\b '}", [3]),
    (r"sel: {CommandLine|contains: 'a\\b '}", [3]),
    (r"sel: {Image|contains: '\\*\'}", [14, 0, 1]),
    ("sel: {CommandLine|contains: '\"quoted\"'}", [3]),
    ("sel: {CommandLine|contains: \"'single' AND\"}", [3]),
    ('sel: {CommandLine|contains: "and\\nsecond"}', [3]),
    ("sel: {CommandLine: 'line*END'}", [14]),
    ("sel: {CommandLine|contains: 'äöü STRASSE'}", []),
    ("sel: {CommandLine|contains: 'äöü STRAßE'}", [6]),
    ("sel: {CommandLine|endswith: 'ÄÖÜ STRAßE'}", [6]),
    ("sel: {CommandLine: ['ÜNÏCODE äöü STRAßE', 'nothing']}", [6]),
    ("sel: {CommandLine: '100%'}", [12]),
    ("sel: {CommandLine: '*'}", [0, 1, 2, 3, 4, 6, 7, 8, 9, 12, 13, 14]),
    ("sel: {CommandLine: '**cmd**'}", [2]),
    ("sel: {Odd-Name.x: ODD}", [13]),
    # Lists.
    ("sel: {CommandLine: ['', 'A*C', 'CMD*']}", [2, 4, 13]),
    ("sel: {CommandLine|contains: [quoted, star]}", [2, 3]),
    ("sel: {CommandLine|contains|all: [quoted, second]}", [3]),
    ("sel: {Port: [80, 8080, '443']}", [1, 2, 3, 4]),
    ("sel: {Names|contains: first}", [10]),
    # Numbers and texts that look like them.
    ("sel: {Port: 443}", [1, 2]),
    ("sel: {Port: '443'}", [1, 2]),
    ("sel: {Port|contains: 44}", [1, 2, 12, 13, 14]),
    ("sel: {Port|startswith: '44'}", [1, 2, 12]),
    ("sel: {Port|gte: 443}", [1, 2, 3, 13, 14]),
    ("sel: {Port|gt: 443}", [3, 13]),
    ("sel: {Port|lt: 80}", [12]),
    ("sel: {Port|lte: 80}", [4, 12]),
    ("sel: {Value|lt: 0}", [8]),
    ("sel: {Value|gte: 10}", [10, 11]),
    ("sel: {EventID: 4688}", [0]),
    ("sel: {EventID: '4688'}", [0]),
    ("sel: {EventID: [4688, 4689]}", [0]),
    ("sel: {EventID|startswith: 46}", [0]),
    ("sel: {Flag: true}", [5, 6]),
    ("sel: {Flag: 'TRUE'}", [5, 6]),
    ("sel: {Flag: false}", [7]),
    # Missing, null and empty.
    ("sel: {CommandLine: null}", [5, 10, 11]),
    ("sel: {CommandLine: ''}", [4]),
    ("sel: {Nothing: null, Value: 10}", [10, 11]),
    ("sel: {CommandLine|exists: true, Ip|exists: true}", [2, 3, 4, 9]),
    ("sel: {CommandLine|exists: false}", [5, 10, 11]),
    ("sel: {CommandLine: [null, 'cmd*']}", [2, 5, 10, 11]),
    # Regular expressions.
    ("sel: {CommandLine|re: 'power.*ENC'}", []),
    ("sel: {CommandLine|re|i: 'power.*ENC'}", [0, 1]),
    ("sel: {CommandLine|re: '(?i)^POWER'}", [0, 1]),
    ("sel: {CommandLine|re: '^second'}", []),
    ("sel: {CommandLine|re|m: '^second'}", [3]),
    ("sel: {CommandLine|re: 'one.line'}", []),
    ("sel: {CommandLine|re|s: 'one.line'}", [14]),
    (r"sel: {Image|re: '\\[a-c]\\'}", [14]),
    (r"sel: {CommandLine|re: '\d{3}%'}", [12]),
    # Networks.
    ("sel: {Ip|cidr: 10.0.0.0/8}", [2]),
    ("sel: {Ip|cidr: [10.0.0.0/8, 192.168.0.0/16, fe80::/10]}", [2, 3, 4]),
    ("sel: {Ip|cidr: 8.8.8.8/32}", [5]),
    ("a: {Ip|exists: true}\nsel: {Ip|cidr: 10.0.0.0/8}\ncondition: a and not sel", [3, 4, 5, 9]),
    # Encodings.
    ("sel: {CommandLine|base64|contains: secret}", [7]),
    ("sel: {CommandLine|base64offset|contains: secret}", [7]),
    ("sel: {CommandLine|wide|contains: sec}", [8]),
    ("sel: {CommandLine|wide|base64|contains: IEX}", [0]),
    ("sel: {CommandLine|wide|base64offset|contains: IEX}", [0]),
    ("sel: {CommandLine|contains|windash: ' -enc'}", [0, 1, 9]),
    ("sel: {CommandLine|windash|contains: ' /enc'}", [0, 1, 9]),
    ("sel: {CommandLine|windash|contains|all: [' -enc', '.exe']}", [0, 1]),
    # Fields compared with fields.
    ("sel: {Image|fieldref: Parent}", [5]),
    ("sel: {Image|fieldref|startswith: Parent}", [5, 6]),
    ("sel: {Parent|fieldref|endswith: Image}", [5, 7]),
    ("sel: {Image|fieldref: Nothing}", []),
    ("a: {Parent|exists: true}\nsel: {Image|fieldref: Parent}\ncondition: a and not sel", [6, 7]),
    # Times.
    ("sel: {When|hour: 14}", [8]),
    ("sel: {When|minute: 7}", [8]),
    ("sel: {When|day: 5}", [8]),
    ("sel: {When|month: 3}", [8]),
    ("sel: {When|year: 2026}", [8]),
    ("sel: {When|week: 10}", [8]),
    ("a: {When|exists: true}\nsel: {When|hour: 14}\ncondition: a and not sel", [9]),
    # Placeholders.
    ("sel: {CommandLine|contains|expand: '%tools%'}", [0, 1, 2]),
    ("sel: {Image|expand: 'C:\\%folder%\\powershell.exe'}", [0, 1]),
    # Opposites: of what is missing or no number, they hold.
    ("sel: {Port|neq: 443, Port|exists: true}", [3, 4, 12, 13, 14]),
    ("a: {Value|exists: true}\nsel: {Value|gt: 5}\ncondition: a and not sel", [8, 9]),
    ("sel: {CommandLine|contains: e}\ncondition: not sel", [4, 5, 7, 10, 11, 12, 13]),
    # Words without a field.
    ("sel: [needle]", [10]),
    ("sel: needle in", [10]),
    ("sel: {'|all': [needle, here]}", [10]),
    ("sel: [second]", [3, 10, 12]),
    ("sel: ['C:\\Temp\\a']", [12, 13]),
    ("sel: ['second \"x\"']", [12]),
    ("sel: ['straße', 'NEEDLE*HERE']", [6, 10]),
    ("sel: [8080]", [3]),
    ("sel: ['and*second']", [3]),
    ("sel: [CommandLine]", []),
    # Values without a name.
    (r"sel: {Data|contains: 'C:\Temp\a.exe'}", [12, 13]),
    ("sel: {Data|contains: 'second \"x\"'}", [12]),
    ("sel: {Data|startswith: HostApplication}", [12, 13]),
    (r"sel: {Data: 'hostapplication=c:\temp\A.exe'}", [12, 13]),
    ("sel: {Data|contains|all: [HostApplication, second]}", [12]),
    ("sel: {Data|endswith: ['\"x\"', 'nothing']}", [12]),
    # Conditions.
    ("a: {Port: 80}\nb: {Port: 8080}\ncondition: a or b", [3, 4]),
    ("a: {Port: 443}\nb: {Ip: '*'}\ncondition: a and not b", [1]),
    ("a: {Port: 443}\nb: {Ip: '*'}\ncondition: not (a or b)", [0, 6, 7, 8, 10, 11, 12, 13, 14]),
    ("sel_a: {Port: 80}\nsel_b: {Port: 8080}\nother: {Port: 443}\ncondition: 1 of sel_*", [3, 4]),
    ("sel_a: {Port: 443}\nsel_b: {Ip: 10*}\ncondition: all of sel_*", [2]),
    ("a: {Port: 443}\nb: {Ip: 10*}\ncondition: all of them", [2]),
    ("a: {Port: 443}\nb: {Ip: 10*}\ncondition: 1 of them and not all of them", [1]),
    ("a: [{Port: 80}, {Port: 443, Ip: 10*}]\ncondition: a", [2, 4]),
    ("a: {Port: 80}\nb: {Port: 8080}\nc: {Port: 44}\ncondition: [a, b or c]", [3, 4, 12]),
    ("a: {Port: 80}\nb: {Port: 8080}\nc: {Ip: f*}\ncondition: a or b and c", [4]),
]  # fmt: skip

PLACEHOLDERS = {"tools": ["powershell", "cmd"], "folder": ["Linux", "windows"]}


def rule_of(detection: str) -> str:
    condition = "" if "condition:" in detection else "\n    condition: sel"
    inner = detection.replace("\n", "\n    ")
    return (
        "title: A case\nid: 7b6b1e1c-5d0c-4a52-9b5c-1f3f1f0d2a01\n"
        "logsource: {product: windows, service: security}\n"
        f"detection:\n    {inner}{condition}\n"
    )


@pytest.fixture(scope="module")
def tenant(store_events: StoreEvents) -> str:
    """A tenant with the events."""
    return store_events(EVENTS)


@pytest.mark.parametrize(("detection", "expected"), CASES, ids=[case[0][:60] for case in CASES])
def test_an_event_fires_by_the_evaluator_and_by_the_product(
    tenant: str, run: Run, detection: str, expected: list[int]
) -> None:
    text = rule_of(detection)
    fires = evaluator(yaml.safe_load(text), PLACEHOLDERS)
    plain = [number for number, event in enumerate(EVENTS) if fires(_plain({"EventID": 1, **event}))]
    assert plain == sorted(expected), "the evaluator"
    rule = only(text, placeholders=PLACEHOLDERS)
    found = sorted(row["ReportId"] for row in run(tenant, rule.query))
    assert found == sorted(expected), rule.query


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """Values without a name as a list."""
    data = event.get("Data")
    return {**event, "Data": data["#text"]} if isinstance(data, dict) else dict(event)
