"""Scheduled rules over stored events: which windows they look at, and what is kept of each look."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.detection.rules import running, schedule
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.models import RuleCursor, RuleRun
from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.rules.running import Interrupted, RuleRunner
from shieldwall.detection.rules.service import RuleService
from shieldwall.devices.models import DeviceGroup
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.hunting import Cancellation, Hunting
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, to_text
from tests.detection.rules.conftest import rule
from tests.telemetry.conftest import Feed, event


class Ruled:
    """A feed with rules over it."""

    def __init__(self, telemetry: TelemetryStore, database: Database) -> None:
        self.feed = Feed(telemetry, database)
        self.tenant = self.feed.tenant
        self.database = database
        self.service = RuleService(database)
        self.runner = RuleRunner(database, Hunting(telemetry), Settings())
        self.actor = Principal(self.tenant, "app", "app", frozenset())
        self._sequence = 0

    def create(self, decision: Decision | None = None, **more: Any) -> Rule:
        values = {"title": "{{FileName}}", "description": "", "query": "DeviceProcessEvents"}
        return self.service.create(self.actor, rule(**(values | {"period": 60} | more)), decision).rule

    def store(self, *names: str, **more: Any) -> None:
        self._sequence += 1
        lines = [event(FileName=name, ReportId=n, **more) for n, name in enumerate(names)]
        self.feed.send(self.feed.batch(self._sequence, *lines))

    def run(self, end: datetime | None = None) -> RuleRun | None:
        """The window that is due, at ``end`` if given."""
        with self.database.session(self.tenant) as session:
            cursor = session.scalars(select(RuleCursor)).one()
            cursor.due = end or cursor.due
            due = cursor.due
        assert due is not None
        return self.runner.run_due(self.tenant, rule().id, due)

    def titles(self) -> list[str]:
        with self.database.read(self.tenant) as session:
            return sorted(session.scalars(select(Alert.title)))

    def due(self, until: datetime) -> list[schedule.Due]:
        return [item for item in schedule.due(self.database, until) if item.tenant_id == self.tenant]


@pytest.fixture
def ruled(telemetry: TelemetryStore, database: Database) -> Ruled:
    return Ruled(telemetry, database)


def test_a_new_rule_looks_at_thirty_days_then_at_each_hour(ruled: Ruled) -> None:
    old = to_text(now() - timedelta(days=20))
    ruled.store("before", Timestamp=old)
    ruled.create()
    assert len(ruled.due(now())) == 1
    first = ruled.run(now())
    assert first is not None
    assert (first.kind, first.rows, first.alerts, first.error) == ("Initial", 1, 1, None)
    assert first.window_end - first.window_start == timedelta(days=30)
    assert ruled.due(now() + timedelta(minutes=59)) == []
    # It happened long ago, but came in now.
    ruled.store("late", Timestamp=old)
    [window] = ruled.due(now() + timedelta(minutes=61))
    assert window.end == first.window_end + timedelta(hours=1)
    second = ruled.runner.run_due(ruled.tenant, rule().id, window.end)
    assert second is not None
    assert (second.kind, second.alerts) == ("Scheduled", 1)
    assert second.window_end - second.window_start == timedelta(hours=4)
    assert ruled.titles() == ["before", "late"]


def test_only_what_came_in_within_the_window_is_looked_at(ruled: Ruled) -> None:
    ruled.create(lookback=60)
    ruled.store("early")
    between = now()
    assert ruled.run(between) is not None
    ruled.store("later")
    with ruled.database.session(ruled.tenant) as session:
        session.scalars(select(RuleCursor)).one().done_until = between
    # A window that ended before it came in does not see it; the next one does, and that one alone.
    run = ruled.run(between + timedelta(microseconds=1))
    assert run is not None
    assert run.alerts == 0
    run = ruled.run(now())
    assert run is not None
    assert run.alerts == 1
    assert ruled.titles() == ["early", "later"]


def test_after_a_pause_each_missed_window_is_looked_at_once(ruled: Ruled) -> None:
    ruled.create()
    start = (now() - timedelta(hours=7)).replace(microsecond=1)
    with ruled.database.session(ruled.tenant) as session:
        cursor = session.scalars(select(RuleCursor)).one()
        cursor.done_until, cursor.due = start, start + timedelta(hours=1)
    while due := ruled.due(now()):
        for window in due:
            assert ruled.runner.run_due(ruled.tenant, rule().id, window.end) is not None
            assert ruled.runner.run_due(ruled.tenant, rule().id, window.end) is None
    runs = sorted(ruled.service.runs(ruled.tenant, rule().id), key=lambda run: run.window_end)
    assert [run.window_end for run in runs] == [start + timedelta(hours=n) for n in range(1, 8)]


def test_a_query_that_fails_is_told_and_its_window_is_done(ruled: Ruled) -> None:
    ruled.store("x")
    many = "| mv-expand range(1, 1000000)"
    ruled.create(query=f"DeviceProcessEvents {many} {many}", title="t")
    before = ruled.due(now())
    run = ruled.run()
    assert run is not None
    assert run.error
    assert ruled.due(now()) != before
    assert ruled.service.get(ruled.tenant, rule().id).last_run is not None


def test_a_rule_for_device_groups_reads_their_rows_only(ruled: Ruled) -> None:
    with ruled.database.session(ruled.tenant) as session:
        session.add_all([DeviceGroup(name="Desks"), DeviceGroup(name="Servers")])
    query = "DeviceProcessEvents | summarize Many = count()"
    ruled.create(Decision(device_groups=["Desks"]), query=query, title="{{Many}} rows")
    ruled.store("a", "b")
    ruled._sequence += 1
    ruled.feed.send(ruled.feed.batch(ruled._sequence, event(ReportId=9), device_group="Desks"))
    ruled.run(now())
    # No device group is told by a row of a summary, but what it counted was theirs.
    assert ruled.titles() == ["1 rows"]


def test_a_rule_that_is_off_is_not_due_and_begins_anew(ruled: Ruled) -> None:
    ruled.create()
    ruled.run(now())
    ruled.service.tune(ruled.actor, rule().id, Decision(enabled=False))
    assert ruled.due(now() + timedelta(days=3)) == []
    ruled.store("while it was off")
    ruled.service.tune(ruled.actor, rule().id, Decision(enabled=True))
    [window] = ruled.due(now() + timedelta(minutes=61))
    assert window.end > now() + timedelta(minutes=59)


def test_rows_that_are_not_held_are_counted(ruled: Ruled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "HELD_ROWS", 3)
    ruled.create()
    ruled.store(*"abcdefgh")
    run = ruled.run(now())
    assert run is not None
    assert (run.rows, run.alerts, run.over_limit) == (8, 3, 5)


def test_what_was_stopped_leaves_nothing_and_is_done_later(ruled: Ruled) -> None:
    ruled.create()
    ruled.store("x")
    stopped = Cancellation()
    stopped.cancelled.set()
    [window] = ruled.due(now())
    with pytest.raises(Interrupted):
        ruled.runner.run_due(ruled.tenant, rule().id, window.end, stopped)
    assert ruled.service.runs(ruled.tenant, rule().id) == []
    assert ruled.run(now()) is not None
    assert ruled.titles() == ["x"]


def test_a_run_on_request_leaves_the_schedule_as_it_is(ruled: Ruled) -> None:
    ruled.create()
    ruled.store("x")
    before = ruled.due(now())
    run = ruled.runner.run_now(ruled.tenant, rule().id)
    assert (run.kind, run.alerts) == ("Manual", 1)
    assert ruled.due(now()) == before
    with pytest.raises(ApiError, match="not found"):
        ruled.runner.run_now(ruled.tenant, "nothing")


def test_a_new_continuous_rule_looks_at_the_past_until_it_is_in_force(ruled: Ruled) -> None:
    ruled.store("x")
    ruled.create(period=0)
    run = ruled.run(now())
    assert run is not None
    assert (run.kind, run.alerts) == ("Initial", 1)
    # What was stored before the rule was looked for in each group.
    [window] = ruled.due(now() + timedelta(minutes=3))
    assert window.end - run.window_end == timedelta(minutes=2)
    ruled.store("y")
    second = ruled.run(now())
    assert second is not None
    assert (second.window_start, second.alerts) == (run.window_end, 1)
    assert ruled.due(now() + timedelta(days=40)) == []


def test_a_join_has_the_entities_of_what_it_shows(ruled: Ruled) -> None:
    query = """
    DeviceProcessEvents
    | join kind=inner (DeviceProcessEvents | summarize Runs = count() by FileName) on FileName
    | project Timestamp, DeviceId, ReportId, FileName, AccountName, Runs
    """
    ruled.create(query=query, title="{{FileName}} ran {{Runs}} times", entities={"User": "AccountName"})
    ruled.store("x", AccountName="root")
    run = ruled.run(now())
    assert run is not None
    assert run.error is None
    assert ruled.titles() == ["x ran 1 times"]
