"""Records to rows: mapped, whole, counted, and stored once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.devices.models import Device
from shieldwall.telemetry.deadletters import list_rejects
from shieldwall.telemetry.ingest import StoredGroup
from shieldwall.times import now
from tests.sources.conftest import GUID, PROCESS, Recorder, event


def test_a_process_fills_its_columns_and_nothing_of_it_is_lost(recorder: Recorder) -> None:
    result = recorder.send("windows", event(1, PROCESS))
    assert (result.stored, result.rejected) == (1, ())
    row = recorder.row("DeviceProcessEvents")
    assert row["Timestamp"] == datetime(2020, 3, 21, 12, 36, 3, 899213, UTC)
    assert (row["DeviceName"], row["ActionType"]) == ("PC1.corp.example", "ProcessCreated")
    assert (row["FolderPath"], row["FileName"]) == (PROCESS["Image"], "nc.exe")
    assert row["ProcessCommandLine"] == PROCESS["CommandLine"]
    assert (row["AccountDomain"], row["AccountName"], row["LogonId"]) == ("CORP", "alice", 999)
    assert (row["SHA1"], row["SHA256"], row["MD5"]) == ("a" * 40, "c" * 64, "b" * 32)
    assert (row["ProcessId"], row["InitiatingProcessId"]) == (4464, 99)
    assert (row["ProcessUniqueId"], row["ProcessCreationTime"]) == (
        GUID,
        datetime(2020, 3, 21, 12, 30, 18, tzinfo=UTC),
    )
    kept = json.loads(row["AdditionalFields"])
    assert (kept["Source"], kept["EventID"]) == ("sysmon", 1)
    assert kept["Hashes"] == PROCESS["Hashes"]
    held = {"Image", "CommandLine", "ProcessId", "User", "IntegrityLevel", "ParentImage", "ParentCommandLine",
            "ParentProcessId"}  # fmt: skip
    assert set(PROCESS) - held == set(kept) - {"Source", "EventID"}
    whole = recorder.row("SourceEvents")
    assert (whole["Source"], whole["EventId"], whole["ReportId"]) == ("sysmon", 1, row["ReportId"])
    data = json.loads(whole["EventData"])
    assert data.pop("System")["EventRecordID"] == 244340
    assert data == PROCESS


def test_a_record_is_stored_once_however_often_it_comes(recorder: Recorder) -> None:
    records = [event(1, PROCESS | {"ProcessId": number}) for number in range(5)]
    assert recorder.send("windows", *records).stored == 5
    again = recorder.send("windows", *records, event(1, PROCESS | {"ProcessId": 6}), times=3)
    assert again.stored <= 1
    assert sum(verdict.count for verdict in again.verdicts if verdict.duplicate) >= 5
    assert len(recorder.rows("DeviceProcessEvents")) == len(recorder.rows("SourceEvents")) == 6
    assert len({row["ReportId"] for row in recorder.rows("SourceEvents")}) == 6


def test_events_that_are_alike_are_stored_each_and_known_again(recorder: Recorder) -> None:
    body = [event(1, PROCESS)] * 3
    assert recorder.send("windows", *body).stored == 3
    assert recorder.send("windows", *body).stored == 0
    assert recorder.send("windows", *body, *body).stored == 3
    assert len({row["ReportId"] for row in recorder.rows("DeviceProcessEvents")}) == 6


def test_every_line_is_stored_or_rejected_with_a_reason(recorder: Recorder) -> None:
    later = event(1, PROCESS, TimeCreated={"#attributes": {"SystemTime": "2999-01-01T00:00:00Z"}})
    early = event(1, PROCESS, TimeCreated={"#attributes": {"SystemTime": "1601-01-01T00:00:00Z"}})
    lines = [event(1, PROCESS), "not json", '{"Event": {}}', later, early, event(1, PROCESS, host="a b"), ""]
    result = recorder.send("windows", *lines)
    assert result.stored == 1
    assert {(one.line, one.reason) for one in result.rejected} == {
        (2, "not a JSON object"),
        (3, "no time of the event"),
        (4, "the time lies in the future"),
        (5, "the time lies before 1971"),
        (6, "names no machine"),
    }
    letters = list_rejects(recorder.store, recorder.tenant)
    assert {letter.line for letter in letters} == {2, 3, 4, 5, 6}
    assert next(letter.text for letter in letters if letter.line == 2) == "not json"


def test_events_without_a_table_are_kept_whole(recorder: Recorder) -> None:
    result = recorder.send("windows", event(9999, {"Any": "thing"}, channel="Some/Channel"))
    assert [verdict.tables for verdict in result.verdicts] == [("SourceEvents",)]
    row = recorder.row("SourceEvents")
    assert (row["Source"], row["Channel"], row["EventId"]) == ("windows", "Some/Channel", 9999)
    assert json.loads(row["EventData"])["Any"] == "thing"


def test_the_forms_of_an_event_say_the_same(recorder: Recorder) -> None:
    pipe = {"EventType": "CreatePipe", "PipeName": r"\svchost", "Image": r"C:\a\b.exe", "ProcessId": "7"}
    flat = {"Channel": "microsoft-windows-sysmon/operational", "EventID": 17, "Hostname": "pc1.corp.example"}
    as_list = [{"@Name": name, "#text": text} for name, text in pipe.items()]
    forms = [
        event(17, pipe),
        event(17, {"Data": as_list}),
        event(17, {"Data": as_list}, EventID={"@Qualifiers": "16384", "#text": "17"}),
        {
            "@timestamp": "2020-03-21T12:36:03.899Z",
            "winlog": {
                "channel": "Microsoft-Windows-Sysmon/Operational",
                "event_id": "17",
                "computer_name": "PC1.corp.example",
                "provider_name": "Microsoft-Windows-Sysmon",
                "event_data": pipe,
                "record_id": 5,
            },
            "host": {"name": "pc1"},
        },
        flat | pipe | {"UtcTime": "2020-03-21 12:36:03.899", "SourceName": "Microsoft-Windows-Sysmon"},
        flat | pipe | {
            "EventType": "INFO", "Message": "Pipe Created:\r\nEventType: CreatePipe\r\n",
            "EventTime": "2020-03-21 14:36:03", "@timestamp": "2020-03-21T12:36:05Z", "RecordNumber": 3,
        },
    ]  # fmt: skip
    for form in forms:
        assert recorder.send("windows", form).stored == 1
    rows = recorder.rows("DeviceEvents")
    assert len(rows) == 6
    for row in rows:
        assert row["ActionType"] == "NamedPipeEvent"
        assert row["InitiatingProcessFileName"] == "b.exe"
        assert row["InitiatingProcessId"] == 7
        assert row["Timestamp"].replace(microsecond=0) == datetime(2020, 3, 21, 12, 36, 3, tzinfo=UTC)
        assert json.loads(row["AdditionalFields"])["PipeName"] == r"\svchost"
        assert json.loads(row["AdditionalFields"])["EventType"] == "CreatePipe"
    assert {row["Channel"] for row in recorder.rows("SourceEvents")} == {
        "Microsoft-Windows-Sysmon/Operational"
    }
    assert len({row["DeviceId"] for row in rows}) == 1


def test_a_known_device_is_found_by_its_name_without_case(recorder: Recorder) -> None:
    with recorder.database.session(recorder.tenant) as session:
        time = now()
        session.add(Device(id="e" * 40, computer_dns_name="pc1.corp.example", first_seen=time, last_seen=time,
                           last_contact=time, public_key="k"))  # fmt: skip
    recorder.send(
        "windows", event(1, PROCESS), event(1, PROCESS, host="Other"), event(1, PROCESS, host="OTHER")
    )
    rows = recorder.rows("DeviceProcessEvents")
    assert [row["DeviceId"] for row in rows if row["DeviceName"] == "pc1.corp.example"] == ["e" * 40]
    with recorder.database.read(recorder.tenant) as session:
        devices = {device.computer_dns_name: device for device in session.scalars(select(Device))}
    assert set(devices) == {"pc1.corp.example", "Other"}
    made = devices["Other"]
    assert (made.onboarding_status, made.os_platform, made.public_key) == ("CanBeOnboarded", "Windows", "")
    assert made.id in {row["DeviceId"] for row in rows}


def test_observers_see_the_rows_of_records(recorder: Recorder) -> None:
    seen: list[StoredGroup] = []

    class Watch:
        def observe(self, group: StoredGroup, session: Session) -> Callable[[], None] | None:
            seen.append(group)
            return None

    recorder.observers = [Watch()]
    recorder.send("windows", event(1, PROCESS), event(9999, {}))
    assert [dict(group.rows) for group in seen] == [{"SourceEvents": 2, "DeviceProcessEvents": 1}]
    found = recorder.store.system_query(
        f"SELECT count() AS n FROM shieldwall.DeviceProcessEvents WHERE GroupId = {seen[0].id}"
    )
    assert found[0]["n"] == 1


def registry(recorder: Recorder, number: int, **fields: Any) -> dict[str, Any]:
    recorder.send("windows", event(number, {"Image": "System", "TargetObject": r"HKLM\A\B\C", **fields}))
    return recorder.row("DeviceRegistryEvents")


def test_registry_names_are_those_of_the_hunting_tables(recorder: Recorder) -> None:
    row = registry(recorder, 13, Details="DWORD (0x00000001)")
    assert row["ActionType"] == "RegistryValueSet"
    assert (row["RegistryKey"], row["RegistryValueName"]) == (r"HKEY_LOCAL_MACHINE\A\B", "C")
    assert row["RegistryValueData"] == "DWORD (0x00000001)"
    assert json.loads(row["AdditionalFields"])["TargetObject"] == r"HKLM\A\B\C"


def test_one_event_id_tells_of_several_actions(recorder: Recorder) -> None:
    row = registry(recorder, 12, EventType="DeleteKey")
    assert (row["ActionType"], row["RegistryKey"]) == ("RegistryKeyDeleted", r"HKEY_LOCAL_MACHINE\A\B\C")
    out = {"Initiated": True, "SourceIp": "10.0.0.1", "SourcePort": 5, "DestinationIp": "8.8.8.8",
           "DestinationPort": 443, "Protocol": "tcp"}  # fmt: skip
    recorder.send("windows", event(3, out), event(3, out | {"Initiated": "false"}))
    rows = {row["ActionType"]: row for row in recorder.rows("DeviceNetworkEvents")}
    assert rows["ConnectionSuccess"]["RemoteIP"] == rows["InboundConnectionAccepted"]["LocalIP"] == "8.8.8.8"
    assert rows["ConnectionSuccess"]["RemoteIPType"] == "Public"
    assert rows["InboundConnectionAccepted"]["RemotePort"] == 5


def test_logons_and_processes_of_the_security_log(recorder: Recorder) -> None:
    logon = {"TargetUserName": "bob", "TargetDomainName": "CORP", "LogonType": 10,
             "IpAddress": "::ffff:10.0.0.7",
             "IpPort": "-", "WorkstationName": "-", "TargetLogonId": "0x1f4"}  # fmt: skip
    process = {"NewProcessName": r"C:\w\x.exe", "NewProcessId": "0x1a4", "SubjectUserName": "bob",
               "TargetUserName": "-", "ParentProcessName": r"C:\w\y.exe", "ProcessId": "0x10"}  # fmt: skip
    recorder.send("windows", event(4624, logon, channel="security"), event(4688, process, channel="Security"))
    row = recorder.row("DeviceLogonEvents")
    assert (row["ActionType"], row["LogonType"], row["AccountName"]) == (
        "LogonSuccess",
        "RemoteInteractive",
        "bob",
    )
    assert (row["RemoteIP"], row["RemotePort"], row["RemoteDeviceName"], row["LogonId"]) == (
        "10.0.0.7",
        None,
        "",
        500,
    )
    started = recorder.row("DeviceProcessEvents")
    assert (started["ProcessId"], started["InitiatingProcessId"]) == (420, 16)
    assert (started["AccountName"], started["InitiatingProcessFileName"]) == ("bob", "y.exe")
    assert {row["Channel"] for row in recorder.rows("SourceEvents")} == {"Security"}
