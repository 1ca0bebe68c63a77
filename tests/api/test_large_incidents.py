"""Incidents with thousands of alerts: no page grows without bound, and no statement names too much."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from sqlalchemy import event, insert, inspect

from shieldwall.alerts.models import Alert, Incident
from shieldwall.api import chunks
from tests.api.conftest import URL, Api, alert, incident
from tests.conftest import TENANT

ALERTS = 1500


@pytest.fixture
def large(api: Api) -> list[int]:
    """Three incidents of many alerts, on as many devices, and a database that takes few variables."""
    engine = api.services.database.engine
    engine.dispose()

    @event.listens_for(engine, "connect")
    def few(connection: Any, _record: Any) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1100)

    numbers = []
    with api.services.database.session(TENANT) as session:
        for place in range(3):
            row = incident()
            session.add(row)
            session.flush()
            numbers.append(row.id)
            plain = alert(place + 10, row.id, tenant_id=TENANT)
            columns = [name for name in inspect(Alert).columns.keys() if getattr(plain, name) is not None]  # noqa: SIM118
            values = {name: getattr(plain, name) for name in columns}
            rows = [
                values | {"id": f"da{place}{number:05}_1", "machine_id": f"{place}{number:039x}"}
                for number in range(ALERTS)
            ]
            for start in range(0, ALERTS, 50):
                session.execute(insert(Alert), rows[start : start + 50])
    return numbers


@pytest.mark.parametrize(
    ("path", "key"),
    [("/api/incidents?", "incidentId"), ("/v1.0/security/incidents?$expand=alerts&", "id")],
)
def test_incidents_of_many_alerts_come_on_several_pages(
    api: Api, large: list[int], monkeypatch: pytest.MonkeyPatch, path: str, key: str
) -> None:
    monkeypatch.setattr(chunks, "ALERTS_PER_PAGE", 2 * ALERTS)
    seen, link, pages = [], f"{path}$orderby=createdDateTime desc" if "v1.0" in path else path, 0
    while link:
        body = api.get(link)
        for item in body["value"]:
            seen.append(int(item[key]))
            if int(item[key]) in large:
                assert len(item["alerts"]) == ALERTS
        assert sum(len(item["alerts"]) for item in body["value"]) <= 2 * ALERTS
        link = body.get("@odata.nextLink", "").removeprefix(URL)
        pages += 1
    assert pages == 2
    assert len(seen) == len(set(seen))
    assert set(large) <= set(seen)


def test_as_many_as_were_asked_for_come_in_the_end(
    api: Api, large: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "ALERTS_PER_PAGE", 10)
    body = api.get("/api/incidents?$top=2")
    assert len(body["value"]) == 1, "one comes always"
    body = api.get(body["@odata.nextLink"].removeprefix(URL))
    assert len(body["value"]) == 1
    assert "@odata.nextLink" not in body


def test_one_incident_of_many_alerts_is_answered(api: Api, large: list[int]) -> None:
    for path in (f"/api/incidents/{large[0]}", f"/v1.0/security/incidents/{large[0]}?$expand=alerts"):
        assert len(api.get(path)["alerts"]) == ALERTS
    with api.services.database.read(TENANT) as session:
        assert session.get(Incident, large[0]) is not None
    alerts = api.get("/v1.0/security/alerts_v2?$top=2000")["value"]
    assert len(alerts) == 2000
