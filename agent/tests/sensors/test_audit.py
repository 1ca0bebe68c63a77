"""The kernel's audit against real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shieldwall_agent.sensors import audit, audit_connections
from shieldwall_agent.sensors.audit import AuditNetlink
from shieldwall_agent.sensors.base import Surroundings, Unavailable

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


CONNECT = """
import os, socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
print(os.getpid(), flush=True)
client = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
client.setblocking(kind != "nonblocking")
print(client.connect_ex((host, port)), flush=True)
print(client.getsockname()[1], flush=True)
if kind == "closed":
    os._exit(0)
sys.stdin.read()
"""


@pytest.fixture
def seen(kept: Any, nobody: Any) -> Iterator[Any]:
    mechanism = AuditNetlink(Surroundings(kept), nobody, {"network"}, rules={"network"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    if mechanism.refused:
        mechanism.stop()
        pytest.skip(str(mechanism.refused))
    yield kept
    mechanism.stop()


def _connect(netns: Any, *arguments: str) -> tuple[Any, int, int]:
    """The program, its pid and its local port."""
    child = netns.start(sys.executable, "-IS", "-c", CONNECT, *arguments, stdin=subprocess.PIPE)
    pid, _, port = (int(child.stdout.readline()) for _ in range(3))
    return child, pid, port


def _of(seen: Any, pid: int, count: int = 1, seconds: float = 4.0) -> Any:
    return seen.wait(lambda event: event.get("InitiatingProcessId") == pid, count, seconds)


@pytest.mark.parametrize("host", ["127.0.0.1", "2001:db8::53"])
@pytest.mark.parametrize(
    ("kind", "port", "action"),
    [
        ("blocking", "53", "ConnectionSuccess"),
        ("nonblocking", "53", "ConnectionSuccess"),
        ("blocking", "54", "ConnectionFailed"),
    ],
)
def test_tells_a_connection_with_both_ends(
    seen: Any, netns: Any, host: str, kind: str, port: str, action: str
) -> None:
    netns.serve()
    _, pid, local = _connect(netns, kind, host, port)
    (event,) = _of(seen, pid)
    assert (event["RemoteIP"], event["RemotePort"], event["Protocol"]) == (host, int(port), "Tcp")
    # Where there is no handshake to wait for, an attempt may be over before we look.
    assert event["ActionType"] in ({action, "ConnectionRequest"} if kind == "nonblocking" else {action})
    assert event["InitiatingProcessFolderPath"] == os.path.realpath(sys.executable)
    assert host in event["InitiatingProcessCommandLine"]
    if action == "ConnectionSuccess":
        assert (event["LocalIP"], event["LocalPort"]) == (host, local)


def test_tells_an_attempt_that_hangs(seen: Any, netns: Any, neighbour: Any) -> None:
    neighbour.start("sleep", "60")
    subprocess.run(["ip", "-n", netns.name, "neigh", "replace", "192.0.2.9", "lladdr", "02:00:00:00:00:01",
                    "dev", "cable"], check=True)  # fmt: skip
    _, pid, _ = _connect(netns, "nonblocking", "192.0.2.9", "443")
    (event,) = _of(seen, pid)
    assert (event["ActionType"], event["LocalIP"]) == ("ConnectionRequest", "192.0.2.1")


def test_makes_no_connection_of_udp(seen: Any, netns: Any) -> None:
    _, pid, _ = _connect(netns, "udp", "127.0.0.1", "53")
    _, other, _ = _connect(netns, "blocking", "127.0.0.1", "54")
    assert _of(seen, other)
    assert _of(seen, pid, seconds=0) == []


def test_claims_no_success_of_a_socket_that_is_gone(seen: Any, netns: Any, monkeypatch: Any) -> None:
    netns.serve()
    monkeypatch.setattr(audit_connections, "_copy", lambda pid, descriptor: None)
    _, pid, _ = _connect(netns, "blocking", "127.0.0.1", "53")
    (event,) = _of(seen, pid)
    assert (event["ActionType"], event["RemoteIP"]) == ("ConnectionRequest", "127.0.0.1")
    assert "Protocol" not in event


def test_names_a_process_that_has_ended(seen: Any, netns: Any) -> None:
    netns.serve()
    child, pid, _ = _connect(netns, "closed", "127.0.0.1", "53")
    child.wait(10)
    (event,) = _of(seen, pid)
    assert event["InitiatingProcessFolderPath"] == os.path.realpath(sys.executable)


def test_takes_over_the_rules_of_an_agent_that_was_killed(kept: Any, nobody: Any) -> None:
    program = (
        "import os; from shieldwall_agent.sensors.audit import *\n"
        "class Sink:\n  def emit(self, event): pass\n"
        "m = AuditNetlink(Surroundings(Sink()), Own(), set()); m.start(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    for _ in range(2):
        mechanism = AuditNetlink(Surroundings(kept), nobody, {"processes"})
        mechanism.start()
        try:
            assert mechanism.refused == {}
            assert len(mechanism._rules) == 3
            subprocess.run(["/bin/true", "sw-taken-over"], check=True)
            assert kept.wait(lambda event: "sw-taken-over" in event.get("ProcessCommandLine", ""))
        finally:
            mechanism.stop()


def test_misses_no_short_process_and_restores_audit(kept: Any, nobody: Any) -> None:
    mechanism = AuditNetlink(Surroundings(kept), nobody, {"processes"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    before = mechanism._before
    try:
        # Only tasks that began after audit was enabled are told of.
        children = [os.posix_spawn("/bin/true", ["true", f"sw-audit {n}"], {}) for n in range(50)]
        for child in children:
            os.waitpid(child, 0)
        found = kept.wait(lambda event: "sw-audit" in event.get("ProcessCommandLine", ""), 50)
    finally:
        mechanism.stop()
    assert {event["ProcessId"] for event in found} == set(children)
    assert all(event["FileName"] == "true" and event["SHA256"] for event in found)
    again = AuditNetlink(Surroundings(kept), nobody, set(), rules=())
    again.start()
    after = again._before
    again.stop()
    assert before
    assert after
    assert (after[1], after[3]) == (before[1], before[3])


def test_forgets_processes_that_have_ended(kept: Any, nobody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LOOK_SECONDS", 0.1)
    around = Surroundings(kept)
    mechanism = AuditNetlink(around, nobody, {"processes"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        ended, lives = (subprocess.Popen(["/bin/sleep", "60"]) for _ in range(2))
        kept.wait(lambda event: event.get("ProcessId") in (ended.pid, lives.pid), 2)
        ended.kill()
        ended.wait()
        deadline = time.monotonic() + 5
        while ended.pid in (live := {process.pid for process in around.processes.live()}):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert lives.pid in live
        lives.kill()
        lives.wait()
    finally:
        mechanism.stop()
