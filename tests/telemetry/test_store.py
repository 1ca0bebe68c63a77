"""The hunting tables as declared, and each tenant's sight of them."""

from __future__ import annotations

from uuid import uuid4

import pytest

from shieldwall.telemetry import ddl
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now


def test_documented_tables_and_columns_are_declared() -> None:
    assert {"DeviceProcessEvents", "DeviceNetworkEvents", "DeviceFileEvents", "DeviceEvents"} <= set(TABLES)
    types = {column.name: column.kusto_type for column in TABLES["DeviceProcessEvents"].columns}
    assert (types["Timestamp"], types["ProcessId"], types["SHA1"]) == ("datetime", "long", "string")
    assert len(types) == 70


@pytest.mark.parametrize("name", sorted(TABLES))
def test_indexed_columns_exist(name: str) -> None:
    table = TABLES[name]
    assert set(table.text) | set(table.find) <= {column.name for column in table.columns}


def test_a_cluster_gets_replicated_and_distributed_tables() -> None:
    local, distributed = ddl.create_table(TABLES["DeviceEvents"], 30, "main")
    assert "ON CLUSTER `main`" in local
    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/shieldwall/DeviceEvents_local'" in local
    assert "Distributed('main', 'shieldwall', 'DeviceEvents_local'" in distributed


def test_a_query_needs_a_tenant(telemetry: TelemetryStore) -> None:
    for tenant in ("", "*", "x' OR 1 = 1 --"):
        with pytest.raises(ValueError, match="UUID"):
            telemetry.query(tenant, "SELECT 1")


def test_rows_with_unknown_columns_are_not_stored(telemetry: TelemetryStore) -> None:
    with pytest.raises(ValueError, match="no column Nonsense"):
        telemetry.insert_rows("DeviceInfo", str(uuid4()), [{"Timestamp": now(), "Nonsense": 1}])


def test_terms_are_found_by_the_text_index(telemetry: TelemetryStore) -> None:
    plan = telemetry.system_query(
        "EXPLAIN indexes = 1 SELECT count() FROM shieldwall.DeviceProcessEvents "
        "WHERE hasAllTokens(ProcessCommandLine, 'mimikatz')"
    )
    assert any("ix_text_ProcessCommandLine" in str(row) for row in plan)
