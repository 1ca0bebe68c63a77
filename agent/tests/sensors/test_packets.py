"""DNS from copies of packets, in a network namespace of the test's own."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns_peers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors import packets
from shieldwall_agent.sensors.base import Surroundings, Unavailable
from shieldwall_agent.sensors.packets import DnsPackets, transport

WATCH = Path(__file__).parent / "watch.py"


def root(test: Any) -> Any:
    return pytest.mark.root(pytest.mark.skipif(os.geteuid() != 0, reason="needs root")(test))


def _watched(netns: Any, act: Callable[[], object]) -> list[dict[str, Any]]:
    """The events of the mechanism, running in the namespace, of what is done meanwhile."""
    child = netns.start(sys.executable, WATCH, "packets", stdin=subprocess.PIPE)
    assert child.stdout.readline() == "ready\n"
    act()
    told, _ = child.communicate(timeout=10)
    *events, end = map(json.loads, told.splitlines())
    assert end == {"lost": 0, "alive": False}
    return events


@root
@pytest.mark.parametrize(
    ("how", "server"),
    [
        ("udp", "127.0.0.1"),
        ("udp", "2001:db8::53"),
        ("tcp", "127.0.0.1"),
        ("tcp", "2001:db8::53"),
        ("split", "127.0.0.1"),
        ("pipelined", "127.0.0.1"),
    ],
)
def test_tells_each_lookup_once_with_its_process_and_answer(netns: Any, how: str, server: str) -> None:
    netns.serve()
    names = [f"sw-{how}-{number}.example" for number in range(3)]
    pids = []
    events = _watched(netns, lambda: pids.append(netns.ask(how, server, *names)))
    assert [event["RemoteUrl"] for event in events] == names
    for event in events:
        assert (event["ActionType"], event["RemoteIP"]) == ("DnsQueryResponse", server)
        assert event["InitiatingProcessId"] == pids[0]
        assert "dns_peers.py ask" in event["InitiatingProcessCommandLine"]
        assert event["AdditionalFields"]["DnsQueryResult"][1] == dns_peers.ANSWER
        assert event["AdditionalFields"]["Protocol"] == ("Udp" if how == "udp" else "Tcp")


@root
def test_tells_a_query_that_nobody_answers(netns: Any) -> None:
    netns.serve()
    events = _watched(netns, lambda: netns.ask("udp", "127.0.0.1", "silent.example"))
    assert [(event["ActionType"], event["RemoteUrl"]) for event in events] == [
        ("DnsQueryRequest", "silent.example")
    ]


@root
@pytest.mark.parametrize("how", ["udp", "tcp"])
def test_tells_what_we_ask_a_neighbour_and_not_what_it_asks_us(netns: Any, neighbour: Any, how: str) -> None:
    netns.serve()
    neighbour.serve()

    def both() -> None:
        neighbour.ask(how, "192.0.2.1", "theirs.example")
        netns.ask(how, "192.0.2.2", "ours.example")

    assert [(event["RemoteUrl"], event["RemoteIP"]) for event in _watched(netns, both)] == [
        ("ours.example", "192.0.2.2")
    ]


@root
def test_tells_nothing_of_other_ports(netns: Any) -> None:
    other = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53));"
        "s.sendto(bytes.fromhex(sys.argv[1]), ('127.0.0.1', 5353))"
    )
    query = dns_peers.query("other.example").hex()
    assert _watched(netns, lambda: netns.start(sys.executable, "-c", other, query).wait(10)) == []


@root
def test_the_kernel_drops_what_is_not_dns(kept: Any, nobody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own filter: the reader is given nothing to look at."""
    taken: list[bytes] = []
    monkeypatch.setattr(packets, "transport", lambda packet: taken.append(packet))
    mechanism = DnsPackets(Surroundings(kept), nobody, {"dns"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for port in (5300, 53, 5301):
                client.sendto(struct.pack("!H", port) + b"sw-filter", ("127.0.0.1", port))
        kept.wait(lambda _: False, seconds=0.3)
    finally:
        mechanism.stop()
    ours = [packet[28:30] for packet in taken if b"sw-filter" in packet]
    assert ours == [struct.pack("!H", 53)]  # and of two copies, out and in over the loopback, one


def _ipv4(protocol: int, inner: bytes, fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x46, 0, 24 + len(inner), 0, fragment, 64, protocol, 0)
    return head + bytes([192, 0, 2, 1, 192, 0, 2, 53]) + b"\1\1\1\0" + inner


def test_reads_past_options_and_padding() -> None:
    udp = struct.pack("!HHHH", 4000, 53, 11, 0) + b"abc"
    ends = ("192.0.2.1", 4000), ("192.0.2.53", 53)
    assert transport(_ipv4(17, udp) + bytes(20)) == (17, *ends, 0, b"abc", 3)
    tcp = struct.pack("!HHIIBBHHH", 4000, 53, 7, 0, 6 << 4, 24, 0, 0, 0) + b"opts" + b"abc"
    assert transport(_ipv4(6, tcp)) == (6, *ends, 7, b"abc", 3)
    assert transport(_ipv4(6, tcp)[:-2]) == (6, *ends, 7, b"a", 3)
    v6 = b"\x60\0\0\0" + struct.pack("!HBB", len(udp), 17, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + udp
    assert transport(v6) == (17, ("::1", 4000), ("::2", 53), 0, b"abc", 3)


def test_refuses_what_has_no_ports_or_nothing_in_it() -> None:
    udp = struct.pack("!HHHH", 4000, 53, 8, 0)
    assert transport(_ipv4(17, udp)) is None
    assert transport(_ipv4(17, udp + b"abc", fragment=100)) is None
    assert transport(_ipv4(1, udp + b"abc")) is None
    assert transport(b"") is None


@given(st.binary(max_size=80), st.sampled_from([b"\x45", b"\x4f", b"\x60", b""]))
def test_no_packet_crashes(packet: bytes, begin: bytes) -> None:
    transport(begin + packet)
