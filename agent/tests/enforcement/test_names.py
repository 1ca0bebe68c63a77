"""Listed names where BPF programs cannot refuse them, with real resolvers in network namespaces."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from name_servers import (
    CLIENT,
    FIRST,
    FIRST6,
    GREETER,
    NOBODY,
    OTHER_CLIENT,
    SECOND,
    STUB,
    Net,
    ask,
    client,
    elsewhere,
    exactly,
    looks_up,
    message_of,
    network,
    query,
    served,
)
from scratch import MemorySink, indicator, wait_for

from shieldwall_agent.enforcement import name_proxy, nft
from shieldwall_agent.enforcement.dns_message import QueryStream, asked, refusal
from shieldwall_agent.enforcement.isolation import Isolation
from shieldwall_agent.enforcement.name_redirect import LONGEST_SILENCE, TABLE
from shieldwall_agent.enforcement.network import NetworkEnforcement
from shieldwall_agent.enforcement.policy import PolicyStore

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

WAYS = [("udp", FIRST), ("tcp", FIRST), ("udp", FIRST6), ("tcp", FIRST6), ("udp", STUB), ("tcp", STUB)]
UNREACHABLE = (TimeoutError, PermissionError, ConnectionError)
NUMBERS = {FIRST: 1, SECOND: 2, FIRST6: 3, STUB: 1}


@pytest.fixture
def net() -> Iterator[Net]:
    with network() as made:
        yield made


class Running:
    """Enforcement for the device, without BPF programs."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.policy, self.sink = PolicyStore(folder), MemorySink()
        self.enforcement = NetworkEnforcement(self.policy, self.sink, net.device, folder / "no cgroup")
        self.enforcement.start()

    def lists(self, *entries: dict[str, Any]) -> None:
        revision = self.policy.revision
        changes = self.policy.apply_delta(
            {"from": revision, "to": revision + 1, "full": True,
             "upsert": [entry | {"id": str(number)} for number, entry in enumerate(entries)]}
        )  # fmt: skip
        assert not changes.rejected

    def told(self, action: str, name: str) -> list[dict[str, Any]]:
        return [e for e in self.sink.events if (e["ActionType"], e.get("RemoteUrl")) == (action, name)]


@pytest.fixture
def running(tmp_path: Path, net: Net) -> Iterator[Running]:
    running = Running(tmp_path, net)
    assert running.enforcement.health()["domains"] == "nftables and a resolver proxy"
    yield running
    running.enforcement.stop()
    assert nft.listing(TABLE, net.device) is None


def domain(name: str, action: str = "Block", **more: Any) -> dict[str, Any]:
    return indicator(name, "DomainName", action, **more)


@pytest.mark.parametrize(("protocol", "host"), WAYS)
def test_listed_names_are_refused_and_others_pass(
    running: Running, net: Net, protocol: str, host: str
) -> None:
    assert looks_up(net, protocol, host, "evil.example") == NUMBERS[host]
    running.lists(
        domain("evil.example"), domain("fine.evil.example", "Allowed"), domain("warned.example", "Warn")
    )
    many = ".".join(["a"] * 100) + ".evil.example"
    for name in ("evil.example", "EVIL.Example", "www.evil.example", many, "warned.example"):
        assert looks_up(net, protocol, host, name) == 0, name
    for name in ("notevil.example", "evil.example.org", "example", "fine.evil.example"):
        assert looks_up(net, protocol, host, name) == NUMBERS[host], name
    event = wait_for(lambda: running.told("ExploitGuardNetworkProtectionBlocked", "www.evil.example"))[0]
    assert (event["RemotePort"], event["InitiatingProcessId"]) == (53, os.getpid())
    assert event["AdditionalFields"]["IndicatorValue"] == "evil.example"
    told = [e for e in running.sink.events if e["ActionType"].startswith("ExploitGuard")]
    assert not [e for e in told if e["RemoteUrl"] == "fine.evil.example"]
    running.lists()
    assert nft.listing(TABLE, net.device) is None
    assert looks_up(net, protocol, host, "evil.example") == NUMBERS[host]


def test_audit_passes_and_is_reported(running: Running, net: Net) -> None:
    running.lists(domain("watched.example", "Audit"))
    assert looks_up(net, "udp", FIRST, "www.watched.example") == 1
    wait_for(lambda: running.told("ExploitGuardNetworkProtectionAudited", "www.watched.example"))
    assert not running.told("ExploitGuardNetworkProtectionBlocked", "www.watched.example")


def test_every_query_is_told_with_its_process_but_our_own(running: Running, net: Net) -> None:
    running.lists(domain("evil.example"))
    assert looks_up(net, "udp", FIRST, "ours.example") == 1
    process = elsewhere(net, "udp", FIRST, "theirs.example")
    assert process.wait(20) == 1
    event = wait_for(lambda: running.told("DnsQueryRequest", "theirs.example"))[0]
    assert (event["InitiatingProcessId"], event["RemoteIP"]) == (process.pid, FIRST)
    assert event["AdditionalFields"]["DnsQueryType"] == "A"
    assert not running.told("DnsQueryRequest", "ours.example")
    process = elsewhere(net, "tcp", FIRST, "evil.example")
    assert process.wait(20) == 0
    event = wait_for(lambda: running.told("ExploitGuardNetworkProtectionBlocked", "evil.example"))[0]
    assert event["InitiatingProcessId"] == process.pid
    assert not running.told("DnsQueryRequest", "evil.example")


def test_one_socket_that_asks_several_servers(running: Running, net: Net) -> None:
    running.lists(domain("evil.example"))
    udp = nft.inside(net.device, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.settimeout(3)
    with udp:
        for name, hosts in (("good.example", (FIRST, SECOND)), ("evil.example", (FIRST, SECOND))):
            for host in hosts:
                udp.sendto(query(name), (host, 53))
                answer, peer = udp.recvfrom(512)
                assert peer == (host, 53)
                assert served(answer) == (NUMBERS[host] if name == "good.example" else 0)


@pytest.mark.parametrize("host", [FIRST, FIRST6])
def test_a_socket_that_is_bound_to_an_interface(running: Running, net: Net, host: str) -> None:
    running.lists(domain("evil.example"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = nft.inside(net.device, lambda: socket.socket(family, socket.SOCK_DGRAM))
    udp.settimeout(3)
    with udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"swa\0")
        for name, server in (("good.example", NUMBERS[host]), ("evil.example", 0)):
            udp.sendto(query(name), (host, 53))
            assert served(udp.recv(512)) == server


def test_what_is_no_dns_passes_unchanged(running: Running, net: Net) -> None:
    running.lists(domain("evil.example"))
    with client(net, socket.SOCK_DGRAM, FIRST) as udp:
        said = set()
        for _ in range(3):
            udp.send(b"raw")
            said.add(udp.recv(512))
    address, _, payload = said.pop().split(b" ", 2)
    assert not said  # one client is one flow to the server too
    assert (address, payload) == (CLIENT.encode(), b"raw")
    udp = nft.inside(net.device, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.settimeout(3)
    with udp:
        udp.bind((OTHER_CLIENT, 0))
        udp.sendto(b"raw", (FIRST, 53))
        assert udp.recv(512).split(b" ")[0] == OTHER_CLIENT.encode()
    with client(net, socket.SOCK_STREAM, GREETER) as tcp:
        assert exactly(tcp, 5) == b"hello"
        for sent in (b"PING\r\n", os.urandom(60_000), b"QUIT\r\n"):
            tcp.sendall(sent)
            assert exactly(tcp, len(sent)) == sent


def test_many_messages_on_one_connection(running: Running, net: Net) -> None:
    running.lists(domain("evil.example"))
    framed = [
        len(m).to_bytes(2) + m for m in (query("a.example"), query("b.example", 16), query("evil.example"))
    ]
    with client(net, socket.SOCK_STREAM, FIRST) as tcp:
        for byte in framed[0]:
            tcp.send(bytes([byte]))
        assert served(message_of(tcp)) == 1
        tcp.sendall(framed[1] + framed[0])
        assert len(message_of(tcp)) > 60_000
        assert served(message_of(tcp)) == 1
        tcp.sendall(framed[2])
        with pytest.raises(UNREACHABLE):  # closed: an answer of ours could come into the middle of another
            message_of(tcp)
    with client(net, socket.SOCK_STREAM, FIRST) as tcp:
        tcp.sendall(framed[0])
        tcp.shutdown(socket.SHUT_WR)
        assert served(message_of(tcp)) == 1


def test_a_server_that_is_not_there_is_said_at_once(running: Running, net: Net) -> None:
    running.lists(domain("evil.example"))
    message = query("good.example")
    answer = ask(net, "udp", NOBODY, message)
    assert answer[:2] == message[:2]
    assert answer[3] & 15 == 2
    with client(net, socket.SOCK_DGRAM, NOBODY) as udp:  # and to each of several at once
        sent = [query(f"good{number}.example") for number in range(3)]
        for message in sent:
            udp.send(message)
        assert {udp.recv(512)[:2] for _ in sent} == {message[:2] for message in sent}
    assert looks_up(net, "tcp", NOBODY, "evil.example") == 0
    with pytest.raises(UNREACHABLE):
        ask(net, "tcp", NOBODY, message)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_newest_of_too_many_clients_is_served(running: Running, net: Net, kind: int) -> None:
    running.lists(domain("evil.example"))
    most = name_proxy.MOST_FLOWS if kind == socket.SOCK_DGRAM else name_proxy.MOST_CONNECTIONS
    clients = []
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(most + 20):
        message = query("good.example")
        clients.append(client(net, kind, FIRST))
        clients[-1].send(message if kind == socket.SOCK_DGRAM else len(message).to_bytes(2) + message)
        answer = clients[-1].recv(512) if kind == socket.SOCK_DGRAM else message_of(clients[-1])
        assert served(answer) == 1
    assert len(os.listdir("/proc/self/fd")) - before < 3 * most + 100
    for one in clients:
        one.close()


def test_expiry_needs_nobody(running: Running, net: Net) -> None:
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    running.lists(domain("sub.evil.example", expires=expires), domain("evil.example", "Audit"))
    assert looks_up(net, "udp", FIRST, "sub.evil.example") == 0
    time.sleep(2.1)
    assert looks_up(net, "udp", FIRST, "sub.evil.example") == 1
    wait_for(lambda: running.told("ExploitGuardNetworkProtectionAudited", "sub.evil.example"))


def test_a_firewall_that_flushes_all_rules_does_not_undo_it(running: Running, net: Net) -> None:
    running.lists(domain("evil.example"))
    nft.load("flush ruleset", net.device)
    assert looks_up(net, "udp", FIRST, "evil.example") == 0
    with pytest.raises(nft.NftError):
        nft.delete(TABLE, net.device)


def test_it_is_made_anew_where_the_kernel_lets_others_delete_it(
    running: Running, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = running.enforcement._names
    assert names is not None
    names._table._owned = False  # as after a kernel before 5.12 has refused it
    running.lists(domain("evil.example"))
    nft.load("flush ruleset", net.device)
    assert looks_up(net, "udp", FIRST, "evil.example") == 1
    wait_for(lambda: looks_up(net, "udp", FIRST, "evil.example") == 0)


PROXY = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from name_servers import Net
from test_names import Running, domain
from shieldwall_agent.enforcement import name_redirect
running = Running(Path(sys.argv[2]), Net(sys.argv[3], ""))
running.enforcement._names._table._owned = sys.argv[4] == "owned"
running.lists(domain("evil.example"))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def proxy(tmp_path: Path, net: Net) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Enforcement in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(owned: str) -> subprocess.Popen[str]:
        here = str(Path(__file__).parent)
        command = [sys.executable, "-c", PROXY, here, str(tmp_path), net.device, owned]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout
        assert started[0].stdout.readline() == "ready\n"
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_names_resolve_again_when_it_is_killed(
    net: Net, proxy: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = proxy("owned")
    assert looks_up(net, "udp", FIRST, "evil.example") == 0
    with client(net, socket.SOCK_DGRAM, FIRST) as lasting:
        lasting.send(query("good.example"))
        assert served(lasting.recv(512)) == 1
        process.kill()
        process.wait(10)
        began = time.monotonic()
        assert looks_up(net, "udp", FIRST, "evil.example") == 1
        assert looks_up(net, "tcp", FIRST, "evil.example") == 1
        assert time.monotonic() - began < 1
        assert nft.listing(TABLE, net.device) is None
        lasting.send(query("good.example"))
        assert served(lasting.recv(512)) == 1


@pytest.mark.parametrize(("owned", "sent"), [("owned", signal.SIGSTOP), ("not", signal.SIGKILL)])
def test_names_resolve_again_when_it_hangs_or_the_kernel_is_old(
    net: Net, proxy: Callable[[str], subprocess.Popen[str]], owned: str, sent: signal.Signals
) -> None:
    process = proxy(owned)
    time.sleep(2 * LONGEST_SILENCE)  # it is prolonged while it lives
    assert looks_up(net, "udp", FIRST, "evil.example") == 0
    process.send_signal(sent)
    time.sleep(LONGEST_SILENCE + 0.5)
    assert nft.listing(TABLE, net.device)  # nobody has removed it
    assert looks_up(net, "udp", FIRST, "evil.example") == 1
    assert looks_up(net, "tcp", FIRST, "evil.example") == 1


def test_a_proxy_that_does_not_work_leaves_nothing(
    tmp_path: Path, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_proxy, "MOST_JUDGED", 0)  # it takes queries and never answers
    running = Running(tmp_path, net)
    health = running.enforcement.health()
    assert (health["domains"], health["addresses"]) == ("none", "nftables")
    assert "resolver proxy" in health["problem"]
    running.lists(domain("evil.example"))
    assert nft.listing(TABLE, net.device) is None
    assert looks_up(net, "udp", FIRST, "evil.example") == 1
    running.enforcement.stop()


def test_isolation_addresses_and_names_at_once(running: Running, net: Net, tmp_path: Path) -> None:
    running.lists(
        domain("evil.example"), domain("watched.example", "Audit"), indicator(SECOND, "IpAddress"),
    )  # fmt: skip
    with pytest.raises(UNREACHABLE):  # a listed name server
        looks_up(net, "udp", SECOND, "good.example")
    isolation = Isolation(tmp_path / "isolation", (FIRST, 8443), MemorySink(), net.device)
    (tmp_path / "isolation").mkdir()
    isolation.isolate()
    for protocol, host in (("udp", FIRST), ("tcp", FIRST), ("udp", FIRST6)):
        with pytest.raises(UNREACHABLE):
            looks_up(net, protocol, host, "good.example")
        with pytest.raises(UNREACHABLE):
            looks_up(net, protocol, host, "evil.example")
    assert looks_up(net, "udp", STUB, "good.example") == 1
    assert looks_up(net, "tcp", STUB, "evil.example") == 0
    isolation.isolate("Selective", [f"{FIRST}:53"])
    for protocol in ("udp", "tcp"):
        assert looks_up(net, protocol, FIRST, "good.example") == 1
        assert looks_up(net, protocol, FIRST, "watched.example") == 1
        assert looks_up(net, protocol, FIRST, "evil.example") == 0
        with pytest.raises(UNREACHABLE):
            looks_up(net, protocol, FIRST6, "good.example")
    isolation.release()
    isolation.stop()
    assert looks_up(net, "udp", FIRST6, "good.example") == 3
    assert looks_up(net, "udp", FIRST6, "evil.example") == 0
    with pytest.raises(UNREACHABLE):
        looks_up(net, "udp", SECOND, "good.example")


def test_the_systems_own_resolver(running: Running, net: Net) -> None:
    folder = Path("/etc/netns") / net.device
    folder.mkdir(parents=True)
    try:
        (folder / "resolv.conf").write_text(f"nameserver {FIRST}\nnameserver {FIRST6}\noptions edns0\n")
        running.lists(domain("evil.example"))
        program = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
        command = ["ip", "netns", "exec", net.device, sys.executable, "-IS", "-c", program]
        found = [
            subprocess.run([*command, name], capture_output=True, text=True, check=False)
            for name in ("www.good.example", "www.evil.example")
        ]
        assert found[0].stdout == "192.0.2.1\n", found[0].stderr
        assert "Name or service not known" in found[1].stderr
    finally:
        (folder / "resolv.conf").unlink()
        folder.rmdir()


def test_queries_in_a_stream() -> None:
    first, second = query("a.example"), query("b.example")
    stream, whole = QueryStream(), b"".join(len(m).to_bytes(2) + m for m in (first, second))
    parts = [part for byte in whole for part in stream.feed(bytes([byte]))]
    assert parts == [(len(m).to_bytes(2) + m, True) for m in (first, second)]
    answer = b"\0\x0c" + refusal(first)[:12]  # no query, and so passed before it is whole
    assert list(QueryStream().feed(answer[:8])) == [(answer[:8], False)]
    assert list(QueryStream().feed(answer + whole)) == [(answer, False), *parts]
    assert list(stream.feed(b"\0\x30" + first)) == []
    assert stream.rest() == b"\0\x30" + first
    assert stream.rest() == b""
    for other in (b"SSH-2.0-x", b"\x20\0AB\0\0XX"):
        assert list(QueryStream().feed(other)) == [(other, False)]


def test_only_queries_that_are_well_formed_are_read() -> None:
    good = query("www.Evil.example", 28)
    assert asked(good) == ("www.evil.example", 28)
    assert asked(good[:4] + b"\0\2" + good[6:]) == ("www.evil.example", 28)
    for length in range(len(good)):
        assert asked(good[:length]) is None
    assert asked(good[:2] + b"\x81" + good[3:]) is None  # an answer
    assert asked(good[:12] + b"\xc0\x0c\0\1\0\1") is None
    assert asked(query(".".join(["a" * 60] * 5))) is None
    assert asked(query(".")) is None


def test_a_refusal_says_why_to_those_who_know_extended_errors() -> None:
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    told = refusal(query("evil.example", extra=opt))
    assert told[3] & 15 == 3
    assert told[10:12] == b"\0\1"
    assert told.endswith(b"\0\0\x29\x04\xd0\0\0\0\0\0\6" + b"\0\x0f\0\2\0\x0f")
    assert len(refusal(query("evil.example"))) == len(query("evil.example"))
