"""Hunting over HTTP: shapes, types, errors, quotas, and what a tenant can see."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shieldwall.api.hunting import read_timespan
from shieldwall.errors import ApiError
from shieldwall.telemetry.hunting import Hunting, Limits
from shieldwall.telemetry.quota import HuntingQuota
from shieldwall.times import now
from tests.api.conftest import DEVICE, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

RUN = "/api/advancedqueries/run"
TYPES = """
print s = "x", b = true, i = int(1), l = 2, r = 0.5, t = datetime(2026-01-02T03:04:05.1234567Z), d = 90m,
    g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642), o = dynamic({"a": [1, null]}), n = long(null),
    e = dynamic(null)
"""


@pytest.fixture
def events(api: Api) -> Api:
    """One event in each of two tenants, on a device of the test's own."""
    for tenant, name in ((TENANT, "ours"), (OTHER_TENANT, "theirs")):
        row = {"Timestamp": now(), "DeviceId": DEVICE, "DeviceName": name, "ActionType": "Made"}
        api.services.telemetry.insert_rows("DeviceEvents", tenant, [row])
    return api


def ask(api: Api, query: str, path: str = RUN, **more: object) -> dict[str, object]:
    answer = api.call("POST", path, json={"Query": query}, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_types_have_the_names_and_forms_of_the_service(api: Api) -> None:
    answer = ask(api, TYPES)
    assert list(answer) == ["Stats", "Schema", "Results"]
    assert [(column["Name"], column["Type"]) for column in answer["Schema"]] == [
        ("s", "String"),
        ("b", "SByte"),
        ("i", "Int32"),
        ("l", "Int64"),
        ("r", "Double"),
        ("t", "DateTime"),
        ("d", "TimeSpan"),
        ("g", "Guid"),
        ("o", "Object"),
        ("n", "Int64"),
        ("e", "Object"),
    ]
    assert answer["Results"] == [
        {
            "s": "x",
            "b": True,
            "i": 1,
            "l": 2,
            "r": 0.5,
            "t": "2026-01-02T03:04:05.1234567Z",
            "d": "01:30:00",
            "g": "74be27de-1e4e-49d9-b579-fe0b331d3642",
            "o": {"a": [1, None]},
            "n": None,
            "e": None,
        }
    ]


def test_graph_answers_in_lower_case(api: Api) -> None:
    answer = ask(api, "print x = 1", "/v1.0/security/runHuntingQuery")
    assert answer == {
        "@odata.context": f"{URL}/v1.0/$metadata#microsoft.graph.security.huntingQueryResults",
        "schema": [{"name": "x", "type": "Int64"}],
        "results": [{"x": 1}],
    }
    assert ask(api, "print 1", "/v1.0/security/microsoft.graph.security.runHuntingQuery")["results"]


def test_the_query_may_come_in_the_address(api: Api) -> None:
    answer = api.call("GET", "/api/advancedqueries", params={"key": "print x = 1"})
    assert answer.json()["Results"] == [{"x": 1}]
    assert api.error("GET", "/api/advancedqueries") == (400, "MissingRequiredParameter")


def test_defender_xdr_has_its_own_path_and_permission(api: Api) -> None:
    token = api.bearer("AdvancedHunting.Read.All")
    assert ask(api, "print x = 1", "/api/advancedhunting/run", headers=token)["Results"] == [{"x": 1}]
    assert api.error("POST", RUN, json={"Query": "print 1"}, headers=token) == (403, "Forbidden")


def test_a_tenant_sees_its_own_rows_only(events: Api) -> None:
    for query in (
        "DeviceEvents | distinct DeviceName",
        "union Device* | where DeviceName in ('ours', 'theirs') | distinct DeviceName",
        "let all = materialize(DeviceEvents); all | join kind=inner all on DeviceId | distinct DeviceName",
        "print 1 | extend k = 1 | join kind=inner (DeviceEvents | extend k = 1) on k | distinct DeviceName",
        "DeviceEvents | where DeviceName == toscalar(DeviceEvents | summarize max(DeviceName)) "
        "| distinct DeviceName",
    ):
        assert ask(events, query)["Results"] == [{"DeviceName": "ours"}], query


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("DeviceEvents |\n where Nonsense == 1", "Line 2, column 8"),
        ("DeviceEvents | wheer 1 == 1", "Line 1, column 16"),
        ("Nonsense", "Line 1, column 1"),
        ("print 'x", "Line 1, column 7"),
        ("", "Line 1, column 1"),
    ],
)
def test_a_wrong_query_is_refused_with_its_place(api: Api, query: str, place: str) -> None:
    answer = api.call("POST", RUN, json={"Query": query})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("BadRequest", "MissingRequiredParameter")
    if query:
        assert place in answer.json()["error"]["message"]


def test_too_many_rows_are_refused_in_the_words_of_the_service(api: Api) -> None:
    api.services.hunting = Hunting(api.services.telemetry, Limits(rows=10))
    assert len(ask(api, "range x from 1 to 10 step 1")["Results"]) == 10
    answer = api.call("POST", RUN, json={"Query": "range x from 1 to 11 step 1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Result size limit exceeded.")


def test_too_many_bytes_are_refused(api: Api) -> None:
    api.services.hunting = Hunting(api.services.telemetry, Limits(result_bytes=1000))
    answer = api.call("POST", RUN, json={"Query": "range x from 1 to 1000 step 1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Result size limit exceeded.")


def test_a_query_that_runs_too_long_is_stopped(api: Api) -> None:
    api.services.hunting = Hunting(api.services.telemetry, Limits(seconds=1))
    heavy = (
        "range a from 1 to 1000000 step 1 | extend k = 1 "
        "| join kind=inner (range b from 1 to 100000 step 1 | extend k = 1) on k | summarize sum(a * b)"
    )
    answer = api.call("POST", RUN, json={"Query": heavy})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Query exceeded the timeout period."
    assert ask(api, "print x = 1")["Results"] == [{"x": 1}]


def test_a_tenant_that_hunts_too_much_has_to_wait(api: Api) -> None:
    api.services.quota = HuntingQuota(2, 1000, 1000, 1000)
    ask(api, "print 1")
    ask(api, "print 1")
    answer = api.call("POST", RUN, json={"Query": "print 1"})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "TooManyRequests"
    assert "calls" in answer.json()["error"]["message"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    ask(api, "print 1", headers=api.bearer("AdvancedQuery.Read.All", tenant=OTHER_TENANT))


MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("P30D", (MOMENT - timedelta(days=30), MOMENT)),
        ("PT36H", (MOMENT - timedelta(hours=36), MOMENT)),
        ("2026-02-01T00:00:00Z", (datetime(2026, 2, 1, tzinfo=UTC), None)),
        (
            "2026-02-01T00:00:00Z/2026-02-02T00:00:00Z",
            (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)),
        ),
        ("2026-02-01T00:00:00Z/P1D", (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC))),
        ("P1D/2026-02-02T00:00:00Z", (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC))),
    ],
)
def test_timespans_are_read_as_iso_8601(text: str, window: tuple[datetime, datetime | None]) -> None:
    assert read_timespan(text, MOMENT) == window


@pytest.mark.parametrize("text", ["P", "yesterday", "P1D/P1D", "/", "2026-02-01/x", "P99999999999D"])
def test_other_timespans_are_refused(text: str) -> None:
    with pytest.raises(ApiError):
        read_timespan(text, MOMENT)


def test_a_timespan_narrows_what_is_read(events: Api) -> None:
    path = "/v1.0/security/runHuntingQuery"
    body = {"Query": "DeviceEvents | summarize n = count()"}
    found = events.call("POST", path, json={**body, "Timespan": "P1D"}).json()["results"]
    assert found[0]["n"] >= 1
    assert events.call("POST", path, json={**body, "Timespan": "P10D/2020-01-01"}).json()["results"] == [
        {"n": 0}
    ]


def test_hunts_that_wait_leave_threads_to_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """More hunts at once than the server has threads for requests."""
    release, waiting = threading.Event(), 60
    hunt = Hunting.hunt

    @contextmanager
    def slow(self: Hunting, *arguments: Any, **named: Any) -> Iterator[Any]:
        release.wait(60)
        with hunt(self, *arguments, **named) as found:
            yield found

    monkeypatch.setattr(Hunting, "hunt", slow)
    monkeypatch.setattr(api.services.quota, "_allowances", ())
    with ThreadPoolExecutor(waiting + 1) as pool:
        hunts = [pool.submit(api.call, "POST", RUN, json={"Query": "print 1"}) for _ in range(waiting)]
        try:
            time.sleep(2)
            other = pool.submit(api.call, "GET", "/api/machines")
            assert other.result(10).status_code == 200
        finally:
            release.set()
        assert {each.result(60).status_code for each in hunts} == {200}


FORGED = '1,"DeviceName":"forged"'


@pytest.mark.parametrize("text", [FORGED, "no json {", "Infinity", "[" * 3000 + "]" * 3000])
def test_a_device_cannot_write_members_into_answers(api: Api, text: str) -> None:
    row = {"Timestamp": now(), "DeviceId": DEVICE, "DeviceName": "true", "AdditionalFields": text}
    api.services.telemetry.insert_rows("DeviceTvmInfoGathering", TENANT, [row])
    newest = "DeviceTvmInfoGathering | extend T = ingestion_time() | top 1 by T"
    query = f"{newest} | project DeviceName, AdditionalFields"
    assert ask(api, query)["Results"] == [{"DeviceName": "true", "AdditionalFields": text}]


def test_values_nested_too_deeply_for_python_are_refused(api: Api) -> None:
    deep = "strcat(strrep('[', 1024), strrep(']', 1024))"
    query = f"print x = 1 | extend s = {deep} | extend y = series_outliers(todynamic(s))"
    assert api.error("POST", RUN, json={"Query": query}) == (400, "BadRequest")
