"""Sensors of Linux and of the network: a handful of records each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from shieldwall.devices.models import Device
from tests.sources.conftest import Recorder

AUDIT = """\
type=SYSCALL msg=audit(1604994496.155:92733): arch=c000003e syscall=59 success=yes exit=0 ppid=29002 \
pid=1631 auid=1000 uid=1000 comm="nc" exe="/usr/bin/nc" key=(null)
type=EXECVE msg=audit(1604994496.155:92733): argc=3 a0="nc" a1=2D6520782079 a2="10.0.0.1"
type=CWD msg=audit(1604994496.155:92733): cwd="/home/w"
type=PROCTITLE msg=audit(1604994496.155:92733): proctitle=6E63002D65
type=USER_LOGIN msg=audit(1604994500.000:92734): pid=9 uid=0 auid=4294967295 ses=1 msg='op=login acct="root" \
exe="/usr/sbin/sshd" hostname=? addr=10.0.0.4 terminal=sshd res=failed'"""

ZEEK = "\n".join(
    (
        "#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\tconn",
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tconn_state\ttunnel_parents",
        "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tstring\tset[string]",
        "1692374534.085907\tC1\t192.168.1.4\t5000\t8.8.8.8\t53\tudp\tdns\tSF\t(empty)",
        "1692374535.0\tC2\t9.9.9.9\t6000\t192.168.1.4\t22\ttcp\t-\tSF\t-",
        "cut off",
    )
)  # fmt: skip


def test_auditd(recorder: Recorder) -> None:
    assert recorder.send("auditd", AUDIT, sensor="web1").stored == 5
    row = recorder.row("DeviceProcessEvents")
    assert (row["DeviceName"], row["FileName"], row["FolderPath"]) == ("web1", "nc", "/usr/bin/nc")
    assert row["ProcessCommandLine"] == "nc -e x y 10.0.0.1"
    assert (row["ProcessId"], row["InitiatingProcessId"]) == (1631, 29002)
    assert row["Timestamp"] == datetime(2020, 11, 10, 7, 48, 16, 155000, tzinfo=UTC)
    failed = recorder.row("DeviceLogonEvents")
    assert (failed["ActionType"], failed["AccountName"], failed["RemoteIP"]) == (
        "LogonFailed",
        "root",
        "10.0.0.4",
    )
    assert {row["Channel"] for row in recorder.rows("SourceEvents")} >= {"EXECVE", "CWD", "PROCTITLE"}


def test_zeek(recorder: Recorder) -> None:
    result = recorder.send("zeek", ZEEK)
    assert (result.stored, [one.reason for one in result.rejected]) == (2, ["not a JSON object"])
    rows = {row["ActionType"]: row for row in recorder.rows("DeviceNetworkEvents")}
    out, came = rows["ConnectionSuccess"], rows["InboundConnectionAccepted"]
    assert (out["LocalIP"], out["RemoteIP"], out["RemotePort"], out["Protocol"]) == (
        "192.168.1.4",
        "8.8.8.8",
        53,
        "Udp",
    )
    assert (came["LocalIP"], came["LocalPort"], came["RemoteIP"]) == ("192.168.1.4", 22, "9.9.9.9")
    assert json.loads(out["AdditionalFields"])["uid"] == "C1"
    as_json = {"_path": "dns", "ts": 1692374536.5, "uid": "C3", "id.orig_h": "192.168.1.4", "id.orig_p": 1,
               "id.resp_h": "8.8.8.8", "id.resp_p": 53, "proto": "udp", "query": "example.org"}  # fmt: skip
    recorder.send("zeek", as_json)
    assert "example.org" in {row["RemoteUrl"] for row in recorder.rows("DeviceNetworkEvents")}


def test_suricata(recorder: Recorder) -> None:
    base = {"timestamp": "2024-05-01T10:00:00.000001+0200", "src_ip": "10.1.1.1", "src_port": 1,
            "dest_ip": "1.1.1.1", "dest_port": 443, "proto": "TCP", "flow_id": 5}  # fmt: skip
    recorder.send("suricata", base | {"event_type": "tls", "tls": {"sni": "example.org"}},
                  base | {"event_type": "stats"})  # fmt: skip
    row = recorder.row("DeviceNetworkEvents")
    assert (row["ActionType"], row["RemoteUrl"], row["RemoteIP"]) == (
        "SslConnectionInspected",
        "example.org",
        "1.1.1.1",
    )
    assert row["Timestamp"] == datetime(2024, 5, 1, 8, 0, 0, 1, tzinfo=UTC)
    assert json.loads(row["AdditionalFields"])["tls"] == {"sni": "example.org"}
    assert len(recorder.rows("SourceEvents")) == 2


def test_osquery_falco_and_tetragon(recorder: Recorder) -> None:
    recorder.send("osquery", {
        "name": "pack_incident_process_events", "hostIdentifier": "h1", "unixTime": 1700000000,
        "action": "added",
        "columns": {"path": "/bin/id", "cmdline": "id -u", "pid": "12", "parent": "3"},
    })  # fmt: skip
    recorder.send("falco", {
        "time": "2024-05-01T10:00:00.123456789Z", "rule": "Shell", "priority": "Notice", "hostname": "h1",
        "output": "x", "output_fields": {"evt.type": "execve", "proc.exepath": "/bin/sh", "proc.name": "sh",
                                          "proc.cmdline": "sh -c id", "proc.pid": 40, "proc.ppid": 3},
    })  # fmt: skip
    recorder.send("tetragon", {
        "process_exec": {"process": {"pid": 50, "binary": "/bin/ls", "arguments": "-l /", "exec_id": "e",
                                     "start_time": "2024-05-01T10:00:00Z"},
                         "parent": {"pid": 1, "binary": "/sbin/init"}},
        "node_name": "h1", "time": "2024-05-01T10:00:01Z",
    })  # fmt: skip
    rows = {row["ProcessId"]: row for row in recorder.rows("DeviceProcessEvents")}
    assert {number: row["ProcessCommandLine"] for number, row in rows.items()} == {
        12: "id -u",
        40: "sh -c id",
        50: "ls -l /".replace("ls", "/bin/ls"),
    }
    assert {row["DeviceName"] for row in rows.values()} == {"h1"}
    assert rows[50]["InitiatingProcessCommandLine"] == "/sbin/init"
    assert rows[40]["FileName"] == "sh"


def test_sysmon_for_linux_and_forwarded_xml(recorder: Recorder) -> None:
    text = (
        'May 1 10:00:00 host sysmon: <Event><System><Provider Name="Linux-Sysmon"/><EventID>1</EventID>'
        '<TimeCreated SystemTime="2024-05-01T10:00:00.5Z"/><Channel>Linux-Sysmon/Operational</Channel>'
        '<Computer>lin1</Computer></System><EventData><Data Name="Image">/bin/cat</Data>'
        '<Data Name="CommandLine">cat &lt;x&gt;</Data><Data Name="User">root</Data></EventData></Event>'
    )
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]><Event><System>&a;</System></Event>'
    result = recorder.send("windows", text, bomb)
    assert result.stored == 1
    row = recorder.row("DeviceProcessEvents")
    assert (row["DeviceName"], row["FileName"], row["ProcessCommandLine"]) == ("lin1", "cat", "cat <x>")
    assert (row["AccountDomain"], row["AccountName"]) == ("", "root")


def test_json_of_no_known_sensor_is_kept(recorder: Recorder) -> None:
    recorder.send(
        "json",
        {"TimeGenerated": "2021-08-02T13:29:25Z", "Category": "Audit", "Computer": "C1", "a": {"b": 1}},
    )
    row = recorder.row("SourceEvents")
    assert (row["Source"], row["Channel"], row["DeviceName"]) == ("json", "Audit", "C1")
    assert json.loads(row["EventData"])["a"] == {"b": 1}


def test_a_network_sensors_record_is_of_the_device_that_had_the_address(recorder: Recorder) -> None:
    time = datetime(2024, 5, 1, 10, 0, tzinfo=UTC)
    with recorder.database.session(recorder.tenant) as session:
        session.add_all(
            Device(id=letter * 40, computer_dns_name=f"pc-{letter}", first_seen=time, last_seen=time,
                   last_contact=time, public_key="k") for letter in "ab"
        )  # fmt: skip
    recorder.store.insert_rows(
        "DeviceNetworkInfo",
        recorder.tenant,
        [
            {"Timestamp": moment, "DeviceId": letter * 40, "DeviceName": f"pc-{letter}",
             "IPAddresses": '[{"IPAddress": "127.0.0.1"}, {"IPAddress": "10.1.1.1"}]'}
            for letter, moment in (("a", time), ("b", time + timedelta(hours=8)))
        ],
    )  # fmt: skip
    flow = {"event_type": "flow", "src_ip": "10.1.1.1", "src_port": 1, "dest_ip": "1.1.1.1", "dest_port": 443,
            "proto": "TCP"}  # fmt: skip
    moments = [
        time - timedelta(hours=9),
        time + timedelta(hours=1),
        time + timedelta(hours=9),
        time + timedelta(days=9),
    ]
    recorder.send("suricata", *(flow | {"timestamp": moment.isoformat()} for moment in moments))
    assert [row["DeviceName"] for row in recorder.rows("DeviceNetworkEvents")] == [
        "sensor1",
        "pc-a",
        "pc-b",
        "sensor1",
    ]
    again = recorder.send("suricata", *(flow | {"timestamp": moment.isoformat()} for moment in moments))
    assert again.stored == 0
