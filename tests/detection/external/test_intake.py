"""Alerts that come twice, change, and come at once: each is one alert, and none is lost."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from shieldwall.alerts.models import Alert
from shieldwall.detection.external import intake
from shieldwall.detection.external.reading import read
from shieldwall.devices.models import Device
from shieldwall.identity.principal import Principal
from shieldwall.times import now, to_text
from tests.detection.external.conftest import WEB, World, connection, suricata
from tests.detection.external.test_resolution import CURL, ours
from tests.telemetry.conftest import Feed


def count(world: World) -> int:
    with world.database.read(world.tenant) as session:
        return session.scalar(select(func.count()).select_from(Alert)) or 0


def test_the_same_alert_is_one_however_often_it_comes(world: World) -> None:
    record = suricata()
    first = world.one(record)
    turned = dict(reversed(record.items()))
    assert [world.one(each).result for each in (record, turned)] == ["duplicate", "duplicate"]
    assert world.alert(first.alert_id).event_count == 1
    assert count(world) == 1


def test_without_an_id_of_its_own_the_content_is_the_alert(world: World) -> None:
    body = ours(title="a")
    assert [each.result for each in world.send(body, body, {**body, "title": "b"})] == [
        "created",
        "duplicate",
        "created",
    ]


def test_the_same_id_of_another_product_is_another_alert(world: World) -> None:
    both = world.send(ours(alertId="1"), ours(alertId="1", product="Other"))
    assert len({each.alert_id for each in both}) == 2


def test_more_events_and_other_words_update_the_alert(world: World) -> None:
    began = now() - timedelta(minutes=10)
    told = ours(alertId="u-1", time=to_text(began), severity="Low", title="Odd", device={"id": WEB})
    first = world.one(told)
    later = {**told, "lastTime": to_text(now()), "severity": "High", "title": "Bad", "techniques": ["T1071"]}
    later["files"] = [{"name": "x", "sha256": "ab" * 32}]
    second = world.one(later)
    assert (second.result, second.alert_id) == ("updated", first.alert_id)
    alert = world.alert(first.alert_id)
    assert (alert.severity, alert.title, alert.event_count) == ("High", "Bad", 2)
    assert alert.mitre_techniques == ["T1071"]
    assert alert.first_event_time == began
    assert alert.last_event_time is not None
    assert alert.last_event_time > began
    assert world.kinds(first.alert_id)["File"] == ["ab" * 32]
    assert world.one(told).result == "duplicate", "an old content that comes again changes nothing"
    assert world.alert(first.alert_id).title == "Bad"
    world.one({**later, "eventCount": 40})
    assert world.alert(first.alert_id).event_count == 40


def test_the_products_status_is_followed_and_analysts_changes_stay(world: World) -> None:
    told = ours(alertId="s-1", device={"id": WEB})
    first = world.one(told)
    with world.database.read(world.tenant) as session:
        assert session.get_one(Device, WEB).risk_score == "High"
    world.one({**told, "status": "Resolved"})
    alert = world.alert(first.alert_id)
    assert alert.status == "Resolved"
    assert alert.resolved_time is not None
    with world.database.read(world.tenant) as session:
        assert session.get_one(Device, WEB).risk_score == "None"
    with world.database.session(world.tenant) as session:
        session.get_one(Alert, first.alert_id).status = "InProgress"
    world.one({**told, "status": "Resolved", "description": "still"})
    assert world.alert(first.alert_id).status == "InProgress", "the product says nothing new of it"
    world.one({**told, "status": "New"})
    assert world.alert(first.alert_id).status == "New"


def test_an_update_tells_the_device_that_was_not_known(world: World) -> None:
    told = ours(alertId="d-1")
    first = world.one(told)
    assert first.machine_id is None
    second = world.one({**told, "device": {"name": "web01"}})
    assert (second.alert_id, second.machine_id) == (first.alert_id, WEB)


def test_an_update_does_not_move_an_alert_to_another_device(world: World) -> None:
    told = ours(alertId="m-1", device={"name": "web01"})
    world.one(told)
    assert world.one({**told, "device": {"name": "db01"}}).machine_id == WEB


def test_the_same_alert_sent_at_once_is_one(world: World) -> None:
    record = suricata()
    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(lambda _: world.one(record), range(6)))
    assert sorted(each.result for each in outcomes) == ["created", *["duplicate"] * 5]
    assert len({each.alert_id for each in outcomes}) == 1
    assert count(world) == 1


def test_what_there_was_no_time_for_is_looked_for_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.report(connection())
    monkeypatch.setattr(intake, "LOOKING_SECONDS", 0.0)
    outcome = world.one(suricata())
    assert (outcome.result, outcome.machine_id) == ("created", None)
    assert world.external.retry() == 1
    assert world.kinds(outcome.alert_id)["Process"] == [CURL]


def test_another_tenant_neither_sees_nor_shares_an_alert(world: World) -> None:
    told: dict[str, Any] = ours(alertId="t-1", device={"id": WEB})
    first = world.one(told)
    neighbour = Principal(Feed(world.store, world.database).tenant, "partner", "partner", frozenset())
    (outcome,) = world.external.take(neighbour, read(json.dumps(told).encode(), None)[0])
    assert (outcome.result, outcome.machine_id) == ("created", None)
    assert outcome.alert_id != first.alert_id
