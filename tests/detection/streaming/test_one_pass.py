"""All rules in one pass find what each finds alone, whatever the rules and the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shieldwall.detection.streaming.cache import RuleCache
from shieldwall.detection.streaming.compiling import CompiledRule, compile_rule
from shieldwall.detection.streaming.evaluation import ROWS_OF_RULE
from shieldwall.detection.streaming.matching import WatchedRules, find_one_by_one
from shieldwall.detection.streaming.narrowing import MANY
from shieldwall.detection.streaming.needles import FEW
from shieldwall.telemetry.hunting import Hunting
from shieldwall.telemetry.store import TelemetryStore

from .conftest import watched

WORDS = (
    *(
        "cmd.exe",
        "CMD.EXE",
        "\\cmd.exe",
        "C:\\Windows\\cmd.exe",
        "who",
        "whoami",
        "who\\ami",
        "a\\b",
        "a\\\\b",
    ),
    *(
        "k",
        "\u212aelvin",
        "kelvin",
        "\u017fink",
        "sink",
        "\u0130x",
        "ix",
        "\u00c4rger",
        "\u00e4rger",
        "\u20ac5",
    ),
    *(
        "x\ny",
        "x\\ny",
        '"',
        'say "hi"',
        "/etc/passwd",
        "{",
        "null",
        "true",
        "\U0001f600",
        "\x01",
        "",
        "\x02cmd.exe",
        "who\x03",
        "<",
    ),
    *("5", "42", "4624", "1.5", "-enc", "enc AAA="),
)
KEYS = ("Pipe", "pipe", "a b", "N")

words = st.sampled_from(WORDS)
texts = st.one_of(words, st.tuples(words, words).map("".join), st.tuples(words, words, words).map(" ".join))
scalars = st.one_of(
    texts, st.integers(-50, 5000), st.booleans(), st.none(), st.sampled_from((1.5, 4624.0, 1e300))
)
members = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2)
)


def written(value: Any, style: int) -> str:
    """JSON as one or another sender writes it."""
    text = json.dumps(
        value, ensure_ascii=style % 2 == 0, separators=(",", ":") if style < 2 else (", ", ": ")
    )
    return text.replace("/", "\\/") if style == 3 else text


documents = st.builds(written, st.dictionaries(st.sampled_from(KEYS), members, max_size=3), st.integers(0, 3))
rows = st.fixed_dictionaries(
    {
        "FileName": texts,
        "ProcessCommandLine": texts,
        "ActionType": st.sampled_from(("ProcessCreated", "OpenProcess", "")),
        "ProcessId": st.one_of(st.none(), st.sampled_from((0, 5, 42, 4624))),
        "AdditionalFields": st.one_of(documents, texts),
    }
)

OPERATORS = (
    *(
        "==",
        "=~",
        "!=",
        "!~",
        "contains",
        "!contains",
        "contains_cs",
        "has",
        "has_cs",
        "hasprefix",
        "hassuffix",
    ),
    *("startswith", "startswith_cs", "endswith", "endswith_cs", "!startswith", "!endswith", "!contains"),
)
columns = st.sampled_from(("FileName", "ProcessCommandLine", "ActionType", "AdditionalFields"))
operands = st.one_of(
    columns,
    st.sampled_from([f"AdditionalFields[{json.dumps(key)}]" for key in KEYS]),
    st.sampled_from(
        (
            "AdditionalFields.Pipe",
            "AdditionalFields.Pipe.N",
            "parse_json(AdditionalFields).N",
            "tostring(AdditionalFields.Pipe)",
            "parse_json(tostring(AdditionalFields.Pipe)).N",
            "tolower(FileName)",
            "toupper(FileName)",
            "tostring(split(ProcessCommandLine, '\\\\')[0])",
            "trim('[ae]', ProcessCommandLine)",
            "extract('(w.*)', 1, ProcessCommandLine)",
            "strcat(FileName, 'k')",
            "coalesce(AdditionalFields.Pipe, AdditionalFields.N)",
            "Lower",
            "Member",
        )
    ),
)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


PATTERNS = (
    *(
        "(?i)WHO(ami)?",
        "a\\\\b",
        "k[eE]lvin|sink",
        "^(cmd|who)",
        "[Cc]md\\.exe$",
        "x.y",
        "(?s)x.y",
        "who(ami|x)+",
    ),
    *(".*", "5{2}|42", "\\u00c4rger", "(?i)\u00c4RGER", 'say "', "[[:alpha:]]nc"),
)
NUMBERED = ("ProcessId", "AdditionalFields.N", "AdditionalFields.Pipe")
LISTS = ("in", "in~", "!in", "!in~", "has_any", "has_all")
numbers = st.sampled_from(("0", "5", "42", "4624", "-5"))
lists = st.lists(texts.map(quoted), max_size=3).map(", ".join)


def joined(*parts: Any) -> Any:
    """Texts and strategies of them as one text."""
    made = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*made).map(" ".join)


atoms = st.one_of(
    joined(operands, st.sampled_from(OPERATORS), texts.map(quoted)),
    joined(operands, st.sampled_from(LISTS), "(", lists, ")"),
    joined(operands, "matches regex", st.sampled_from(PATTERNS).map(quoted)),
    joined(st.sampled_from(NUMBERED), st.sampled_from(("==", "!=")), numbers),
    joined("ProcessId in (", st.lists(numbers, min_size=1, max_size=3).map(", ".join), ")"),
    joined(st.sampled_from(("isnotempty(", "isempty(")), operands, ")"),
    joined(columns, "==", columns),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"({a} and {b})", inner, inner),
        st.builds(lambda a, b: f"({a} or {b})", inner, inner),
        st.builds(lambda a: f"not({a})", inner),
    ),
    max_leaves=6,
)
MADE = "extend Lower = tolower(ProcessCommandLine), Member = tostring(AdditionalFields.Pipe)"
KIND = 'ActionType == "ProcessCreated" and '
queries = st.one_of(
    st.builds(lambda a: f"DeviceProcessEvents | {MADE} | where {KIND}({a})", conditions),
    st.builds(lambda a: f"DeviceProcessEvents | {MADE} | where {a}", conditions),
    st.builds(
        lambda a, b: (
            f"DeviceProcessEvents | {MADE} | where {a} | project FileName, ProcessCommandLine, "
            f"ActionType, AdditionalFields, ProcessId, Lower = strcat(Lower, ''), Member | where {b}"
        ),
        conditions,
        conditions,
    ),
    st.builds(
        lambda a: f"DeviceProcessEvents | where {a} | project-away FileSize",
        conditions.filter(lambda text: "Lower" not in text and "Member" not in text),
    ),
)


def stored(store: TelemetryStore, made: Iterable[dict[str, Any]]) -> str:
    """A new tenant with these rows, some of which have the same key."""
    tenant = str(uuid4())
    begin = datetime.now(UTC) - timedelta(hours=1)
    store.insert_rows(
        "DeviceProcessEvents",
        tenant,
        [
            {"Timestamp": begin + timedelta(seconds=number // 3), "DeviceId": "d", "ReportId": None, **row}
            for number, row in enumerate(made)
        ],
    )
    return tenant


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(made=st.lists(rows, min_size=5, max_size=40), asked=st.lists(queries, min_size=5, max_size=25))
def test_one_pass_finds_what_each_rule_finds_alone(
    telemetry: TelemetryStore, made: list[dict[str, Any]], asked: list[str]
) -> None:
    agree(telemetry, made, asked)


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(made=st.lists(rows, min_size=5, max_size=40), asked=st.lists(queries, min_size=5, max_size=25))
def test_one_pass_finds_what_each_rule_finds_alone_at_length(
    telemetry: TelemetryStore, made: list[dict[str, Any]], asked: list[str]
) -> None:
    agree(telemetry, made, asked)


def agree(store: TelemetryStore, made: list[dict[str, Any]], asked: list[str]) -> None:
    tenant = stored(store, made)
    where = f"TenantId = '{tenant}'"
    compiled = RuleCache()
    rules = WatchedRules(watched(*asked), compiled)
    found = rules.find(store, "DeviceProcessEvents", where)
    assert not found.failed
    assert not rules.refused
    one_pass = {query: found.counts.get((tenant, query), 0) for query in asked}
    known = [rule for query in set(asked) if isinstance(rule := compiled.get(query), CompiledRule)]
    alone = find_one_by_one(store, known, where)
    assert one_pass == {query: alone.get(query, 0) for query in asked}


def test_the_rows_are_those_that_hunting_finds(telemetry: TelemetryStore) -> None:
    made = [{"FileName": name, "ProcessCommandLine": name, "AdditionalFields": "{}"} for name in WORDS]
    tenant = stored(telemetry, made)
    extended = "extend L = tolower(FileName) | project FileName, L"
    query = f'DeviceProcessEvents | where FileName contains "w" | {extended}'
    hunting = Hunting(telemetry)
    with hunting.hunt(tenant, query, hunting.limits) as hunt:
        hunted = sorted(map(tuple, hunt.rows))
    rules = WatchedRules(watched(query), RuleCache())
    hits = rules.find(telemetry, "DeviceProcessEvents", "1").hits
    assert sorted((hit.row["FileName"], hit.row["L"]) for hit in hits if hit.tenant_id == tenant) == hunted
    assert len(hunted) == 6


def test_compiled_rules_are_the_same_from_data() -> None:
    rule = compile_rule(
        'DeviceEvents | where FileName == "a" or (FileName has "bc" and ReportId == 5) | project FileName'
    )
    assert CompiledRule.from_data(json.loads(json.dumps(rule.data()))) == rule


def test_many_texts_are_found_in_whatever_order_they_are_searched(telemetry: TelemetryStore) -> None:
    tools = [f"tool{number:03}.exe" for number in range(2 * FEW)]
    made = [{"FileName": tool, "ProcessCommandLine": f"start {tool} now"} for tool in tools[::2]]
    where = f"TenantId = '{stored(telemetry, made)}'"
    rules = WatchedRules(
        watched(*(f'DeviceProcessEvents | where ProcessCommandLine has "{tool}"' for tool in tools)),
        RuleCache(),
    )
    assert [each.is_kept for each in rules.scans["DeviceProcessEvents"].needles] == [True]
    before = rules.find(telemetry, "DeviceProcessEvents", where).counts
    assert sorted(before.values()) == [1] * FEW
    rules.scans["DeviceProcessEvents"] = rules.scans["DeviceProcessEvents"].turned(0)
    assert rules.find(telemetry, "DeviceProcessEvents", where).counts == before
    with telemetry.writer() as client:
        rules.warm(client)
    assert rules.find(telemetry, "DeviceProcessEvents", where).counts == before


def test_a_rule_of_many_candidates_finds_only_its_rows(telemetry: TelemetryStore) -> None:
    made = [{"FileName": f"f{number}", "ProcessId": number} for number in range(2 * MANY)]
    one, other = (stored(telemetry, made) for _ in range(2))
    queries = [
        'DeviceProcessEvents | where FileName startswith "f" and strlen(FileName) == 2',
        'DeviceProcessEvents | where FileName == "f7"',
    ]
    rules = WatchedRules(watched(*queries), RuleCache())
    found = rules.find(telemetry, "DeviceProcessEvents", f"TenantId IN ('{one}', '{other}')")
    assert sorted(found.counts.values()) == [1, 1, 10, 10]
    assert {hit.row["FileName"] for hit in found.hits} == {f"f{number}" for number in range(10)}


def test_rows_of_many_that_are_not_read_out_are_counted(telemetry: TelemetryStore) -> None:
    made = [
        {"FileName": "f", "ProcessId": number, "DeviceName": f"d{number % 2}"} for number in range(2 * MANY)
    ]
    tenant = stored(telemetry, made)
    query = 'DeviceProcessEvents | where FileName == "f" and ProcessId < 900'
    found = WatchedRules(watched(query), RuleCache()).find(
        telemetry, "DeviceProcessEvents", f"TenantId = '{tenant}'"
    )
    assert list(found.counts.values()) == [900]
    assert [*found.devices.values()] == [{"d0": 450, "d1": 450}]
    assert ROWS_OF_RULE <= len(found.hits) < ROWS_OF_RULE + 3, "of the last key all rows are read"
