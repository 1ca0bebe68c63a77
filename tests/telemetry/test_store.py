"""The hunting tables as declared, and each tenant's sight of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from uuid import uuid4

import pytest

from shieldwall.settings import Settings
from shieldwall.telemetry import ddl
from shieldwall.telemetry.schema import ALIASES, TABLES
from shieldwall.telemetry.store import WRITERS, TelemetryStore
from shieldwall.times import now


def test_documented_tables_and_columns_are_declared() -> None:
    assert {"DeviceProcessEvents", "DeviceNetworkEvents", "DeviceFileEvents", "DeviceEvents"} <= set(TABLES)
    types = {column.name: column.kusto_type for column in TABLES["DeviceProcessEvents"].columns}
    assert (types["Timestamp"], types["ProcessId"], types["SHA1"]) == ("datetime", "long", "string")
    assert len(types) == 70
    assert (len(TABLES), sum(len(table.columns) for table in TABLES.values())) == (67, 1670)
    assert {column.kusto_type for table in TABLES.values() for column in table.columns} == {
        "string", "guid", "dynamic", "bool", "int", "long", "real", "datetime",
    }  # fmt: skip


def test_every_table_is_there_and_a_documented_tenant_is_the_one_of_the_row(
    telemetry: TelemetryStore,
) -> None:
    tenant = str(uuid4())
    for name, table in TABLES.items():
        columns = ", ".join(f"`{column.name}`" for column in table.columns)
        assert telemetry.query(tenant, f"SELECT {columns} FROM {name}") == []
    telemetry.insert_rows("IdentityInfo", tenant, [{"Timestamp": now(), "AccountUpn": "a@example.org"}])
    telemetry.insert_rows("MessageEvents", tenant, [{"Timestamp": now(), "GroupId": "a team"}])
    found = telemetry.query(
        tenant,
        "SELECT TenantId, AccountUpn, GroupId FROM IdentityInfo "
        "CROSS JOIN (SELECT GroupId FROM MessageEvents) m",
    )
    assert [tuple(row.values()) for row in found] == [(tenant, "a@example.org", "a team")]
    with pytest.raises(ValueError, match="no column TenantId"):
        telemetry.insert_rows("IdentityInfo", tenant, [{"Timestamp": now(), "TenantId": str(uuid4())}])


def test_other_names_lead_to_declared_ones() -> None:
    for new in ALIASES.tables.values():
        assert set(new) <= set(TABLES)
    for table, renamed in ALIASES.columns.items():
        homes = (
            TABLES.values() if table == "*" else [TABLES[new] for new in ALIASES.tables.get(table, (table,))]
        )
        for column in renamed.values():
            assert any(home.has(column) for home in homes), (table, column)
    assert ALIASES.column("EmailEvents", "PhishFilterVerdict") == "ThreatTypes"
    assert ALIASES.column("EmailEvents", "TimeGenerated") == "Timestamp"
    assert ALIASES.column("EmailEvents", "Subject") is None


@pytest.mark.parametrize("name", sorted(TABLES))
def test_indexed_columns_exist(name: str) -> None:
    table = TABLES[name]
    assert set(table.text) | set(table.find) <= {column.name for column in table.columns}


def test_how_long_a_table_is_kept_is_a_setting_of_its_own_and_can_change(telemetry: TelemetryStore) -> None:
    def days() -> dict[str, str]:
        rows = telemetry.system_query(
            "SELECT name, extract(engine_full, 'toIntervalDay\\((\\d+)\\)') AS days FROM system.tables "
            "WHERE database = 'shieldwall' AND name IN ('DeviceInfo', 'DeviceEvents', 'IdentityInfo')"
        )
        return {row["name"]: row["days"] for row in rows}

    assert days() == dict.fromkeys(("DeviceInfo", "DeviceEvents", "IdentityInfo"), "30")
    other = replace(telemetry.settings, retention_days=40, retention_by_table="DeviceInfo=90, IdentityInfo=7")
    try:
        TelemetryStore.open(other).close()
        assert days() == {"DeviceInfo": "90", "DeviceEvents": "40", "IdentityInfo": "7"}
    finally:
        TelemetryStore.open(telemetry.settings).close()
    assert set(days().values()) == {"30"}
    with pytest.raises(ValueError, match="there is no table Nonsense"):
        TelemetryStore.open(replace(other, retention_by_table="Nonsense=1"))
    for text in ("DeviceInfo", "DeviceInfo=x", "DeviceInfo=0", "DeviceInfo=-1"):
        with pytest.raises(ValueError, match="SHIELDWALL_RETENTION_BY_TABLE"):
            Settings.load({"SHIELDWALL_RETENTION_BY_TABLE": text})


def test_a_cluster_gets_replicated_and_distributed_tables() -> None:
    local, distributed = ddl.create_table(TABLES["DeviceEvents"], 30, "main")
    assert "ON CLUSTER `main`" in local
    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/shieldwall/DeviceEvents_local'" in local
    assert "Distributed('main', 'shieldwall', 'DeviceEvents_local'" in distributed


@pytest.mark.parametrize("cluster", ["", "main"])
def test_every_statement_of_the_declaration_is_one_that_the_engine_reads(
    telemetry: TelemetryStore, cluster: str
) -> None:
    """As far as it can be told without a cluster."""
    statements = [
        ddl.create_database(cluster),
        ddl.create_rejects(30, cluster),
        ddl.delete_groups("DeviceEvents", [1, 2], cluster),
        ddl.delete_groups(ddl.REJECTS, [1], cluster),
    ]
    for table in TABLES.values():
        statements += [*ddl.create_table(table, 30, cluster), ddl.keep_for(table, 7, cluster)]
        statements += ddl.add_columns(table, {column.name for column in table.columns[1:]}, cluster)
    for statement in statements:
        (row,) = telemetry.system_query("SELECT formatQuery({sql:String}) AS text", {"sql": statement})
        of_one_copy = statement.startswith(f"DELETE FROM {ddl.DATABASE}.{ddl.REJECTS}")
        assert ("ON CLUSTER main" in row["text"]) == (bool(cluster) and not of_one_copy), row


def test_a_clickhouse_url_names_no_other_database(telemetry: TelemetryStore) -> None:
    with pytest.raises(ValueError, match="always named shieldwall"):
        TelemetryStore.open(replace(telemetry.settings, clickhouse_url="clickhouse://u:p@127.0.0.1:1/other"))


def test_a_query_needs_a_tenant(telemetry: TelemetryStore) -> None:
    for tenant in ("", "*", "x' OR 1 = 1 --"):
        with pytest.raises(ValueError, match="UUID"):
            telemetry.query(tenant, "SELECT 1")


def test_rows_with_unknown_columns_are_not_stored(telemetry: TelemetryStore) -> None:
    with pytest.raises(ValueError, match="no column Nonsense"):
        telemetry.insert_rows("DeviceInfo", str(uuid4()), [{"Timestamp": now(), "Nonsense": 1}])


def test_who_writes_already_waits_for_no_other_writer(telemetry: TelemetryStore) -> None:
    both = threading.Barrier(WRITERS)
    told: list[int] = []

    def write() -> None:
        with telemetry.writer() as client:
            # All have one now, and each asks for one more.
            both.wait(10)
            telemetry.command("SELECT 1")
            with telemetry.writer() as again:
                told.append(client is again)

    threads = [threading.Thread(target=write, daemon=True) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert told == [True] * WRITERS
