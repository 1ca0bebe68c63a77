"""Inventories come as snapshots: all that a device has, stored together. Its newest one counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shieldwall.telemetry.store import TelemetryStore

UNTIL = "{until:DateTime64(6, 'UTC')}"
"""The moment as of which rows are read. Every statement of this part has this parameter."""

_SEEN = f"IngestionTime <= {UNTIL}"


def store_snapshot(
    store: TelemetryStore, table: str, tenant_id: str, device_id: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """All rows of ``table`` of one device, instead of those of before.

    A device that has nothing gets one row with its id alone, which readers pass over.
    """
    store.insert_rows(table, tenant_id, [{**row, "DeviceId": device_id} for row in rows or ({},)])


def newest(table: str, named: str) -> str:
    """SQL of the newest rows of each device that have a value in the column ``named``."""
    latest = f"SELECT DeviceId, max(IngestionTime) FROM {table} WHERE {_SEEN} GROUP BY DeviceId"
    return (
        f"(SELECT * FROM {table} WHERE {_SEEN} AND `{named}` != '' "
        f"AND (DeviceId, IngestionTime) IN ({latest}))"
    )


def newest_facts(table: str, *key: str) -> str:
    """SQL of the newest row for each value of the columns ``key`` of a table that no device owns."""
    names = ", ".join(key)
    return (
        f"(SELECT * FROM {table} WHERE {_SEEN} AND {key[0]} != '' "
        f"ORDER BY IngestionTime DESC LIMIT 1 BY {names})"
    )
