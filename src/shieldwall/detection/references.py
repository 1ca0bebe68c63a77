"""Alerts that somebody makes of one stored event, which hunting names by device, time and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.links import Link
from shieldwall.detection.event_entities import entities, links
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore

SOURCE = "CustomDetection"

_TABLES = tuple(
    name
    for name, table in TABLES.items()
    if table.is_event and table.has("DeviceId") and table.has("ReportId")
)
# To the tick, which is finer than a time in Python.
_IS_EVENT = (
    "DeviceId = {device:String} AND ReportId = {report:Int64} "
    "AND Timestamp = parseDateTime64BestEffort({time:String}, 7, 'UTC')"
)


@dataclass(frozen=True)
class Event:
    table: str
    row: Mapping[str, Any]


def find_event(
    store: TelemetryStore, tenant_id: str, device_id: str, report_id: int, time: str
) -> Event | None:
    """The event of a device with this report id at this moment (ISO 8601, seven digits); None if none is."""
    parameters = {"device": device_id, "report": report_id, "time": time}
    parts = (f"SELECT '{name}' AS name FROM {name} WHERE {_IS_EVENT} LIMIT 1" for name in _TABLES)
    found = store.query(tenant_id, " UNION ALL ".join(parts), parameters)
    if not found:
        return None
    table = min(row["name"] for row in found)
    columns = ", ".join(f"`{column.name}`" for column in TABLES[table].columns)
    rows = store.query(tenant_id, f"SELECT {columns} FROM {table} WHERE {_IS_EVENT} LIMIT 1", parameters)
    return Event(table, rows[0]) if rows else None


def shown(event: Event, status: str = "Detected") -> tuple[tuple[EvidenceDraft, ...], frozenset[Link]]:
    """The entities of an event as evidence, and by what else its alert is joined to others."""
    evidence = tuple(entities(event.table, event.row, status))
    return evidence, frozenset(links(event.row, evidence))


def draft(tenant_id: str, event: Event, told: Mapping[str, str]) -> AlertDraft:
    """The alert of ``event`` with what the caller ``told`` of it, by the names of the API."""
    evidence, around = shown(event)
    return AlertDraft(
        tenant_id=tenant_id,
        device_id=event.row["DeviceId"],
        key=f"reference {told['title']}",
        title=told["title"],
        description=told["description"],
        severity=told["severity"],
        category=told["category"],
        recommended_action=told["recommendedAction"],
        detection_source=SOURCE,
        first_event_time=event.row["Timestamp"],
        last_event_time=event.row["Timestamp"],
        evidence=evidence,
        links=around,
    )
