"""Correlations: which groups they find, with the boundaries of their spans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shieldwall.detection.sigma.conversion import Converted
from tests.detection.sigma.conftest import Run, StoreEvents, convert

START = datetime(2026, 3, 5, 23, 58, tzinfo=UTC)
BASE = """
title: Failed logon
name: failed
id: 00000000-0000-4000-8000-000000000001
logsource: {product: windows, service: security}
detection:
    sel: {EventID: 4625}
    condition: sel
---
title: Logon
name: success
id: 00000000-0000-4000-8000-000000000002
logsource: {product: windows, service: security}
detection:
    sel: {EventID: 4624}
    condition: sel
---
title: Account made
name: made
id: 00000000-0000-4000-8000-000000000003
logsource: {product: windows, service: security}
detection:
    sel: {EventID: 4720}
    condition: sel
"""


def correlation(body: str, title: str = "Correlation", name: str = "outer") -> str:
    inner = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"---\ntitle: {title}\nname: {name}\ncorrelation:\n{inner}\nlevel: high\n"


def events(*listed: tuple[int, int, str] | tuple[int, int, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds after the start, event id, user, and other fields."""
    return [
        {
            "Timestamp": START + timedelta(seconds=item[0]),
            "EventID": item[1],
            "User": item[2],
            **(item[3] if len(item) > 3 else {}),
        }
        for item in listed
    ]


@pytest.fixture
def found(store_events: StoreEvents, run: Run) -> Any:
    """The groups, as users, that the one correlation of rules finds among events."""

    def find(body: str, listed: list[dict[str, Any]], column: str = "User") -> list[str]:
        tenant = store_events(listed)
        converted = convert(BASE + correlation(body))
        assert not converted.refused, converted.refused
        rule = next(rule for rule in converted.rules if rule.name == "Correlation")
        return sorted(str(row[column]) for row in run(tenant, rule.query))

    return find


COUNT = """
type: event_count
rules: failed
group-by: [User]
timespan: 60s
condition: {gte: 3}
"""


def test_so_many_events_within_the_span_and_no_later(found: Any) -> None:
    listed = events(
        (0, 4625, "ann"), (30, 4625, "ann"), (60, 4625, "ann"),
        (0, 4625, "bob"), (30, 4625, "bob"), (61, 4625, "bob"),
        (5, 4625, "cat"), (6, 4625, "cat"), (7, 4624, "cat"),
        # Across an hour, a day, and what a table of minutes would part.
        (115, 4625, "dan"), (125, 4625, "dan"), (170, 4625, "dan"),
    )  # fmt: skip
    assert found(COUNT, listed) == ["ann", "dan"]


def test_events_without_a_group_belong_to_none(found: Any) -> None:
    listed = [{**event, "User": None} for event in events(*[(place, 4625, "") for place in range(5)])]
    assert found(COUNT, listed) == []
    assert found(COUNT.replace("group-by: [User]\n", ""), listed, "DeviceId") == ["d" * 40]


def test_no_group_and_too_few_events_is_no_row(found: Any) -> None:
    assert found(COUNT.replace("group-by: [User]\n", ""), events((0, 4625, "ann")), "DeviceId") == []


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{gt: 2}", ["many"]),
        ("{gte: 1}", ["many", "one", "two"]),
        ("{eq: 2}", ["many", "two"]),
        ("{lt: 2}", ["many", "one", "two"]),
        ("{neq: 1}", ["many", "two"]),
    ],
)
def test_other_conditions_hold_at_the_end_of_a_window(
    found: Any, condition: str, expected: list[str]
) -> None:
    listed = events(
        (0, 4625, "one"), (0, 4625, "two"), (9, 4625, "two"),
        (0, 4625, "many"), (5, 4625, "many"), (9, 4625, "many"),
    )  # fmt: skip
    assert found(COUNT.replace("{gte: 3}", condition), listed) == expected


def test_events_of_several_rules_count_together(found: Any) -> None:
    body = COUNT.replace("rules: failed", "rules: [failed, success]")
    listed = events((0, 4625, "ann"), (1, 4624, "ann"), (2, 4624, "ann"), (0, 4625, "bob"), (1, 4720, "bob"))
    assert found(body, listed) == ["ann"]


VALUES = """
type: value_count
rules: failed
group-by: User
timespan: 1m
condition: {field: Ip, gte: 3}
"""


def test_different_values_within_the_span(found: Any) -> None:
    listed = events(
        *[(place, 4625, "ann", {"Ip": f"10.0.0.{place % 2}"}) for place in range(9)],
        *[(place * 25, 4625, "bob", {"Ip": f"10.0.0.{place}"}) for place in range(3)],
        *[(place * 31, 4625, "cat", {"Ip": f"10.0.0.{place}"}) for place in range(4)],
        *[(place * 30, 4625, "dan", {"Ip": f"10.0.0.{place}"}) for place in range(3)],
        *[(place, 4625, "eve", {}) for place in range(3)],
    )
    assert found(VALUES, listed) == ["bob", "dan"]


def test_sums_and_averages_of_values(found: Any) -> None:
    listed = events(
        *[(place, 4625, "ann", {"Ip": "40"}) for place in range(3)],
        *[(place * 40, 4625, "bob", {"Ip": 40}) for place in range(3)],
    )
    body = VALUES.replace("value_count", "value_sum").replace("gte: 3", "gt: 100")
    assert found(body, listed) == ["ann"]
    average = VALUES.replace("value_count", "value_avg").replace("gte: 3", "gte: 40")
    assert found(average, listed) == ["ann", "bob"]
    percentile = VALUES.replace("value_count", "value_percentile").replace("gte: 3", "percentile: 95, gt: 40")
    assert found(percentile, listed) == []
    median = VALUES.replace("value_count", "value_median").replace("gte: 3", "lt: 41")
    assert found(median, listed) == ["ann", "bob"]


TEMPORAL = """
type: temporal
rules: [failed, success, made]
group-by: [User]
timespan: 60s
"""


def test_all_rules_within_the_span_in_any_order(found: Any) -> None:
    listed = events(
        (0, 4720, "ann"), (20, 4625, "ann"), (60, 4624, "ann"),
        (0, 4720, "bob"), (20, 4625, "bob"), (61, 4624, "bob"),
        (0, 4720, "cat"), (20, 4625, "cat"), (21, 4625, "cat"),
        (90, 4720, "dan"), (130, 4625, "dan"), (140, 4624, "dan"),
    )  # fmt: skip
    assert found(TEMPORAL, listed) == ["ann", "dan"]
    assert found(TEMPORAL + "condition: {gte: 2}", listed) == ["ann", "bob", "cat", "dan"]


def test_an_extended_condition_of_rules(found: Any) -> None:
    listed = events(
        (0, 4625, "ann"), (20, 4624, "ann"),
        (0, 4625, "bob"), (20, 4624, "bob"), (10, 4720, "bob"),
        (0, 4625, "cat"),
    )  # fmt: skip
    body = TEMPORAL + "condition: failed and success and not made"
    assert found(body, listed) == ["ann"]
    assert found(TEMPORAL + "condition: (made or success) and failed", listed) == ["ann", "bob"]


def test_rules_in_order(found: Any) -> None:
    listed = events(
        (0, 4625, "ann"), (20, 4624, "ann"), (60, 4720, "ann"),
        (0, 4625, "bob"), (20, 4624, "bob"), (61, 4720, "bob"),
        (0, 4624, "cat"), (20, 4625, "cat"), (30, 4720, "cat"),
        # The first attempt is too early; a later one is not.
        (0, 4625, "dan"), (90, 4625, "dan"), (100, 4624, "dan"), (140, 4720, "dan"),
        (0, 4625, "eve"), (30, 4720, "eve"), (40, 4624, "eve"),
    )  # fmt: skip
    assert found(TEMPORAL.replace("temporal", "temporal_ordered"), listed) == ["ann", "dan"]


def test_an_alias_is_the_field_that_each_rule_has(found: Any) -> None:
    body = """
type: temporal
rules: [failed, success]
group-by: [Who]
timespan: 1m
aliases:
    Who: {failed: User, success: Subject}
"""
    listed = events((0, 4625, "ann"), (1, 4624, "x", {"Subject": "ann"}), (0, 4625, "bob"), (1, 4624, "bob"))
    assert found(body, listed, "Who") == ["ann"]


def test_a_correlation_of_a_correlation(store_events: StoreEvents, run: Run) -> None:
    listed = events(
        (0, 4625, "ann"), (1, 4625, "ann"), (2, 4625, "ann"), (40, 4624, "ann"),
        (0, 4625, "bob"), (1, 4625, "bob"), (40, 4624, "bob"),
        (5, 4624, "cat"), (10, 4625, "cat"), (11, 4625, "cat"), (12, 4625, "cat"),
    )  # fmt: skip
    inner = correlation(COUNT, "Many failures", "many")
    outer = """
type: temporal_ordered
rules: [many, success]
group-by: [User]
timespan: 5m
"""
    converted = convert(BASE + inner + correlation(outer))
    assert [rule.name for rule in converted.rules] == ["Account made", "Correlation"]
    rows = run(store_events(listed), converted.rules[1].query)
    assert [row["User"] for row in rows] == ["ann"]
    # From the first failure that is seen to the last event both spans may lie.
    assert converted.rules[1].lookback == 11


def test_a_rule_that_is_part_of_a_correlation_alerts_by_itself_only_if_told(found: Any) -> None:
    converted = convert(BASE + correlation(COUNT))
    assert [rule.name for rule in converted.rules] == ["Logon", "Account made", "Correlation"]
    told = convert(BASE + correlation(COUNT + "generate: true"))
    assert len(told.rules) == 4
    rule = converted.rules[-1]
    assert (rule.period, rule.lookback, rule.severity) == (5, 6, "High")
    assert rule.details == {"User": "User"}


def only_problem(converted: Converted) -> tuple[str, str]:
    """Field and reason of the refusal of the correlation; its rules are refused with it."""
    found = [item for item in converted.refused if item.title == "Correlation"]
    assert len(found) == 1, converted.refused
    return found[0].field, found[0].reason


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (COUNT.replace("failed", "missing"), "correlation.rules"),
        (COUNT.replace("60s", "sixty"), "correlation.timespan"),
        (COUNT.replace("60s", "40d"), "correlation.timespan"),
        (COUNT.replace("event_count", "other"), "correlation.type"),
        (COUNT.replace("{gte: 3}", "{gte: 99999999}"), "correlation.condition"),
        (COUNT.replace("{gte: 3}", "{most: 3}"), "correlation.condition"),
        (TEMPORAL.replace("temporal", "temporal_ordered") + "condition: {gte: 2}", "correlation.condition"),
        (VALUES.replace("value_count", "value_percentile"), "correlation.condition"),
        (COUNT.replace("failed", "outer"), "correlation.rules"),
        (COUNT + "aliases: {User: {success: User}}", "correlation.aliases"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(body: str, field: str) -> None:
    assert only_problem(convert(BASE + correlation(body)))[0] == field


def test_the_rules_of_a_refused_correlation_are_told() -> None:
    converted = convert(BASE + correlation(COUNT.replace("60s", "40d")))
    assert [rule.name for rule in converted.rules] == ["Logon", "Account made"]
    told = next(item for item in converted.refused if item.title == "Failed logon")
    assert told.reason == "it is part of the correlation 'Correlation', which was refused"
