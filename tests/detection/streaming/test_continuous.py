"""Continuous rules look at groups as they are stored; their alerts commit with the group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.detection.rules.deciding import MANAGE
from shieldwall.detection.rules.models import RuleRun
from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.rules.service import RuleService
from shieldwall.detection.streaming import evaluation, statements
from shieldwall.detection.streaming.continuous import ContinuousDetection
from shieldwall.detection.streaming.models import MissedGroup
from shieldwall.devices.models import Device
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from tests.telemetry.conftest import DEVICE, Feed, event


@pytest.fixture
def detection(telemetry: TelemetryStore, database: Database, tmp_path: Path) -> ContinuousDetection:
    return ContinuousDetection(telemetry, database, replace(Settings(), data=tmp_path))


@pytest.fixture
def feed(telemetry: TelemetryStore, database: Database, detection: ContinuousDetection) -> Feed:
    """A tenant with a device, whose events the rules see."""
    found = Feed(telemetry, database, [detection])
    time = now()
    with database.session(found.tenant) as session:
        session.add(
            Device(
                id=DEVICE,
                computer_dns_name="host1",
                first_seen=time,
                last_seen=time,
                last_contact=time,
                public_key="k",
            )
        )
    return found


def put(feed: Feed, query: str, **more: Any) -> Rule:
    """A rule of the feed's tenant."""
    rule = Rule(id=more.pop("id", "r1"), name=query[:60], query=query, title=f"Found: {query[:60]}", **more)
    actor = Principal(feed.tenant, "app", "app", frozenset({MANAGE}))
    RuleService(feed.database).create(actor, rule)
    return rule


def alerts(feed: Feed) -> Sequence[Alert]:
    with feed.database.read(feed.tenant) as session:
        return session.scalars(select(Alert)).all()


WHO = 'DeviceProcessEvents | where FileName endswith "whoami.exe"'


def who(number: int = 1, **more: Any) -> dict[str, Any]:
    return event(FileName="whoami.exe", ProcessId=number, ReportId=number, **more)


def test_a_stored_event_raises_the_alert_of_its_rule(feed: Feed, detection: ContinuousDetection) -> None:
    rule = put(feed, WHO)
    detection.start()
    feed.send(feed.batch(1, who(), event(FileName="other.exe", ReportId=2)))
    (alert,) = alerts(feed)
    assert (alert.title, alert.detector_id) == (rule.title, rule.id)


def test_a_rule_is_only_of_its_tenant(
    feed: Feed, detection: ContinuousDetection, telemetry: TelemetryStore, database: Database
) -> None:
    put(feed, WHO)
    detection.start()
    other = Feed(telemetry, database, [detection])
    other.send(other.batch(1, who()))
    assert not alerts(other)
    assert not alerts(feed)


def test_a_changed_rule_is_in_force_after_a_refresh(feed: Feed, detection: ContinuousDetection) -> None:
    detection.start()
    put(feed, WHO)
    feed.send(feed.batch(1, who(1)))
    assert not alerts(feed)
    assert detection.refresh()
    assert not detection.refresh()
    feed.send(feed.batch(2, who(2)))
    assert len(alerts(feed)) == 1


def test_rows_beyond_what_is_read_are_counted(
    feed: Feed, detection: ContinuousDetection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "ROWS_OF_RULE", 3)
    put(feed, WHO)
    detection.start()
    feed.send(feed.batch(1, *(who(number) for number in range(10))))
    with feed.database.read(feed.tenant) as session:
        run = session.scalars(select(RuleRun)).one()
    assert (run.rows, run.over_limit) == (10, 7)


def test_a_rule_whose_sql_fails_stops_neither_others_nor_the_events(
    feed: Feed, detection: ContinuousDetection
) -> None:
    # What the pattern is differs from row to row, and for this one it is none.
    put(feed, "DeviceProcessEvents | where FileName matches regex ProcessCommandLine", id="bad")
    put(feed, WHO, id="good")
    detection.start()
    feed.send(feed.batch(1, who(1, ProcessCommandLine="(")))
    assert [alert.detector_id for alert in alerts(feed)] == ["good"]
    assert feed.rows("count()") == [(1,)]


def test_compiled_rules_are_kept_for_the_next_start(
    feed: Feed, detection: ContinuousDetection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(feed, WHO)
    detection.start()

    def refuse(query: str) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr("shieldwall.detection.streaming.cache.compile_rule", refuse)
    again = ContinuousDetection(feed.store, feed.database, replace(Settings(), data=tmp_path))
    again.start()
    feed.observers = [again]
    feed.send(feed.batch(1, who()))
    assert len(alerts(feed)) == 1


def test_rows_too_large_to_be_looked_at_together_are_taken_fewer_at_a_time(
    feed: Feed, detection: ContinuousDetection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    run = evaluation._Part.run

    def bounded(part: evaluation._Part, where: str, keys: Mapping[int, statements.Class]) -> None:
        sizes.append(len(keys))
        if len(keys) > 3:
            raise evaluation.ScratchFull
        run(part, where, keys)

    monkeypatch.setattr(evaluation._Part, "run", bounded)
    put(feed, WHO)
    detection.start()
    feed.send(feed.batch(1, *(who(number) for number in range(10))))
    with feed.database.read(feed.tenant) as session:
        assert session.scalars(select(RuleRun)).one().rows == 10
    assert sizes == [10, 5, 2, 3, 5, 2, 3]


def test_a_group_that_could_not_be_looked_at_is_looked_at_later(
    feed: Feed, detection: ContinuousDetection, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(feed, WHO)
    detection.start()
    with monkeypatch.context() as starved:
        starved.setitem(statements._BOUNDS, "max_memory_usage", 1)
        feed.send(feed.batch(1, who()))
    assert feed.rows("count()") == [(1,)]
    assert not alerts(feed)
    assert detection.look_again() == 0, "not due yet"
    with feed.database.system_session() as session:
        session.scalars(select(MissedGroup)).one().next_try = now()
    with monkeypatch.context() as starved:
        starved.setitem(statements._BOUNDS, "max_memory_usage", 1)
        assert detection.look_again() == 0
    with feed.database.system_session() as session:
        missed = session.scalars(select(MissedGroup)).one()
        assert (missed.tries, missed.next_try > now()) == (2, True)
        missed.next_try = now()
    assert detection.look_again() == 1
    assert len(alerts(feed)) == 1
    with feed.database.system_read() as session:
        assert not session.scalars(select(MissedGroup)).all()
