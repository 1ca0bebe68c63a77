"""Stored events that touch an indicator become alerts, once, with their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.detection import hits
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.lookback import Lookback
from shieldwall.detection.models import Indicator, IndicatorChange
from shieldwall.settings import Settings
from shieldwall.times import now, to_text
from tests.conftest import OTHER_TENANT
from tests.telemetry.conftest import Feed, event

from .conftest import Put, principal

SHA1, SHA256, MD5 = "1" * 40, "2" * 64, "3" * 32


def process(pid: int, parent: int = 50, **more: Any) -> dict[str, Any]:
    """An execution of ``pid`` by ``parent``, both with fixed starts."""
    columns = {
        "ProcessId": pid,
        "ProcessCreationTime": start(pid),
        "FileName": f"program{pid}",
        "FolderPath": f"/opt/program{pid}",
        "ProcessCommandLine": f"program{pid} --run",
        "AccountName": "root",
        "AccountDomain": "host1",
        "InitiatingProcessAccountName": "root",
        "InitiatingProcessId": parent,
        "InitiatingProcessCreationTime": start(parent),
        "InitiatingProcessFileName": f"program{parent}",
        "InitiatingProcessFolderPath": f"/opt/program{parent}",
    }
    return event(**(columns | more))


BEGIN = now() - timedelta(minutes=5)


def start(pid: int) -> str:
    return to_text(BEGIN + timedelta(seconds=pid % 1000))


def alerts(feed: Feed) -> Sequence[Alert]:
    with feed.database.read(feed.tenant) as session:
        return session.scalars(select(Alert).order_by(Alert.title)).all()


def evidence(feed: Feed) -> Sequence[Evidence]:
    with feed.database.read(feed.tenant) as session:
        return session.scalars(select(Evidence).order_by(Evidence.id)).all()


def incidents(feed: Feed) -> Sequence[Incident]:
    with feed.database.read(feed.tenant) as session:
        return session.scalars(select(Incident).order_by(Incident.id)).all()


@pytest.mark.parametrize(
    ("kind", "value", "columns"),
    [
        ("FileSha1", SHA1, {"SHA1": SHA1}),
        ("FileSha256", SHA256.upper(), {"SHA256": SHA256}),
        ("FileMd5", MD5, {"MD5": MD5}),
        ("FileSha256", SHA256, {"InitiatingProcessSHA256": SHA256}),
    ],
)
def test_files_are_matched_by_every_hash(
    watched: Feed, put: Put, kind: str, value: str, columns: dict[str, str]
) -> None:
    put(kind, value, severity="High")
    watched.send(watched.batch(1, process(100, **columns), process(101)))
    (alert,) = alerts(watched)
    assert (alert.severity, alert.detection_source, alert.computer_dns_name) == (
        "High",
        "CustomerTI",
        "host1",
    )
    kinds = {item.entity_type: item for item in evidence(watched)}
    assert {"File", "Process", "User"} <= set(kinds)
    assert kinds["Process"].process_id == (50 if "InitiatingProcessSHA256" in columns else 100)
    assert kinds["File"].detection_status == "Detected"


@pytest.mark.parametrize(
    ("kind", "value", "columns", "hit"),
    [
        ("IpAddress", "203.0.113.9", {"RemoteIP": "203.0.113.9"}, True),
        ("IpAddress", "2001:db8::1", {"RemoteIP": "2001:db8::1"}, True),
        ("DomainName", "evil.example", {"RemoteUrl": "www.EVIL.example"}, True),
        ("DomainName", "evil.example", {"RemoteUrl": "https://evil.example:8443/x"}, True),
        ("DomainName", "evil.example", {"RemoteUrl": "notevil.example"}, False),
        ("DomainName", "evil.example", {"RemoteUrl": "evil.example.org"}, False),
        ("Url", "http://evil.example/Drop", {"RemoteUrl": "https://evil.example/Drop/file.bin?x=1"}, True),
        ("Url", "http://evil.example/Drop", {"RemoteUrl": "https://evil.example/Dropped"}, False),
        ("Url", "http://evil.example/Drop", {"RemoteUrl": "evil.example"}, False),
    ],
)
def test_destinations_are_matched_as_documented(
    watched: Feed, put: Put, kind: str, value: str, columns: dict[str, str], hit: bool
) -> None:
    put(kind, value)
    row = process(100, Table="DeviceNetworkEvents", ActionType="ConnectionSuccess", **columns)
    watched.send(watched.batch(1, row))
    assert len(alerts(watched)) == hit


def test_an_allowed_file_raises_nothing_and_the_stronger_hash_decides(watched: Feed, put: Put) -> None:
    put("FileSha1", SHA1, "Block")
    put("FileSha256", SHA256, "Allowed")
    watched.send(watched.batch(1, process(100, SHA1=SHA1, SHA256=SHA256)))
    assert alerts(watched) == []
    watched.send(watched.batch(2, process(101, SHA1=SHA1)))
    assert len(alerts(watched)) == 1


def test_scope_expiry_tenant_and_the_alert_switch_are_kept(
    watched: Feed, put: Put, service: IndicatorService
) -> None:
    put("FileSha1", SHA1, rbacGroupNames=["Clients"])
    put("FileMd5", MD5, "Block", generateAlert=False)
    foreign = {"indicatorType": "FileSha256", "indicatorValue": SHA256, "action": "Audit", "title": "x"}
    service.create_or_update(OTHER_TENANT, principal(OTHER_TENANT), foreign)
    watched.send(watched.batch(1, process(100, SHA1=SHA1, SHA256=SHA256, MD5=MD5, MachineGroup="Clients")))
    assert alerts(watched) == []


def test_a_burst_is_one_alert_and_a_replay_none(watched: Feed, put: Put) -> None:
    put("FileSha1", SHA1)
    burst = [process(100 + number, SHA1=SHA1) for number in range(20)]
    watched.send(watched.batch(1, *burst))
    (alert,) = alerts(watched)
    assert alert.event_count == 20
    before = len(evidence(watched))
    watched.send(watched.batch(2, *burst))
    (again,) = alerts(watched)
    assert (again.id, again.event_count, len(evidence(watched))) == (alert.id, 20, before)


def test_what_an_agent_refused_is_prevented(watched: Feed, put: Put) -> None:
    put("FileSha256", SHA256, "Block")
    refused = process(
        100,
        Table="DeviceEvents",
        ActionType="AntivirusDetection",
        SHA256=SHA256,
        AdditionalFields={"WasExecutingWhileDetected": False},
    )
    watched.send(watched.batch(1, refused))
    (alert,) = alerts(watched)
    assert "stopped" in alert.description
    assert {item.detection_status for item in evidence(watched) if item.entity_type == "File"} == {
        "Prevented"
    }


def test_alerts_of_one_process_tree_are_one_incident(watched: Feed, put: Put) -> None:
    put("FileSha1", SHA1)
    put("IpAddress", "203.0.113.9", severity="High")
    put("FileMd5", MD5)
    beacon = process(
        300, 200, Table="DeviceNetworkEvents", ActionType="ConnectionSuccess", RemoteIP="203.0.113.9"
    ) | {"InitiatingProcessId": 200, "InitiatingProcessCreationTime": start(200)}
    watched.send(watched.batch(1, process(200, 150, SHA1=SHA1)))
    watched.send(watched.batch(2, beacon))
    watched.send(watched.batch(3, process(700, 600, MD5=MD5)))
    together, apart = incidents(watched)
    assert together.severity == "High"
    assert together.name == "Multi-stage incident involving Malware & Command and control on host1"
    assert {alert.incident_id for alert in alerts(watched)} == {together.id, apart.id}


def test_a_linking_alert_merges_incidents(watched: Feed, put: Put) -> None:
    for kind, value in (("FileSha1", SHA1), ("FileMd5", MD5), ("FileSha256", SHA256)):
        put(kind, value)
    watched.send(watched.batch(1, process(200, 150, SHA1=SHA1)))
    watched.send(watched.batch(2, process(400, 350, MD5=MD5)))
    assert len(incidents(watched)) == 2
    watched.send(watched.batch(3, process(350, 200, SHA256=SHA256)))
    target, source = incidents(watched)
    assert (source.status, source.redirect_incident_id, source.tags) == (
        "Redirected",
        target.id,
        ["Redirected"],
    )
    assert {alert.incident_id for alert in alerts(watched)} == {target.id}


def test_everybodys_ancestors_join_nothing(watched: Feed, put: Put) -> None:
    put("FileSha1", SHA1)
    put("FileMd5", MD5)
    watched.send(watched.batch(1, process(200, 1, SHA1=SHA1)))
    watched.send(watched.batch(2, process(300, 1, MD5=MD5)))
    assert len(incidents(watched)) == 2


def test_a_resolved_alert_is_not_reopened(watched: Feed, put: Put) -> None:
    put("FileSha1", SHA1)
    watched.send(watched.batch(1, process(200, 150, SHA1=SHA1)))
    with watched.database.session(watched.tenant) as session:
        alert = session.scalars(select(Alert)).one()
        alert.status, alert.resolved_time = "Resolved", now()
        session.get_one(Incident, alert.incident_id).status = "Resolved"
    later = process(201, 150, SHA1=SHA1, Timestamp=to_text(now() + timedelta(seconds=1)))
    watched.send(watched.batch(2, later))
    assert sorted(alert.status for alert in alerts(watched)) == ["New", "Resolved"]
    assert sorted(incident.status for incident in incidents(watched)) == ["Active", "Resolved"]


def test_many_hits_of_one_do_not_hide_another(
    watched: Feed, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits, "HITS_OF_ONE", 3)
    monkeypatch.setattr(hits, "HITS_LIMIT", 6)
    put("FileSha1", SHA1)
    put("FileMd5", MD5)
    watched.send(
        watched.batch(1, *(process(100 + number, SHA1=SHA1) for number in range(9)), process(900, MD5=MD5))
    )
    assert [(alert.title, alert.event_count) for alert in alerts(watched)] == [(SHA1, 3), (MD5, 1)]


def test_a_long_list_is_matched_with_the_past_in_one_step(watched: Feed, put: Put) -> None:
    watched.send(watched.batch(1, process(200, 150, SHA1=SHA1)))
    one = put("FileSha1", SHA1)
    names = [
        column.name for column in Indicator.__table__.columns if column.name not in ("id", "match_value")
    ]
    values = {name: getattr(one, name) for name in names}
    with watched.database.session(watched.tenant) as session:
        session.execute(insert(Indicator), [values | {"match_value": f"{n:040x}"} for n in range(2000)])
        found = session.scalars(select(Indicator.id).where(Indicator.id != one.id)).all()
        changes = [{"tenant_id": watched.tenant, "indicator_id": number} for number in found]
        session.execute(insert(IndicatorChange), changes)
    lookback = Lookback(watched.store, watched.database, Settings())
    assert lookback.run_pending() == 2001
    assert len(alerts(watched)) == 1
    assert lookback.run_pending() == 0
    left = watched.store.system_query(
        "SELECT name FROM system.tables WHERE database = 'shieldwall' AND startsWith(name, 'stage_')"
    )
    assert left == []


def test_the_stored_past_is_matched_once(watched: Feed, put: Put) -> None:
    watched.send(watched.batch(1, process(200, 150, SHA1=SHA1)))
    assert alerts(watched) == []
    put("FileSha1", SHA1)
    lookback = Lookback(watched.store, watched.database, Settings())
    assert lookback.run_pending() == 1
    (alert,) = alerts(watched)
    assert lookback.run_pending() == 0
    assert Lookback(watched.store, watched.database, Settings()).run_pending() == 0
    assert [found.id for found in alerts(watched)] == [alert.id]
