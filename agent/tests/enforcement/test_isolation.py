"""Isolation in a network namespace of its own, with real servers at the other end of a real link."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scratch import MemorySink, wait_for

from shieldwall_agent.enforcement import nft
from shieldwall_agent.enforcement.isolation import (
    TABLE,
    Endpoint,
    Isolation,
    IsolationError,
    release_local,
    ruleset,
)

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SERVER, OTHER, CLIENT = "10.77.0.1", "10.77.0.2", "10.77.0.9"
SERVER6 = "fd77::1"

LISTEN = """
import socket, sys, selectors
chosen = selectors.DefaultSelector()
for address in sys.argv[1:]:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(port))); s.listen(); chosen.register(s, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        peer, _ = key.fileobj.accept(); peer.sendall(b"hello"); peer.close()
"""
CONNECT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5)
sys.exit(s.recv(5) != b"hello")
"""


@pytest.fixture
def netns() -> Iterator[tuple[str, str]]:
    """Names of (device, world), joined by a veth pair."""
    device, world = f"sw-dev-{os.getpid()}", f"sw-net-{os.getpid()}"
    listeners: list[subprocess.Popen[str]] = []
    commands = f"""
        ip netns add {device}
        ip netns add {world}
        ip link add swa netns {device} type veth peer name swb netns {world}
        ip -n {device} addr add {CLIENT}/24 dev swa
        ip -n {device} -6 addr add fd77::9/64 dev swa nodad
        ip -n {device} link set swa up
        ip -n {device} link set lo up
        ip -n {world} addr add {SERVER}/24 dev swb
        ip -n {world} addr add {OTHER}/24 dev swb
        ip -n {world} -6 addr add {SERVER6}/64 dev swb nodad
        ip -n {world} link set swb up
        ip -n {world} link set lo up
    """
    try:
        for command in commands.strip().splitlines():
            subprocess.run(command.split(), check=True)
        for name, addresses in (
            (world, [f"{SERVER}:8443", f"{SERVER}:80", f"{OTHER}:80", f"{OTHER}:81", f"{SERVER6}:8443"]),
            (device, [f"{CLIENT}:22", "127.0.0.1:99"]),
        ):
            listener = subprocess.Popen(
                ["ip", "netns", "exec", name, sys.executable, "-c", LISTEN, *addresses],
                stdout=subprocess.PIPE,
                text=True,
            )
            listeners.append(listener)
            assert listener.stdout
            assert listener.stdout.readline() == "ready\n"
        yield device, world
    finally:
        for listener in listeners:
            listener.kill()
            listener.communicate()
        for name in (device, world):
            subprocess.run(["ip", "netns", "del", name], check=False)


def reaches(netns: str, host: str, port: int) -> bool:
    command = ["ip", "netns", "exec", netns, sys.executable, "-c", CONNECT, host, str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_only_the_server_is_reachable_until_release(netns: tuple[str, str], tmp_path: Path) -> None:
    device, world = netns
    sink = MemorySink()
    isolation = Isolation(tmp_path, (SERVER, 8443), sink, device)
    assert reaches(device, OTHER, 80)
    assert reaches(world, CLIENT, 22)
    isolation.isolate()
    assert isolation.isolated()
    assert reaches(device, SERVER, 8443)
    assert reaches(device, "127.0.0.1", 99)
    assert not reaches(device, SERVER, 80)
    assert not reaches(device, OTHER, 80)
    assert not reaches(world, CLIENT, 22)
    assert isolation.release()
    assert reaches(device, OTHER, 80)
    assert reaches(world, CLIENT, 22)
    assert nft.listing(TABLE, device) is None
    assert [e["ActionType"] for e in sink.events] == ["IsolationApplied", "IsolationReleased"]
    isolation.stop()


def test_selective_isolation_and_ipv6(netns: tuple[str, str], tmp_path: Path) -> None:
    device, _ = netns
    isolation = Isolation(tmp_path, (SERVER6, 8443), MemorySink(), device)
    wait_for(lambda: reaches(device, SERVER6, 8443))  # the kernel settles its own address first
    isolation.isolate("Selective", [f"{OTHER}:80"])
    assert reaches(device, SERVER6, 8443)
    assert reaches(device, OTHER, 80)
    assert not reaches(device, OTHER, 81)
    assert not reaches(device, SERVER, 8443)
    isolation.stop()


def test_a_connection_from_the_servers_port_does_not_get_in(netns: tuple[str, str], tmp_path: Path) -> None:
    device, world = netns
    Isolation(tmp_path, (SERVER, 9443), MemorySink(), device).isolate()
    knock = (
        "import socket; s = socket.socket(); s.settimeout(1); s.bind(('10.77.0.1', 9443)); "
        "s.connect(('10.77.0.9', 22)); s.recv(5)"
    )
    command = ["ip", "netns", "exec", world, sys.executable, "-c", knock]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    release_local(tmp_path, MemorySink(), device)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_it_is_put_back_when_deleted_or_changed(netns: tuple[str, str], tmp_path: Path) -> None:
    device, _ = netns
    sink = MemorySink()
    isolation = Isolation(tmp_path, (SERVER, 8443), sink, device)
    isolation.isolate()
    wait_for(lambda: isolation._watcher)
    nft.delete(TABLE, device)
    wait_for(lambda: nft.listing(TABLE, device))
    wait_for(lambda: "IsolationTampered" in [e["ActionType"] for e in sink.events])
    nft.load(f"insert rule inet {TABLE} output accept", device)
    wait_for(lambda: len([e for e in sink.events if e["ActionType"] == "IsolationTampered"]) == 2)
    assert not reaches(device, OTHER, 80)
    isolation.stop()


def test_it_outlives_a_restart_and_the_local_command_ends_it(netns: tuple[str, str], tmp_path: Path) -> None:
    device, _ = netns
    first = Isolation(tmp_path, (SERVER, 8443), MemorySink(), device)
    first.isolate()
    first.stop()
    nft.delete(TABLE, device)  # as a reboot does
    second = Isolation(tmp_path, ("no such host", 8443), MemorySink(), device)
    second.start()
    assert not reaches(device, OTHER, 80)
    sink = MemorySink()
    assert release_local(tmp_path, sink, device)
    assert sink.events[0]["AdditionalFields"]["Detail"] == "local administrator"
    assert reaches(device, OTHER, 80)
    assert not second.check()  # the running agent does not put it back
    assert not second.isolated()
    second.stop()


@pytest.mark.parametrize(
    ("server", "scope", "allow"),
    [
        (("", 8443), "Full", ["x"]),
        (("no.such.host.invalid", 8443), "Full", []),
        (("0.0.0.0", 8443), "Full", []),
        ((SERVER, 8443), "Selective", ["10.0.0.1:80; flush ruleset"]),
        ((SERVER, 8443), "Selective", ["10.0.0.1"]),
        ((SERVER, 8443), "Selective", ["10.0.0.1:0"]),
        ((SERVER, 8443), "Everything", []),
    ],
)
def test_what_it_refuses_changes_nothing(
    netns: tuple[str, str], tmp_path: Path, server: tuple[str, int], scope: str, allow: list[str]
) -> None:
    isolation = Isolation(tmp_path, server, MemorySink(), netns[0])
    with pytest.raises(IsolationError):
        isolation.isolate(scope, allow)
    assert not isolation.isolated()
    assert nft.listing(TABLE, netns[0]) is None


def test_an_unreadable_order_still_isolates(netns: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "isolation.json").write_text(json.dumps({"nothing": 1}))
    isolation = Isolation(tmp_path, (SERVER, 8443), MemorySink(), netns[0])
    isolation.start()
    assert reaches(netns[0], SERVER, 8443)
    assert not reaches(netns[0], OTHER, 80)
    isolation.stop()


def test_the_ruleset_names_only_parsed_endpoints() -> None:
    text = ruleset([Endpoint.parse("[::ffff:192.0.2.1]:443")], [Endpoint.parse("[2001:db8::1]:53")])
    assert "ip daddr 192.0.2.1 tcp dport 443 accept" in text
    assert "ip6 daddr 2001:db8::1 udp dport 53 accept" in text
