"""Scans of the test's own folder by the real scanning process."""

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from scratch import MemorySink, indicator

from shieldwall_agent.enforcement.policy import PolicyStore
from shieldwall_agent.executor import Failed
from shieldwall_agent.responses import scan
from shieldwall_agent.responses.quarantine import Quarantine, RunningImages
from shieldwall_agent.responses.scan import Scanner
from shieldwall_agent.responses.vault import Vault

RULE = 'rule Beacon { meta: %s strings: $a = "beacon-marker" condition: $a }'


class Device:
    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.place = folder / "place"
        self.place.mkdir()
        self.policy = PolicyStore(self.state)
        self.sink = MemorySink()
        self.vault = Vault(self.state / "vault")
        self.rules: dict[str, bytes] = {}
        self.cancelled = threading.Event()

    def write(self, name: str, content: bytes) -> str:
        """The SHA-256 of a new file."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def listed(self, *entries: dict[str, Any]) -> None:
        revision = self.policy.revision
        self.policy.apply_delta({"from": revision, "to": revision + 1, "upsert": list(entries)})

    def scan(self, scope: str = "Full") -> dict[str, Any]:
        scanner = Scanner(
            self.state,
            self.policy,
            Quarantine(self.vault, RunningImages(), self.sink),
            self.sink,
            lambda action, file: self.rules[file["name"]],
            [self.place],
        )
        body = {"id": "1", "scope": scope, "rules": [{"name": name} for name in self.rules]}
        return scanner.run(body, self.cancelled).result

    def detections(self) -> list[dict[str, Any]]:
        return [event for event in self.sink.events if event["ActionType"] == "AntivirusDetection"]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_listed_file_is_reported_and_taken_as_its_action_says(device: Device) -> None:
    block = device.write("a/blocked", b"blocked")
    remediate = device.write("b/taken", b"taken")
    allowed = device.write("allowed", b"allowed")
    device.write("clean", b"clean")
    device.listed(
        indicator(block, action="Block", identity="1"),
        indicator(remediate, action="BlockAndRemediate", identity="2"),
        indicator(allowed, action="Allowed", identity="3"),
    )
    result = device.scan()
    assert (result["scanned"], result["found"], result["complete"]) == (4, 2, True)
    found = {Path(entry["path"]).name: entry["remediated"] for entry in result["detections"]}
    assert found == {"blocked": False, "taken": True}
    assert (device.place / "a/blocked").exists()
    assert not (device.place / "b/taken").exists()
    (item,) = device.vault.items()
    assert item.sha256 == remediate
    events = {event["FileName"]: event for event in device.detections()}
    assert events["taken"]["SHA256"] == remediate
    assert events["taken"]["AdditionalFields"]["IndicatorId"] == "2"
    assert events["taken"]["AdditionalFields"]["WasRemediated"] is True
    assert events["blocked"]["AdditionalFields"]["WasRemediated"] is False
    assert device.sink.events[-1]["ActionType"] == "AntivirusScanCompleted"


@pytest.mark.parametrize(("meta", "taken"), [('action = "quarantine"', True), ('author = "me"', False)])
def test_a_file_that_a_rule_matches_is_reported_and_taken_if_the_rule_says_so(
    device: Device, meta: str, taken: bool
) -> None:
    device.write("implant", b"... beacon-marker ...")
    device.write("clean", b"clean")
    device.rules["beacon.yar"] = (RULE % meta).encode()
    result = device.scan("Quick")
    (found,) = result["detections"]
    assert (found["rule"], found["remediated"]) == ("Beacon", taken)
    assert (device.place / "implant").exists() != taken
    (event,) = device.detections()
    assert event["AdditionalFields"]["ThreatName"] == "YARA:Linux/Beacon"


def test_an_allowed_file_is_left_alone_whatever_rules_say(device: Device) -> None:
    digest = device.write("tool", b"beacon-marker")
    device.rules["beacon.yar"] = (RULE % 'action = "quarantine"').encode()
    device.listed(indicator(digest, action="Allowed"))
    assert device.scan()["detections"] == []


def test_a_rule_that_does_not_compile_is_told_and_the_others_serve(device: Device) -> None:
    device.write("implant", b"beacon-marker")
    device.rules["bad.yar"] = b"rule {"
    device.rules["outside.yar"] = b'include "/etc/passwd"'
    device.rules["binary.yar"] = b"\xff\xfe"
    device.rules["good.yar"] = (RULE % "x = 1").encode()
    result = device.scan()
    assert len(result["detections"]) == 1
    assert sorted(error.split(":")[0] for error in result["rule_errors"]) == [
        "bad.yar",
        "binary.yar",
        "outside.yar",
    ]


def test_links_pipes_and_large_files_do_not_lead_it_astray(device: Device, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "listed").write_bytes(b"listed")
    device.listed(indicator(hashlib.sha256(b"listed").hexdigest(), action="BlockAndRemediate"))
    (device.place / "folder").symlink_to(outside)
    (device.place / "link").symlink_to(outside / "listed")
    os.mkfifo(device.place / "pipe")
    with (device.place / "large").open("wb") as file:
        file.truncate(300 << 20)
    result = device.scan()
    assert (result["scanned"], result["skipped"], result["detections"]) == (0, 1, [])
    assert (outside / "listed").exists()


def test_a_cancelled_scan_ends_with_what_it_found(device: Device) -> None:
    digest = device.write("bad", b"bad")
    device.listed(indicator(digest))
    endless = device.place / "many"
    endless.mkdir()
    for number in range(3000):
        (endless / str(number)).write_bytes(b"x" * 30_000 + str(number).encode())
    before = set(psutil.Process().children())
    threading.Timer(1.0, device.cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Failed, match="cancelled") as failure:
        device.scan()
    assert time.monotonic() - began < 15
    assert "detections" in failure.value.outcome.result
    assert not set(psutil.Process().children()) - before


def test_a_scanning_process_that_dies_fails_the_scan(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan.sys, "executable", "/bin/false")
    with pytest.raises(Failed):
        device.scan()
