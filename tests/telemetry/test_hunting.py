"""What a hunt can reach, whatever its text: the tenant's own rows of hunting tables, and nothing else."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from shieldwall.errors import ApiError
from shieldwall.telemetry import hunting
from shieldwall.telemetry.hunting import Cancellation, Hunting, Limits, compiled
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

SECRET = "tenant-two-secret"


@pytest.fixture(scope="module")
def tenants(telemetry: TelemetryStore) -> tuple[str, str]:
    """Two tenants with one process event each."""
    ours, theirs = str(uuid4()), str(uuid4())
    for tenant, text in ((ours, "plain words"), (theirs, SECRET)):
        row = {"Timestamp": now(), "DeviceId": "d" * 40, "ActionType": "ProcessCreated", "FileName": text}
        telemetry.insert_rows("DeviceProcessEvents", tenant, [{**row, "ProcessCommandLine": text}])
    return ours, theirs


def hunt(telemetry: TelemetryStore, tenant: str, text: str, limits: Limits | None = None) -> list[list[Any]]:
    with Hunting(telemetry).hunt(tenant, text, limits or Limits()) as found:
        return list(found.rows)


READINGS = [
    "DeviceProcessEvents | project FileName",
    "union * | project FileName",
    "union withsource=T Device* | project FileName",
    "search '*' | project FileName",
    "search 'tenant' | project FileName",
    "find where FileName has 'tenant' project FileName",
    "DeviceProcessEvents | join kind=inner (DeviceProcessEvents) on DeviceId | project FileName1",
    "DeviceProcessEvents | join kind=fullouter (DeviceProcessEvents) on FileName | project FileName1",
    "let T = materialize(DeviceProcessEvents); union T, T | project FileName",
    "print x = toscalar(DeviceProcessEvents | summarize max(FileName))",
    "DeviceProcessEvents | where FileName in (DeviceProcessEvents | project FileName) | project FileName",
    "DeviceProcessEvents | summarize make_set(FileName)",
    "DeviceProcessEvents | as T | union T | project FileName",
    "let f = (T:(*)) { T | project FileName }; f(DeviceProcessEvents)",
    "table('DeviceProcessEvents') | project FileName",
    "DeviceProcessEvents | partition by DeviceId (project FileName)",
    "DeviceProcessEvents | top-nested 5 of FileName by count()",
    "DeviceProcessEvents | where TenantId != '' | project FileName",
    "DeviceProcessEvents | extend TenantId = 'x' | project FileName",
]


@pytest.mark.parametrize("text", READINGS)
def test_no_query_reads_rows_of_another_tenant(
    telemetry: TelemetryStore, tenants: tuple[str, str], text: str
) -> None:
    try:
        found = hunt(telemetry, tenants[0], text)
    except ApiError as error:
        assert error.status == 400
        assert SECRET not in error.message
        return
    assert SECRET not in str(found)


def test_the_same_queries_do_find_the_rows_of_their_own_tenant(
    telemetry: TelemetryStore, tenants: tuple[str, str]
) -> None:
    found = sum(
        SECRET in str(hunt(telemetry, tenants[1], text)) for text in READINGS if "TenantId" not in text
    )
    assert found >= len(READINGS) - 4


HOSTILE = [
    "'; DROP TABLE shieldwall.DeviceProcessEvents; --",
    "' OR 1=1 --",
    "\\' UNION ALL SELECT * FROM system.tables --",
    "') FROM system.users --",
    "`; SELECT 1",
    "\\`, (SELECT 1) AS `x",
    "\\\\",
    "\\\\'",
    "/* x */ -- y",
    "{step_1:String}",
    "{tenant:String}",
    "$$ SELECT 1 $$",
    "x' SETTINGS readonly = 0 --",
    "\u2019 OR \uff07 1=1",
    "a\u0000b",
    "%s %(x)s {0}",
    "FORMAT JSON",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_comes_back_as_it_is(telemetry: TelemetryStore, tenants: tuple[str, str], text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert hunt(telemetry, tenants[0], f"print x = {quoted}") == [[text]]
    assert hunt(telemetry, tenants[0], f"datatable(a: string)[{quoted}] | where a == {quoted}") == [[text]]
    for operator in ("has", "contains", "startswith", "hasprefix", "=~", "has_cs", "in~", "has_any"):
        right = f"({quoted})" if operator in ("in~", "has_any") else quoted
        query = f"DeviceProcessEvents | where FileName {operator} {right} | project FileName"
        assert SECRET not in str(hunt(telemetry, tenants[0], query))


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\x00" not in text])
def test_a_name_comes_back_as_it_is(telemetry: TelemetryStore, tenants: tuple[str, str], text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    with Hunting(telemetry).hunt(tenants[0], f"print ['{quoted}'] = 1 | extend b = 2", Limits()) as found:
        assert [name for name, _ in found.columns] == [text, "b"]
        assert list(found.rows) == [[1, 2]]


@pytest.mark.parametrize(
    "text",
    [
        "system.tables",
        "['system.tables']",
        "['shieldwall`.`DeviceProcessEvents']",
        "file('/etc/passwd')",
        "url('http://127.0.0.1/')",
        "numbers(10)",
        "print file('/etc/passwd')",
        "print x = getSetting('readonly')",
        "print x = sleep(3)",
        "print x = currentUser()",
        "cluster('other').database('x').T",
        "database('system').tables",
        "externaldata(x: string)['file:///etc/passwd']",
        "externaldata(x: string)['http://127.0.0.1:8123/?query=select 1']",
        "externaldata(x: string)['https://example.com/x.csv']",
        "evaluate sql_request('x', 'select 1')",
        "evaluate http_request('http://127.0.0.1/')",
        "evaluate python(typeof(*), 'import os')",
        ".show tables",
        ".drop table DeviceProcessEvents",
        "print 1 | invoke file('/etc/passwd')",
        "IngestRejects",
        "DeviceProcessEvents | project GroupId",
        "DeviceProcessEvents | where IngestionTime > ago(1d)",
    ],
)
def test_nothing_else_can_be_reached(telemetry: TelemetryStore, tenants: tuple[str, str], text: str) -> None:
    with pytest.raises(ApiError) as caught:
        hunt(telemetry, tenants[0], text)
    assert caught.value.status == 400
    assert "DB::Exception" not in caught.value.message


def test_every_statement_is_read_only(telemetry: TelemetryStore, tenants: tuple[str, str]) -> None:
    """Also a statement that the compiler would never write."""
    with telemetry.hunter() as client, pytest.raises(Exception, match="readonly mode"):
        client.raw_query(
            "SELECT * FROM file('/etc/passwd', 'LineAsString') SETTINGS readonly = '1'",
            fmt="JSONCompactEachRow",
        )
    with pytest.raises(ApiError):
        telemetry.check("SELECT * FROM system.tables")


def test_a_cancelled_query_ends(telemetry: TelemetryStore, tenants: tuple[str, str]) -> None:
    hunting, cancellation = Hunting(telemetry), Cancellation()
    heavy = (
        "range a from 1 to 1000000 step 1 | extend k = 1 "
        "| join kind=inner (range b from 1 to 1000000 step 1 | extend k = 1) on k | summarize sum(a * b)"
    )
    problem: list[ApiError] = []

    def work() -> None:
        try:
            with hunting.hunt(tenants[0], heavy, Limits(seconds=60), cancellation=cancellation) as found:
                list(found.rows)
        except ApiError as error:
            problem.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1)
    started = time.monotonic()
    hunting.cancel(cancellation)
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - started < 10
    assert problem[0].message == "Query was cancelled."
    assert hunt(telemetry, tenants[0], "print x = 1") == [[1]]


@pytest.fixture(scope="module")
def sizes() -> dict[str, str]:
    return {
        "a megabyte of conditions": "DeviceEvents | where "
        + " or ".join(f"ActionType == 'Action{number:06}'" for number in range(30_000)),
        "a hundred thousand items": "DeviceEvents | where ActionType in ("
        + ", ".join(f"'a{number}'" for number in range(100_000))
        + ") | count",
        "a megabyte of text": f"print strlen('{'x' * 1_000_000}')",
        "ten thousand parentheses": "print " + "(" * 10_000 + "1" + ")" * 10_000,
        "ten thousand unary signs": "print " + "-" * 10_000 + "1",
        "ten thousand pipes": "print x = 1 " + "| extend x = x + 1 " * 10_000,
        "ten thousand brackets": "print dynamic(" + "[" * 10_000 + "]" * 10_000 + ")",
        "ten thousand calls": "print " + "tostring(" * 10_000 + "1" + ")" * 10_000,
        "a long sum": "print x = " + " + ".join(["1.5"] * 20_000),
        "a long concatenation": "print x = strcat(" + ", ".join(["'a'"] * 5_000) + ")",
    }


@pytest.mark.parametrize(
    "name",
    [
        "a megabyte of conditions",
        "a hundred thousand items",
        "a megabyte of text",
        "ten thousand parentheses",
        "ten thousand unary signs",
        "ten thousand pipes",
        "ten thousand brackets",
        "ten thousand calls",
        "a long sum",
        "a long concatenation",
    ],
)
def test_large_queries_work_or_fail_clearly(
    telemetry: TelemetryStore, tenants: tuple[str, str], sizes: dict[str, str], name: str
) -> None:
    started = time.monotonic()
    try:
        hunt(telemetry, tenants[0], sizes[name])
    except ApiError as error:
        assert error.status == 400
        assert "unexpected error" not in error.message, error.__cause__
    # A second on a quiet machine; more where tests share it.
    assert time.monotonic() - started < 8


def test_many_large_events_are_no_large_hunt(telemetry: TelemetryStore) -> None:
    tenant = str(uuid4())
    with telemetry.writer() as client:
        client.command(
            "INSERT INTO shieldwall.SourceEvents (TenantId, IngestionTime, Timestamp, DeviceId, EventData) "
            f"SELECT '{tenant}', now64(3), now64(7), repeat('d', 40), "
            """concat('{"Image":"', repeat('x', 4000), toString(number), '.exe"}') FROM numbers(30000) """
            "SETTINGS max_block_size = 8192, min_insert_block_size_rows = 30000"
        )
    text = 'SourceEvents | where EventData.Image endswith "77.exe" | count'
    assert hunt(telemetry, tenant, text, Limits(memory=200_000_000)) == [[300]]


def test_words_of_the_engine_are_neither_told_nor_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        hunting, "logger", SimpleNamespace(error=lambda *told, **more: said.append(f"{told} {more}"))
    )
    error = DatabaseError("Code: 6. DB::Exception: Cannot parse string 'secret words' as UInt64")
    with pytest.raises(ApiError) as refused, hunting.answered():
        raise error
    assert refused.value.message == hunting.UNKNOWN
    (line,) = said
    assert "DatabaseError" in line
    assert "secret" not in line


def test_compiling_needs_no_store() -> None:
    assert compiled("DeviceProcessEvents | count").columns == [("Count", "long")]
