"""The chain of mechanisms, and those for users without privileges."""

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent.bpf.loader import BpfError
from shieldwall_agent.sensors import canaries, ebpf, manager, polling
from shieldwall_agent.sensors.audit import AuditNetlink
from shieldwall_agent.sensors.base import Surroundings, Unavailable
from shieldwall_agent.sensors.ebpf import Ebpf
from shieldwall_agent.sensors.manager import Sensors
from shieldwall_agent.sensors.packets import DnsPackets
from shieldwall_agent.sensors.polling import ConnectionPolling, ProcessPolling


class _Stub:
    covers: tuple[str, ...] = ("files",)
    misses = {"files": "much"}

    def __init__(self, name: str, works: bool = True, sees: bool = True, refuses: str = "") -> None:
        self.name, self._works, self._sees = name, works, sees
        self.refused = {"files": refuses} if refuses else {}
        self.running = False
        self._looks = 0

    def start(self) -> None:
        if not self._works:
            raise Unavailable("not here")
        self.running = True

    def stop(self) -> None:
        self.running = False

    def alive(self) -> bool:
        return self.running

    def seen(self, sensor: str) -> int:
        self._looks += self._sees
        return self._looks

    def lost(self) -> int:
        return 0


def test_takes_the_first_that_proves_itself(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = [
        _Stub("absent", works=False),
        _Stub("blind", sees=False),
        _Stub("partial", refuses="no files here"),
        _Stub("good"),
        _Stub("spare"),
    ]
    monkeypatch.setattr(canaries, "SECONDS", 0.2)
    monkeypatch.setattr(manager, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(Sensors, "_mechanisms", lambda self: [lambda active, s=s: s for s in stubs])
    sensors = Sensors(kept, tmp_path)
    sensors.start()
    try:
        health = sensors.health()["files"]
        assert health["mechanism"] == "good"
        assert "absent: not here" in health["detail"]
        assert "blind: did not see its own canary" in health["detail"]
        assert "partial: no files here" in health["detail"]
        assert health["misses"] == "much"
        assert [stub.running for stub in stubs] == [False, False, False, True, False]
        stubs[3]._works = stubs[3].running = False
        deadline = time.monotonic() + 3
        while sensors.health()["files"]["mechanism"] != "spare" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sensors.health()["files"]["mechanism"] == "spare"
    finally:
        sensors.stop()


def test_tries_the_best_mechanism_first(kept: Any, tmp_path: Path) -> None:
    made = [make(set()) for make in Sensors(kept, tmp_path)._mechanisms()]
    assert {
        sensor: [mechanism.name for mechanism in made if sensor in mechanism.covers]
        for sensor in manager.SENSORS
    } == {
        "processes": ["eBPF", "audit netlink", "/proc polling"],
        "network": ["eBPF", "audit netlink", "/proc/net polling"],
        "dns": ["eBPF", "AF_PACKET"],
        "files": ["fanotify"],
        "logons": ["audit netlink", "journald", "auth.log", "wtmp, btmp"],
        "modules": ["eBPF", "/proc/modules"],
    }
    assert all(mechanism.misses.get(sensor) for mechanism in made for sensor in mechanism.covers
               if (mechanism.name, sensor) != ("eBPF", "processes"))  # fmt: skip


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_falls_back_where_the_kernel_takes_no_bpf(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise BpfError("the kernel refuses it")

    monkeypatch.setattr(ebpf, "BpfObject", refused)
    sensors = Sensors(kept, tmp_path)
    sensors.start()
    try:
        health = sensors.health()
    finally:
        sensors.stop()
    if "audit cannot be used" in health["processes"]["detail"]:
        pytest.skip(health["processes"]["detail"])
    assert {name: health[name]["mechanism"] for name in ("processes", "network", "dns", "logons")} == {
        "processes": "audit netlink",
        "network": "audit netlink",
        "dns": "AF_PACKET",
        "logons": "audit netlink",
    }
    for name in ("processes", "network", "dns"):
        assert health[name]["detail"] == "eBPF: the kernel refuses it"
        assert health[name]["misses"]
    assert [event for event in kept.events if event.get("RemoteUrl", "").startswith("canary")] == []


def test_polls_where_there_are_no_privileges(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mechanism in (ebpf.Ebpf, AuditNetlink, DnsPackets):
        monkeypatch.setattr(mechanism, "start", _not_here)
    sensors = Sensors(kept, tmp_path)
    sensors.start()
    try:
        health = sensors.health()
    finally:
        sensors.stop()
    assert health["processes"]["mechanism"] == "/proc polling"
    assert health["network"]["mechanism"] == "/proc/net polling"
    assert health["dns"] == {
        "mechanism": "", "misses": "", "events": 0, "lost": 0,
        "detail": "eBPF: not here; AF_PACKET: not here",
    }  # fmt: skip


def _not_here(_: Any) -> None:
    raise Unavailable("not here")


def test_polls_processes(kept: Any, nobody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "PROCESS_SECONDS", 0.05)
    mechanism = ProcessPolling(Surroundings(kept), nobody, {"processes"})
    mechanism.start()
    with subprocess.Popen(["/bin/sleep", "1.25"]) as child:
        found = kept.wait(lambda event: event.get("ProcessId") == child.pid)
        child.kill()
    mechanism.stop()
    assert found
    assert found[0]["AdditionalFields"]["ProcessCurrentWorkingDirectory"]


def test_polls_connections(kept: Any, nobody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "CONNECTION_SECONDS", 0.05)
    mechanism = ConnectionPolling(Surroundings(kept), nobody, {"network"})
    mechanism.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            found = kept.wait(lambda event: port in (event["LocalPort"], event.get("RemotePort")), 3)
    mechanism.stop()
    assert "ConnectionSuccess" in {event["ActionType"] for event in found}


def test_tells_what_the_kernel_dropped(kept: Any, nobody: Any) -> None:
    class Dropped:
        def number(self, name: str) -> int:
            return 7

    mechanism = Ebpf(Surroundings(kept), nobody, {"processes"})
    mechanism._object = Dropped()  # type: ignore[assignment]
    mechanism._count_losses()
    mechanism._count_losses()
    (event,) = kept.events
    assert event["ActionType"] == "SensorEventsLost"
    assert event["AdditionalFields"]["Count"] == mechanism.lost() == 7
