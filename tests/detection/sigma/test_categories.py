"""Categories: records of Sysmon in the hunting tables, as an import stores them, against the evaluator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import yaml

from shieldwall.detection.rules.rule import CONTINUOUS
from shieldwall.identity.models import Tenant
from shieldwall.sources.stage import Sources
from shieldwall.state.engine import Base, Database
from shieldwall.telemetry.ingest import Batch, Ingester
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from tests.detection.sigma.conftest import Run, only
from tests.detection.sigma.evaluator import evaluator

SYSMON = "Microsoft-Windows-Sysmon/Operational"
HASHES = f"SHA1={'a' * 40},MD5={'B' * 32},SHA256={'c' * 64},IMPHASH={'d' * 32}"
EVENTS: list[dict[str, Any]] = [
    {
        "EventID": 1,
        "Image": "C:\\Windows\\System32\\cmd.exe",
        "CommandLine": "cmd.exe /c whoami",
        "User": "NT AUTHORITY\\SYSTEM",
        "IntegrityLevel": "System",
        "Hashes": HASHES,
        "OriginalFileName": "Cmd.Exe",
        "ParentImage": "C:\\Windows\\explorer.exe",
        "ParentCommandLine": "explorer",
        "CurrentDirectory": "C:\\Users\\",
        "LogonId": "0x3e7",
        "ProcessId": "1234",
    },
    {
        "EventID": 1,
        "Image": "C:\\a.exe",
        "CommandLine": "a",
        "User": "CORP\\ann",
        "Hashes": "MD5=" + "e" * 32,
    },
    {
        "EventID": 3,
        "Image": "C:\\a.exe",
        "Initiated": "true",
        "Protocol": "tcp",
        "SourceIp": "10.0.0.5",
        "SourcePort": "50000",
        "DestinationIp": "8.8.8.8",
        "DestinationPort": "443",
        "DestinationHostname": "dns.google",
    },
    {
        "EventID": 3,
        "Image": "C:\\b.exe",
        "Initiated": "false",
        "Protocol": "udp",
        "SourceIp": "8.8.4.4",
        "SourcePort": "53",
        "DestinationIp": "10.0.0.5",
        "DestinationPort": "443",
    },
    {"EventID": 11, "Image": "C:\\a.exe", "TargetFilename": "C:\\Users\\ann\\x.ps1"},
    {
        "EventID": 13,
        "EventType": "SetValue",
        "Image": "C:\\reg.exe",
        "TargetObject": "HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\Evil",
        "Details": "C:\\evil.exe",
        "User": "CORP\\ann",
    },
    {"EventID": 12, "EventType": "CreateKey", "Image": "C:\\reg.exe", "TargetObject": "HKLM\\Software\\New"},
    {
        "EventID": 12,
        "EventType": "DeleteValue",
        "Image": "C:\\r.exe",
        "TargetObject": "HKLM\\Software\\Old\\V",
    },
    {"EventID": 7, "Image": "C:\\a.exe", "ImageLoaded": "C:\\evil.dll", "Signed": "false", "Hashes": HASHES},
    {"EventID": 22, "Image": "C:\\a.exe", "QueryName": "evil.example", "QueryResults": "1.2.3.4"},
    {
        "EventID": 10,
        "SourceImage": "C:\\mimikatz.exe",
        "TargetImage": "C:\\Windows\\System32\\lsass.exe",
        "GrantedAccess": "0x1410",
        "CallTrace": "UNKNOWN(0001)",
    },
    {"EventID": 17, "Image": "C:\\a.exe", "PipeName": "\\msagent_12", "EventType": "CreatePipe"},
]

CASES: list[tuple[str, str, list[int]]] = [
    ("process_creation", "sel: {CommandLine|contains: WHOAMI}", [0]),
    ("process_creation", "sel: {Image|endswith: '\\cmd.exe', OriginalFileName: cmd.exe}", [0]),
    ("process_creation", "sel: {ParentImage|endswith: '\\explorer.exe', CurrentDirectory: C*}", [0]),
    ("process_creation", "sel: {User: 'nt authority\\system'}", [0]),
    ("process_creation", "sel: {User|contains: [AUTHORI, AUTORI]}", [0]),
    ("process_creation", "sel: {User|contains: 'Y\\S'}", [0]),
    ("process_creation", "sel: {User|endswith: '\\ANN'}", [1]),
    ("process_creation", "sel: {User: ['CORP\\bob', 'corp\\ann']}", [1]),
    ("process_creation", "sel: {User: ann}", []),
    ("process_creation", "sel: {User|startswith: CORP}", [1]),
    ("process_creation", f"sel: {{Hashes|contains: 'SHA256={'C' * 64}'}}", [0]),
    ("process_creation", f"sel: {{Hashes|contains: ['MD5={'b' * 32}', 'MD5={'E' * 32}']}}", [0, 1]),
    ("process_creation", f"sel: {{Hashes|contains: ['IMPHASH={'D' * 32}', 'IMPHASH={'1' * 32}']}}", [0]),
    ("process_creation", f"sel: {{Hashes|contains: 'IMPHASH={'D' * 32}'}}", [0]),
    ("process_creation", "sel: {Hashes|contains: 'SHA1=aaaa'}", [0]),
    ("process_creation", "sel: {Hashes|startswith: 'MD5='}", [1]),
    ("process_creation", "sel: {LogonId: '0x3E7', ProcessId: 1234}", [0]),
    ("process_creation", "sel: {IntegrityLevel: [System, S-1-16-16384]}", [0]),
    ("process_creation", "sel: {ParentImage: null}", [1]),
    ("network_connection", "sel: {Initiated: 'true', DestinationPort: 443}", [2]),
    ("network_connection", "sel: {DestinationPort: [443, 80]}", [2, 3]),
    ("network_connection", "sel: {DestinationIp|cidr: 10.0.0.0/8}", [3]),
    (
        "network_connection",
        "a: {Protocol: TCP}\nsel: {DestinationIp|cidr: 10.0.0.0/8}\ncondition: a and not sel",
        [2],
    ),
    ("network_connection", "sel: {SourcePort|lt: 1024}", [3]),
    ("network_connection", "sel: {DestinationPort|startswith: '44'}", [2, 3]),
    ("network_connection", "sel: {DestinationHostname|endswith: '.GOOGLE'}", [2]),
    ("file_event", "sel: {TargetFilename|endswith: '.ps1'}", [4]),
    ("registry_set", "sel: {TargetObject|contains: '\\CurrentVersion\\Run\\', Details: 'c:\\EVIL.exe'}", [5]),
    ("registry_set", "sel: {TargetObject|startswith: HKLM, TargetObject|endswith: '\\Run\\Evil'}", [5]),
    ("registry_set", "sel: {User|contains: ann}", [5]),
    ("registry_event", "sel: {TargetObject|startswith: 'HKLM\\Software'}", [5, 6, 7]),
    ("registry_event", "sel: {EventType: CreateKey}", [6]),
    ("registry_add", "sel: {Image|endswith: .exe}", [6]),
    ("registry_delete", "sel: {Image|endswith: .exe}", [7]),
    ("image_load", "sel: {ImageLoaded|endswith: .dll, Signed: 'false'}", [8]),
    ("dns_query", "sel: {QueryName|contains: evil, QueryResults|startswith: '1.'}", [9]),
    ("process_access", "sel: {TargetImage|endswith: '\\lsass.exe', GrantedAccess: ['0x1410', 0x1]}", [10]),
    ("process_access", "sel: {CallTrace|contains: UNKNOWN, SourceImage|contains: mimi}", [10]),
    ("pipe_created", "sel: {PipeName|startswith: '\\msagent_'}", [11]),
]  # fmt: skip
KINDS = {
    "process_creation": 1, "network_connection": 3, "file_event": 11, "registry_set": 13, "image_load": 7,
    "dns_query": 22, "process_access": 10, "pipe_created": 17,
}  # fmt: skip
TYPES = {"registry_add": "CreateKey", "registry_delete": "DeleteValue"}


def asked(category: str, event: dict[str, Any]) -> bool:
    """Whether an event is of a category."""
    if category in TYPES:
        return event.get("EventType") == TYPES[category]
    return (
        event["EventID"] in (12, 13) if category == "registry_event" else event["EventID"] == KINDS[category]
    )


@pytest.fixture(scope="module")
def imported(telemetry: TelemetryStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tenant of the events, each imported as a line of JSON whose time has its number as the second."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('state')}/state.db")
    Base.metadata.create_all(database.engine)
    tenant = str(uuid4())
    with database.system_session() as session:
        session.add(Tenant(id=tenant, name=tenant, created_time=now()))
    lines = [
        json.dumps(
            {"Channel": SYSMON, "Hostname": "pc", "UtcTime": f"2026-03-05 14:07:{number:02}.000", **event}
        )
        for number, event in enumerate(EVENTS)
    ]
    batch = Batch(tenant, "", "unnamed", "", "", 0, "\n".join(lines).encode(), "identity", "windows")

    async def work() -> None:
        ingester = Ingester(telemetry, database, sources=Sources(telemetry, database))
        await ingester.start()
        try:
            assert not (await ingester.submit(batch)).rejected
        finally:
            await ingester.stop()

    asyncio.run(work())
    yield tenant
    database.close()


@pytest.mark.parametrize(
    ("category", "detection", "expected"), CASES, ids=[f"{case[0]} {case[1][:50]}" for case in CASES]
)
def test_an_imported_event_fires_by_the_evaluator_and_by_the_product(
    imported: str, run: Run, category: str, detection: str, expected: list[int]
) -> None:
    condition = "" if "condition:" in detection else "\n    condition: sel"
    inner = detection.replace("\n", "\n    ")
    text = (
        f"title: A case\nlogsource: {{product: windows, category: {category}}}\n"
        f"detection:\n    {inner}{condition}\n"
    )
    fires = evaluator(yaml.safe_load(text))
    plain = [number for number, event in enumerate(EVENTS) if asked(category, event) and fires(event)]
    assert plain == expected, "the evaluator"
    rule = only(text)
    assert rule.period == CONTINUOUS
    found = sorted(second_of(row["Timestamp"]) for row in run(imported, rule.query))
    assert found == expected, rule.query


def second_of(time: str) -> int:
    return int(time[17:19])
