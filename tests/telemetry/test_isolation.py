"""A tenant's query reaches its own rows of the hunting tables and nothing else, whatever its text."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from shieldwall.errors import ApiError
from shieldwall.telemetry import ddl, guard
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

TENANT, OTHER = str(uuid4()), str(uuid4())


@pytest.fixture(scope="module")
def store(telemetry: TelemetryStore) -> TelemetryStore:
    for tenant in (TENANT, OTHER):
        row = {"Timestamp": now(), "DeviceId": "d" * 40, "FileName": tenant, "ProcessId": 1}
        telemetry.insert_rows("DeviceProcessEvents", tenant, [row])
    return telemetry


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FileName FROM DeviceProcessEvents",
        "SELECT FileName FROM shieldwall.DeviceProcessEvents -- all of it",
        "WITH a AS (SELECT * FROM DeviceProcessEvents) SELECT FileName FROM a",
        "SELECT FileName FROM (SELECT * FROM DeviceProcessEvents) WHERE ProcessId = 1 OR 1",
        "SELECT b.FileName AS FileName FROM DeviceProcessEvents AS a "
        "JOIN DeviceProcessEvents AS b ON a.ProcessId = b.ProcessId",
        "SELECT arrayJoin((SELECT groupArray(FileName) FROM DeviceProcessEvents)) AS FileName",
        "SELECT FileName FROM DeviceProcessEvents UNION ALL "
        "SELECT FileName FROM shieldwall.DeviceProcessEvents",
        "SELECT FileName FROM DeviceProcessEvents WHERE FileName IN "
        "(SELECT FileName FROM DeviceProcessEvents)",
    ],
)
def test_only_the_tenants_rows_are_seen(store: TelemetryStore, sql: str) -> None:
    for tenant in (TENANT, OTHER):
        assert {row["FileName"] for row in store.query(tenant, sql)} == {tenant}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FileName FROM DeviceProcessEvents SETTINGS additional_table_filters = {}",
        "SELECT * FROM (SELECT FileName FROM DeviceProcessEvents SETTINGS additional_table_filters = {})",
        "SELECT FileName FROM DeviceProcessEvents; SELECT 1",
        "SELECT FileName FROM DeviceProcessEvents;",
        "SELECT FileName FROM DeviceProcessEvents; --",
        "SELECT FileName FROM DeviceProcessEvents /*",
        "SELECT FileName FROM merge('shieldwall', 'DeviceProcessEvents')",
        "SELECT FileName FROM remote('localhost', shieldwall, DeviceProcessEvents)",
        "SELECT * FROM mergeTreeTextIndex('shieldwall', 'DeviceProcessEvents', 'ix_text_FileName')",
        "SELECT * FROM system.parts",
        "SELECT 1 WHERE 'x' IN system.tables",
        "SELECT Text FROM IngestRejects",
        "SELECT 1 WHERE 'x' IN IngestRejects",
        "SELECT 1 WHERE 'x' GLOBAL NOT IN IngestRejects",
        "WITH IngestRejects AS (SELECT 1) SELECT * FROM IngestRejects",
        "WITH stage_lines_1 AS (SELECT 1) SELECT * FROM stage_lines_1",
        "SELECT * FROM {name:Identifier}",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT FILE('/etc/passwd')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM executable('id', 'TSV', 'a String')",
        "SELECT dictGet('a', 'b', 1)",
        "SELECT sleep(3)",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "DESCRIBE TABLE DeviceEvents",
        "INSERT INTO DeviceEvents (FileName) VALUES ('x')",
        "INSERT INTO DeviceEvents (FileName) SELECT 'x'",
        "DROP TABLE DeviceEvents",
        "TRUNCATE TABLE DeviceEvents",
        "SET readonly = 0",
        "not SQL at all",
        "",
    ],
)
def test_anything_else_is_refused(store: TelemetryStore, sql: str) -> None:
    with pytest.raises(ApiError) as refused:
        store.query(TENANT, sql, {"name": "IngestRejects"})
    assert refused.value.status == 400


def test_a_query_writes_no_files(store: TelemetryStore, tmp_path: Path) -> None:
    with pytest.raises(ApiError):
        store.query(TENANT, f"SELECT 1 INTO OUTFILE '{tmp_path / 'out'}'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a; b -- c' AS x",
        "SELECT count() FROM numbers(10)",
        "SELECT ProcessId IN (1, 2), ProcessId IN {ids:Array(Int64)} FROM DeviceProcessEvents",
        "SELECT max(Timestamp) OVER (PARTITION BY DeviceId ORDER BY Timestamp) FROM DeviceEvents",
        "SELECT arrayMap((x, y) -> x + y, [1], [2]), if(1, 'a', 'b'), now() - INTERVAL 1 DAY",
        "SELECT * EXCEPT (TenantId) REPLACE ('x' AS FileName) FROM DeviceEvents ARRAY JOIN [1, 2] AS n",
        "SELECT DeviceId FROM DeviceEvents GROUP BY DeviceId HAVING count() > 1 LIMIT 1 BY DeviceId",
    ],
)
def test_what_hunts_need_is_allowed(store: TelemetryStore, sql: str) -> None:
    store.query(TENANT, sql, {"ids": [1]})


def test_nodes_that_are_not_known_are_refused() -> None:
    with pytest.raises(ApiError, match="NewThing"):
        guard.check({"type": "SelectWithUnionQuery", "list_of_selects": [{"type": "NewThing"}]})


def test_the_servers_own_tables_have_names_that_no_query_can_define(telemetry: TelemetryStore) -> None:
    listed = telemetry.system_query(
        "SELECT name FROM system.tables WHERE database = {database:String}", {"database": ddl.DATABASE}
    )
    own = {row["name"] for row in listed} - set(TABLES)
    assert ddl.REJECTS in own
    assert all(name[0].isupper() or name.startswith("stage_") for name in own)
