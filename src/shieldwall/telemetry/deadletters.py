"""Lines that agents sent and that could not be stored, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shieldwall.telemetry.ddl import DATABASE, REJECTS
from shieldwall.telemetry.store import TelemetryStore


@dataclass(frozen=True)
class DeadLetter:
    """One rejected line; ``text`` is its first 4,096 bytes."""

    time: datetime
    device_id: str
    stream: str
    sequence: int
    line: int
    reason: str
    text: str


def list_rejects(
    store: TelemetryStore, tenant_id: str, most: int = 100, device_id: str = ""
) -> list[DeadLetter]:
    """The tenant's newest rejected lines, of one device or of all."""
    rows = store.system_query(
        "SELECT IngestionTime, DeviceId, Stream, Sequence, Line, Reason, Text "
        f"FROM {DATABASE}.{REJECTS} WHERE TenantId = {{tenant:String}} "
        "AND ({device:String} = '' OR DeviceId = {device:String}) "
        "ORDER BY IngestionTime DESC, Sequence DESC, Line LIMIT {most:UInt32}",
        {"tenant": tenant_id, "device": device_id, "most": most},
    )
    return [DeadLetter(*row.values()) for row in rows]
