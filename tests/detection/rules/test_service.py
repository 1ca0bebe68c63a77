"""Rules of a tenant: kept, changed and tuned, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.actions import read_actions
from shieldwall.detection.rules.checking import check, check_times, default_lookback
from shieldwall.detection.rules.deciding import MANAGE
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.service import RuleService
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.state.scope import DeviceScope
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT
from tests.detection.rules.conftest import ANYBODY, rule

DESKS = DeviceScope(frozenset({2}), frozenset({"Desks"}))
LIMITED = Principal(TENANT, "app", "ann@contoso.com", frozenset(), "u1", {MANAGE: DESKS})


def test_a_rule_comes_back_as_it_was_put_in(rules: RuleService) -> None:
    made = rule(
        entities={"User": "AccountName"}, details={"Command": "ProcessCommandLine"}, period=60, lookback=240
    )
    rules.create(ANYBODY, made)
    found = rules.get(TENANT, made.id)
    assert found.rule == made
    assert found.stored is not None
    assert found.stored.created_by == "app"
    assert found.enabled
    assert found.cursor is not None
    assert found.cursor.done_until is None


def test_names_are_unique_however_they_are_written(rules: RuleService) -> None:
    rules.create(ANYBODY, rule())
    with pytest.raises(ApiError, match="named 'CURL and a shell' already") as refused:
        rules.create(ANYBODY, rule(id="other", name="CURL and a shell"))
    assert refused.value.status == 409
    rules.create(ANYBODY, rule(id="other", name="Another"))
    with pytest.raises(ApiError, match="already"):
        rules.replace(ANYBODY, rule(id="other"))
    foreign = Principal(OTHER_TENANT, "app", "app", frozenset())
    rules.create(foreign, rule())


def test_a_new_text_leaves_what_was_decided(rules: RuleService) -> None:
    rules.create(ANYBODY, rule(source="Sigma"))
    rules.tune(ANYBODY, rule().id, Decision(enabled=False, severity="High", device_groups=["Servers"]))
    rules.suppress(ANYBODY, rule().id, "AccountName", "backup", "runs nightly")
    results = rules.import_many(
        ANYBODY, [rule(source="Sigma", query="DeviceProcessEvents | where FileName has 'x'")]
    )
    assert [item.outcome for item in results] == ["updated"]
    found = rules.get(TENANT, rule().id)
    assert found.rule.query == "DeviceProcessEvents | where FileName has 'x'"
    assert (found.enabled, found.severity) == (False, "High")
    assert len(rules.suppressions(TENANT, rule().id)) == 1


def test_an_import_takes_what_it_can_and_says_why_not_the_rest(rules: RuleService) -> None:
    rules.create(ANYBODY, rule(id="own", name="Own"))
    many = [
        rule(source="Sigma"),
        rule(source="Sigma", id="s2", name="Own"),
        rule(source="Sigma", id="s3", name="Three", query="Nowhere"),
        rule(source="Sigma", id="s4", name="Four"),
    ]
    results = rules.import_many(ANYBODY, many)
    assert [item.outcome for item in results] == ["added", "refused", "refused", "added"]
    assert "own has this name" in results[1].reason
    assert "Nowhere" in results[2].reason
    assert [item.outcome for item in rules.import_many(ANYBODY, many[:1])] == ["unchanged"]


def test_every_change_moves_the_revision(rules: RuleService, database: Database) -> None:
    def revision() -> int:
        with database.system_read() as session:
            return rule_set.revision(session)

    seen = [revision()]
    for change in (
        lambda: rules.create(ANYBODY, rule()),
        lambda: rules.replace(ANYBODY, rule(severity="Low")),
        lambda: rules.tune(ANYBODY, rule().id, Decision(enabled=False)),
        lambda: rules.suppress(ANYBODY, rule().id, "AccountName", "x", "known"),
        lambda: rules.unsuppress(ANYBODY, rule().id, rules.suppressions(TENANT, rule().id)[0].id),
        lambda: rules.delete(ANYBODY, rule().id),
    ):
        change()
        seen.append(revision())
    assert seen == sorted(set(seen))


def test_the_set_in_force_has_what_tenants_decided(rules: RuleService, database: Database) -> None:
    foreign = Principal(OTHER_TENANT, "app", "app", frozenset())
    rules.create(ANYBODY, rule())
    rules.create(foreign, rule(title="Theirs"))
    rules.create(ANYBODY, rule(id="off", name="Off"), Decision(enabled=False))
    rules.create(ANYBODY, rule(id="hourly", name="Hourly", period=60))
    rules.tune(ANYBODY, rule().id, Decision(severity="High"))
    with database.system_read() as session:
        loaded = rule_set.load(session)
    mine, theirs = loaded.find(TENANT, rule().id), loaded.find(OTHER_TENANT, rule().id)
    assert mine is not None
    assert mine.rule.severity == "High"
    assert theirs is not None
    assert (theirs.rule.severity, theirs.rule.title) == ("Medium", "Theirs")
    assert loaded.find(TENANT, "off") is None
    watched = [item for item in loaded.continuous() if item.tenants is not None]
    # One query of two tenants is looked for once.
    assert [(item.rule.id, item.tenants) for item in watched] == [
        (rule().id, frozenset({TENANT, OTHER_TENANT}))
    ]


def test_an_editor_stays_within_its_device_groups(rules: RuleService) -> None:
    for groups in (..., None, ["Servers"], ["Servers", "Desks"], []):
        with pytest.raises(ApiError, match="outside the user's device groups"):
            rules.create(LIMITED, rule(), Decision(device_groups=groups))
    rules.create(LIMITED, rule(), Decision(device_groups=["Desks"]))
    with pytest.raises(ApiError, match="outside"):
        rules.tune(LIMITED, rule().id, Decision(device_groups=["Servers"]))
    rules.tune(LIMITED, rule().id, Decision(enabled=False))
    rules.create(ANYBODY, rule(id="all", name="All"))
    for change in (
        lambda: rules.tune(LIMITED, "all", Decision(enabled=False)),
        lambda: rules.replace(LIMITED, rule(id="all", name="All")),
        lambda: rules.delete(LIMITED, "all"),
        lambda: rules.suppress(LIMITED, "all", "AccountName", "x", "known"),
    ):
        with pytest.raises(ApiError, match="outside") as refused:
            change()
        assert refused.value.status == 403
    rules.suppress(LIMITED, "all", "AccountName", "x", "known", device_group="Desks")


def test_another_tenants_rule_is_not_there(rules: RuleService) -> None:
    rules.create(ANYBODY, rule())
    foreign = Principal(OTHER_TENANT, "app", "app", frozenset())
    for use in (
        lambda: rules.get(OTHER_TENANT, rule().id),
        lambda: rules.runs(OTHER_TENANT, rule().id),
        lambda: rules.delete(foreign, rule().id),
        lambda: rules.tune(foreign, rule().id, Decision(enabled=False)),
    ):
        with pytest.raises(ApiError) as refused:
            use()
        assert refused.value.status == 404
    assert rules.list_rules(OTHER_TENANT, builtin=False) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"name": "two\nlines"}, "name must be printable"),
        ({"id": "a b"}, "id must be"),
        ({"title": "two\nlines"}, "title must be printable"),
        ({"query": "DeviceInfo | where OSPlatform == '\ud800'"}, "query must be text"),
        ({"query": "DeviceInfo | where " + "(" * 5000 + "1==1" + ")" * 5000}, "nested too deeply"),
        ({"title": "x" * 501}, "title is longer than 500"),
        ({"severity": "Bad"}, "severity must be one of"),
        ({"techniques": ("1059",)}, "'1059' is not a technique"),
        ({"query": "DeviceProcessEvents\n| where Nothing == 1"}, "Line 2, column 9"),
        ({"query": "x" * 100_001}, "query is longer"),
        ({"title": "{{DeviceId}} {{DeviceName}} {{FileName}} {{SHA1}}"}, "title names more than 3"),
        ({"description": "{{Nothing}}"}, "description: the query's result has no column 'Nothing'"),
        ({"entities": {"Device": "Host"}}, "entities: the query's result has no column 'Host'"),
        ({"entities": {"Planet": "DeviceName"}}, "'Planet' is none of"),
        ({"details": {str(n): "FileName" for n in range(21)}}, "details must be at most 20"),
        ({"period": 4}, "period must be 0"),
        ({"period": 14 * 1440 + 1}, "period must be 0"),
        ({"lookback": 60}, "a continuous rule .* has none"),
        (
            {"query": "DeviceProcessEvents\n| join (DeviceFileEvents) on DeviceId"},
            "'join' cannot stand in a continuous rule.* Line 2, column 3",
        ),
        ({"query": "union DeviceProcessEvents, DeviceFileEvents"}, "reads one table"),
        (
            {"query": "DeviceProcessEvents | where FileName in (DeviceFileEvents | project FileName)"},
            "reads one table",
        ),
    ],
)
def test_a_wrong_rule_is_refused_with_its_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError, match=message) as refused:
        check(rule(**changes))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("period", "lookback", "good"),
    [
        (5, None, True),
        (5, 5, True),
        (5, 2879, True),
        (5, 2880, False),
        (60, 14 * 1440, True),
        (60, 14 * 1440 + 1, False),
        (60, 59, False),
        (1440, 30 * 1440, True),
        (1440, 30 * 1440 + 1, False),
        (14 * 1440, 14 * 1440, True),
    ],
)
def test_how_far_a_rule_may_look_back(period: int, lookback: int | None, good: bool) -> None:
    if good:
        check_times(period, lookback)
        return
    with pytest.raises(ApiError, match="lookback"):
        check_times(period, lookback)


def test_default_lookbacks_are_those_of_the_service() -> None:
    hours = {period: default_lookback(period * 60) // 60 for period in (1, 3, 12, 24)}
    assert hours == {1: 4, 3: 12, 12: 48, 24: 720}


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("Explode", r"actions\[0\].kind must be one of"),
        ({"kind": "BlockFile", "column": "DeviceId"}, r"actions\[0\].column must be one of SHA1"),
        ({"kind": "StopAndQuarantine", "column": "SHA256"}, "must be one of SHA1, InitiatingProcessSHA1"),
        ({"kind": "Isolate", "isolation": "Half"}, "isolation must be one of Full"),
        ({"kind": "Isolate", "device_groups": ["x"]}, "is for BlockFile"),
        ({"kind": "Isolate", "why": 1}, "has no property 'why'"),
        (7, "must be the name of an action"),
    ],
)
def test_a_wrong_action_is_refused(action: Any, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        read_actions([action])


def test_suppressions_are_bounded_and_say_why(rules: RuleService) -> None:
    rules.create(ANYBODY, rule())
    for more, message in (
        ({"reason": ""}, "reason must be"),
        ({"value": "x" * 2049}, "value must be"),
        ({"expires": now() - timedelta(1)}, "lies in the past"),
        ({"device_group": "Nowhere"}, "no device group 'Nowhere'"),
    ):
        given: dict[str, Any] = {"value": "x", "reason": "known"} | more
        with pytest.raises(ApiError, match=message):
            rules.suppress(
                ANYBODY, rule().id, "AccountName", given.pop("value"), given.pop("reason"), **given
            )
