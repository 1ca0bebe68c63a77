"""Kernel modules: as the kernel tells of them, where it can load any, and by looking at their list."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import modules
from shieldwall_agent.sensors.base import Surroundings, Unavailable
from shieldwall_agent.sensors.ebpf import Ebpf
from shieldwall_agent.sensors.modules import ModuleWatching, changed

HARMLESS = "dummy"


def test_names_what_is_questionable_in_a_module() -> None:
    event = changed(True, b"rootkit\0\0\0", 1.5, Process(42, 1, path="/sbin/insmod"), 1 << 12 | 1 << 13)
    assert (event["ActionType"], event["FileName"]) == ("DriverLoad", "rootkit")
    assert (event["InitiatingProcessId"], event["InitiatingProcessFileName"]) == (42, "insmod")
    assert event["AdditionalFields"] == {"Taints": ["out of tree", "unsigned"]}
    assert "AdditionalFields" not in changed(False, b"dummy", 1.5)


def test_reads_the_sample_of_the_kernel(kept: Any, nobody: Any) -> None:
    mechanism = Ebpf(Surroundings(kept), nobody, {"modules"})
    header = struct.pack("=IIQQIIQ", 6, os.getpid(), 10**9, 10**9, 0, 0, 0)
    for loaded in (1, 0):
        mechanism._take(0, header + struct.pack("=QI4x64s", 1 << 12, loaded, b"evil"))
    assert [event["ActionType"] for event in kept.events] == ["DriverLoad", "DriverUnload"]
    assert kept.events[0]["FileName"] == "evil"
    assert kept.events[0]["InitiatingProcessId"] == os.getpid()
    assert mechanism.seen("modules") == 2


def test_compares_two_looks(kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "modules"
    listed.write_text("old 4096 0 - Live 0x0\nstays 8192 0 - Live 0x0\n")
    monkeypatch.setattr(modules, "_LIST", listed)
    monkeypatch.setattr(modules, "SECONDS", 0.02)
    mechanism = ModuleWatching(Surroundings(kept), {"modules"})
    mechanism.start()
    try:
        other = tmp_path / "next"
        other.write_text("stays 8192 0 - Live 0x0\nnew 12288 0 - Live 0x0\n")
        other.replace(listed)  # at once, as the kernel's list changes
        found = kept.wait(lambda event: event["Table"] == "DeviceEvents", 2)
    finally:
        mechanism.stop()
    assert {(event["ActionType"], event["FileName"], event["FileSize"]) for event in found} == {
        ("DriverLoad", "new", 12288),
        ("DriverUnload", "old", 4096),
    }


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_tells_who_loads_a_module(kept: Any, nobody: Any) -> None:
    if not Path("/proc/modules").exists() or not shutil.which("modprobe"):
        pytest.skip("this kernel has no loadable modules")
    if (
        Path(f"/sys/module/{HARMLESS}").exists()
        or subprocess.run(["modprobe", "--dry-run", HARMLESS], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{HARMLESS} is loaded already or not there")
    mechanism = Ebpf(Surroundings(kept), nobody, {"modules"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        subprocess.run(["modprobe", HARMLESS], check=True)
        subprocess.run(["modprobe", "-r", HARMLESS], check=True)
        found = kept.wait(lambda event: event.get("FileName") == HARMLESS, 2)
    finally:
        mechanism.stop()
    assert [event["ActionType"] for event in found] == ["DriverLoad", "DriverUnload"]
    assert HARMLESS in found[0]["InitiatingProcessCommandLine"]
