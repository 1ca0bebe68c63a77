"""Each product's records as our schema: what is taken from where, and how what is wrong is named."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from shieldwall.detection.external.formats.registry import FORMATS
from shieldwall.detection.external.reading import Item, read
from shieldwall.detection.external.schema import ExternalAlert
from shieldwall.errors import ApiError
from shieldwall.times import now, to_text
from tests.detection.external.conftest import suricata

MOMENT = now().replace(microsecond=0)
SECONDS = MOMENT.timestamp()
TEXT = to_text(MOMENT)
SHA256 = "ab" * 32

ZEEK = {
    "ts": SECONDS,
    "uid": "CHhAvVGS1DHFjwGM9",
    "id.orig_h": "10.0.0.5",
    "id.orig_p": 40001,
    "id.resp_h": "11.2.2.9",
    "id.resp_p": 443,
    "proto": "tcp",
    "note": "Intel::Notice",
    "msg": "Intel hit on 11.2.2.9",
    "sub": "Intel::ADDR",
    "peer_descr": "worker-1",
    "n": 0,
}
WAZUH = {
    "timestamp": MOMENT.strftime("%Y-%m-%dT%H:%M:%S.123+0000"),
    "id": "1700000000.1",
    "rule": {
        "level": 10,
        "id": "5712",
        "description": "sshd: brute force trying to get access to the system.",
        "mitre": {"id": ["T1110"], "tactic": ["Credential Access"], "technique": ["Brute Force"]},
        "groups": ["syslog", "sshd"],
    },
    "agent": {"id": "001", "name": "web01", "ip": "10.0.0.5"},
    "manager": {"name": "wazuh"},
    "data": {"srcip": "11.2.2.9", "srcport": "53412", "srcuser": "admin"},
    "full_log": "Failed password for admin from 11.2.2.9",
}
FALCO = {
    "uuid": "f-1",
    "time": MOMENT.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
    "rule": "Reverse shell",
    "priority": "Critical",
    "output": "Reverse shell connection",
    "hostname": "web01",
    "source": "syscall",
    "tags": ["mitre_execution", "T1059"],
    "output_fields": {
        "proc.pid": 4321,
        "proc.name": "bash",
        "proc.exepath": "/usr/bin/bash",
        "proc.cmdline": "bash -i",
        "user.name": "www-data",
        "fd.cip": "10.0.0.5",
        "fd.cport": 40001,
        "fd.sip": "11.2.2.9",
        "fd.sport": 4444,
        "fd.l4proto": "tcp",
        "fd.name": "10.0.0.5:40001->11.2.2.9:4444",
    },
}
OCSF = {
    "class_uid": 2004,
    "activity_id": 1,
    "severity_id": 5,
    "status_id": 2,
    "time": int(SECONDS * 1000),
    "metadata": {"product": {"name": "Guard", "vendor_name": "Fabrikam"}, "version": "1.3.0"},
    "finding_info": {
        "uid": "o-1",
        "title": "Credential dumping",
        "desc": "Somebody read the memory of lsass",
        "attacks": [{"tactic": {"uid": "TA0006"}, "technique": {"uid": "T1003.001"}}],
    },
    "device": {"hostname": "web01", "ip": "10.0.0.5", "mac": "02:00:00:00:00:05", "uid": "x"},
    "evidences": [
        {
            "src_endpoint": {"ip": "10.0.0.5", "port": 40001},
            "dst_endpoint": {"ip": "11.2.2.9", "port": 443},
            "connection_info": {"protocol_name": "tcp", "direction_id": 2},
            "file": {"name": "dump", "hashes": [{"algorithm_id": 3, "value": SHA256.upper()}]},
            "actor": {"process": {"pid": 77, "name": "m", "cmd_line": "m -x"}, "user": {"name": "eve"}},
        }
    ],
}
STIX = {
    "type": "bundle",
    "id": "bundle--1",
    "objects": [
        {"type": "identity", "id": "identity--1", "name": "Feed"},
        {
            "type": "indicator",
            "id": "indicator--1",
            "name": "C2 of Beacon",
            "created_by_ref": "identity--1",
            "confidence": 90,
            "pattern": f"[file:hashes.'SHA-256' = '{SHA256}'] OR [domain-name:value = 'evil.example']",
            "kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": "command-and-control"}],
            "external_references": [{"source_name": "mitre-attack", "external_id": "T1071"}],
        },
        {
            "type": "sighting",
            "id": "sighting--1",
            "sighting_of_ref": "indicator--1",
            "first_seen": TEXT,
            "last_seen": TEXT,
            "count": 3,
            "observed_data_refs": ["observed-data--1"],
        },
        {
            "type": "observed-data",
            "id": "observed-data--1",
            "object_refs": ["network-traffic--1", "file--1"],
        },
        {
            "type": "network-traffic",
            "id": "network-traffic--1",
            "src_ref": "ipv4-addr--1",
            "dst_ref": "ipv4-addr--2",
            "src_port": 40001,
            "dst_port": 443,
            "protocols": ["ipv4", "tcp", "tls"],
        },
        {"type": "ipv4-addr", "id": "ipv4-addr--1", "value": "10.0.0.5"},
        {"type": "ipv4-addr", "id": "ipv4-addr--2", "value": "11.2.2.9"},
        {"type": "file", "id": "file--1", "name": "dropper", "hashes": {"SHA-256": SHA256}},
    ],
}
CEF = (
    f"<134>Nov 26 01:00:00 fw CEF:0|Contoso|Wall\\|One|9.1|t-77|Beacon \\\\ seen|8|src=10.0.0.5 spt=40001 "
    f"dst=11.2.2.9 dpt=443 proto=TCP suser=eve msg=a\\=b and more externalId=w-1 fileHash={SHA256} "
    f"rt={int(SECONDS * 1000)} dhost=evil.example"
)
LEEF = (
    f"LEEF:2.0|Contoso|Wall|9|beacon|^|src=10.0.0.5^srcPort=40001^dst=11.2.2.9^dstPort=443^proto=TCP^sev=8"
    f"^devTime={MOMENT.strftime('%b %d %Y %H:%M:%S')}^usrName=eve"
)

RECORDS: dict[str, Any] = {
    "suricata": suricata(when=MOMENT),
    "zeek": ZEEK,
    "wazuh": WAZUH,
    "falco": FALCO,
    "ocsf": OCSF,
    "stix": STIX,
    "cef": CEF,
    "leef": LEEF,
}


def items(record: Any, form: str = "") -> list[Item]:
    content = record.encode() if isinstance(record, str) else json.dumps(record).encode()
    return read(content, FORMATS[form] if form else None)[0]


def alert(record: Any, form: str = "") -> ExternalAlert:
    (item,) = items(record, form)
    assert item.alert is not None, item.error
    return item.alert


def wrong(record: Any, form: str = "") -> str:
    (item,) = items(record, form)
    assert item.error is not None
    return item.error.field


@pytest.mark.parametrize("form", RECORDS)
def test_each_format_is_told_by_its_records(form: str) -> None:
    (item,) = items(RECORDS[form])
    assert (item.format, item.error) == (form, None)
    found = item.alert
    assert found is not None
    if form != "wazuh":
        ends = (found.network.source_address, found.network.destination_address)
        assert ends == ("10.0.0.5", "11.2.2.9")
    assert abs(found.time - MOMENT) <= timedelta(seconds=1)
    assert items(RECORDS[form])[0].digest == item.digest


def test_suricata() -> None:
    found = alert(RECORDS["suricata"])
    assert (found.vendor, found.product, found.sensor) == ("OISF", "Suricata", "ids-1")
    assert (found.severity, found.category, found.rule_id) == ("High", "CommandAndControl", "2024897")
    assert (found.network.source_port, found.network.sni) == (40001, "bad.example")
    flow = {"src_ip": "10.0.0.5", "src_port": 40001, "dest_ip": "11.2.2.9", "dest_port": 443, "start": TEXT}
    answer = suricata(("11.2.2.9", 443), ("10.0.0.5", 40001), MOMENT, flow=flow)
    network = alert(answer).network
    assert (network.source_address, network.destination_port, network.start_time) == ("10.0.0.5", 443, MOMENT)
    turned = alert({**answer, "flow": {}, "direction": "to_client"}).network
    assert (turned.source_address, turned.destination_port) == ("10.0.0.5", 443)


def test_zeek() -> None:
    found = alert(ZEEK)
    assert (found.title, found.sensor, found.severity) == ("Intel::Notice", "worker-1", "High")
    assert found.description == "Intel hit on 11.2.2.9\nIntel::ADDR"
    hashed = {**ZEEK, "note": "TeamCymruMalwareHashRegistry::Match", "msg": f"Malware {'ab' * 20} seen"}
    assert alert(hashed).files[0].sha1 == "ab" * 20


def test_wazuh() -> None:
    found = alert(WAZUH)
    assert (found.severity, found.category, found.techniques) == ("Medium", "CredentialAccess", ["T1110"])
    assert (found.device.name, found.device.addresses) == ("web01", ["10.0.0.5"])
    assert (found.network.source_address, found.network.source_port) == ("11.2.2.9", 53412)
    assert found.users[0].name == "admin"


def test_falco() -> None:
    found = alert(FALCO)
    assert (found.severity, found.category, found.device.name) == ("High", "Execution", "web01")
    process = found.processes[0]
    assert (process.process_id, process.path, process.command_line) == (4321, "/usr/bin/bash", "bash -i")
    assert found.files == []


def test_ocsf() -> None:
    found = alert(OCSF)
    assert (found.vendor, found.product, found.alert_id) == ("Fabrikam", "Guard", "o-1")
    assert (found.severity, found.status, found.category) == ("High", "InProgress", "CredentialAccess")
    assert (found.network.direction, found.files[0].sha256) == ("Outbound", SHA256)
    assert (found.processes[0].command_line, found.users[0].name) == ("m -x", "eve")
    assert found.device.mac_addresses == ["020000000005"]
    assert alert({**OCSF, "activity_id": 3}).status == "Resolved"
    assert wrong({**OCSF, "class_uid": 2001}) == "class_uid"


def test_stix() -> None:
    found = alert(STIX)
    assert (found.vendor, found.title, found.event_count) == ("Feed", "C2 of Beacon", 3)
    assert (found.severity, found.category, found.techniques) == ("High", "CommandAndControl", ["T1071"])
    (file,) = found.files
    assert (file.sha256, file.name, file.malicious) == (SHA256, "dropper", True)
    assert (found.network.domain, found.network.protocol) == ("evil.example", "tcp")
    twice = json.loads(json.dumps(STIX))
    twice["objects"].append({**twice["objects"][2], "id": "sighting--2"})
    assert [item.place for item in items(twice)] == ["sighting 1", "sighting 2"]
    assert wrong({"type": "bundle", "objects": []}) == "objects"


def test_cef() -> None:
    found = alert(CEF)
    assert (found.vendor, found.product, found.title) == ("Contoso", "Wall|One", "Beacon \\ seen")
    assert (found.severity, found.description, found.alert_id) == ("High", "a=b and more", "w-1")
    assert (found.files[0].sha256, found.network.domain) == (SHA256, "evil.example")
    other = CEF.replace("<134>Nov 26 01:00:00 fw ", "<131>Nov 26 01:09:09 relay ")
    assert items(other)[0].digest == items(CEF)[0].digest, "the way that a line took does not matter"


def test_leef() -> None:
    found = alert(LEEF)
    assert (found.vendor, found.title, found.severity) == ("Contoso", "beacon", "High")
    assert (found.network.source_port, found.users[0].name) == (40001, "eve")
    first = LEEF.replace("2.0", "1.0").replace("|^|", "|").replace("^", "\t")
    assert alert(first).network == found.network
    assert alert(LEEF.replace("|^|", "|x5E|")).network == found.network


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({**suricata(), "src_ip": "nowhere"}, "src_ip"),
        ({**suricata(), "timestamp": "yesterday"}, "timestamp"),
        ({**suricata(), "alert": {"signature": ["x"]}}, "alert.signature"),
        ({**ZEEK, "id.resp_p": 70000}, "id.resp_p"),
        ({**ZEEK, "ts": 1}, "ts"),
        ({**FALCO, "output_fields": {"proc.pid": "many"}}, "output_fields.proc.pid"),
        ({**OCSF, "device": {"ip": "x"}}, "device.ip"),
        (CEF.replace("spt=40001", "spt=high"), "spt"),
        (CEF.replace(f"rt={int(SECONDS * 1000)}", ""), "rt"),
        (LEEF.replace("10.0.0.5", "10.0.0"), "src"),
    ],
)
def test_what_is_wrong_has_the_products_name(record: Any, field: str) -> None:
    assert wrong(record) == field


def test_lines_of_several_formats_come_together() -> None:
    found = items(f"{CEF}\n\n{LEEF}\nnothing of the kind\nCEF:0|short\n")
    assert [(item.place, item.format, item.alert is not None) for item in found] == [
        ("line 1", "cef", True),
        ("line 3", "leef", True),
        ("line 4", "", False),
        ("line 5", "cef", False),
    ]


def test_records_with_their_format_come_as_one_object() -> None:
    assert [item.format for item in items({"format": "cef", "records": [CEF, CEF]})] == ["cef", "cef"]
    assert [item.place for item in items({"records": [ZEEK, LEEF]})] == ["item 1", "item 2"]
    with pytest.raises(ApiError, match="format must be one of"):
        items({"format": "nosuch", "records": []})


@pytest.mark.parametrize("form", RECORDS)
def test_any_value_anywhere_is_taken_or_refused(form: str) -> None:
    """A value of a wrong type at any place of a record is an answer, never a failure."""
    chance = random.Random(7)
    junk: list[Any] = [
        None,
        True,
        -1,
        1e308,
        "",
        "x" * 3000,
        [],
        {},
        [[]],
        {"a": {}},
        "\x00",
        ["\x1b"],
        [None],
    ]
    record = RECORDS[form]
    for _ in range(400):
        if isinstance(record, str):
            cut = chance.randrange(len(record))
            changed: Any = (
                record[:cut] + chance.choice(["|", "=", "\\", "\t", " ", "\x01"]) + record[cut + 1 :]
            )
        else:
            changed = json.loads(json.dumps(record))
            place, name = chance.choice(list(_places(changed)))
            place[name] = chance.choice(junk)
        for item in items(changed, form):
            assert (item.alert is None) != (item.error is None)


def _places(value: Any) -> Any:
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, below in list(entries):
        yield value, name
        yield from _places(below)
