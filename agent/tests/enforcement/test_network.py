"""Refused connections and names, with the real kernel, in a network namespace and a cgroup of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scratch import MemorySink, indicator, wait_for

from shieldwall_agent.cgroups import unified_hierarchy
from shieldwall_agent.enforcement import nft, table_watch
from shieldwall_agent.enforcement.addresses import TABLE, AddressBlock, ruleset
from shieldwall_agent.enforcement.network import NetworkEnforcement
from shieldwall_agent.enforcement.network_programs import suffix_key
from shieldwall_agent.enforcement.policy import PolicyStore

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ATTEMPT = """
import socket, sys
kind, host, argument = sys.argv[1:4]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
if kind == "tcp":
    s = socket.socket(family); s.settimeout(0.7); s.connect((host, int(argument)))
elif kind == "udp":
    s = socket.socket(family, socket.SOCK_DGRAM); s.sendto(b"x", (host, int(argument)))
else:
    name = b"".join(bytes([len(l)]) + l.encode() for l in argument.split(".")) + bytes(1)
    query = b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1"
    s = socket.socket(family, socket.SOCK_DGRAM)
    if kind == "dns-connected":
        s.connect((host, 53)); s.send(query)
    else:
        s.sendto(query, (host, 53))
"""


@pytest.fixture
def netns() -> Iterator[str]:
    """With some addresses of its own and one listener on all of them, port 80."""
    name = f"sw-block-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    listener = None
    try:
        for command in (
            "link set lo up", "addr add 192.0.2.1/32 dev lo", "addr add 192.0.2.2/32 dev lo",
            "-6 addr add 2001:db8::1/128 dev lo nodad", "-6 addr add 2001:db8::2/128 dev lo nodad",
        ):  # fmt: skip
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        program = (
            "import socket; "
            "s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True); "
            "print('ready', flush=True)\nwhile True: kept = s.accept()"
        )
        listener = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
        )
        assert listener.stdout
        assert listener.stdout.readline() == "ready\n"
        yield name
    finally:
        if listener:
            listener.kill()
            listener.communicate()
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = unified_hierarchy() / f"sw-test-{os.getpid()}"
    path.mkdir()
    yield path
    wait_for(lambda: not (path / "cgroup.procs").read_text())
    path.rmdir()


Attempt = Callable[..., bool]


@pytest.fixture
def passes(netns: str, cgroup: Path) -> Attempt:
    def attempt(kind: str, host: str, argument: Any = 80) -> bool:
        # First into the cgroup: `ip netns exec` hides it.
        join = f'echo $$ > {cgroup}/cgroup.procs && exec ip netns exec {netns} "$@"'
        command = ["sh", "-c", join, "sh", sys.executable, "-IS", "-c", ATTEMPT, kind, host, str(argument)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0 or "Error: " in done.stderr, done.stderr
        return done.returncode == 0

    return attempt


Running = tuple[PolicyStore, NetworkEnforcement, MemorySink]


@pytest.fixture
def running(tmp_path: Path, netns: str, cgroup: Path) -> Iterator[Running]:
    policy, sink = PolicyStore(tmp_path), MemorySink()
    enforcement = NetworkEnforcement(policy, sink, netns, cgroup)
    enforcement.start()
    assert enforcement.health()["addresses"] == "cgroup BPF", enforcement.health()
    yield policy, enforcement, sink
    enforcement.stop()


def lists(policy: PolicyStore, *entries: dict[str, Any]) -> None:
    revision = policy.revision
    changes = policy.apply_delta(
        {"from": revision, "to": revision + 1, "full": True,
         "upsert": [entry | {"id": str(number)} for number, entry in enumerate(entries)]}
    )  # fmt: skip
    assert not changes.rejected


def test_listed_addresses_are_refused_and_reported(running: Running, passes: Attempt) -> None:
    policy, _, sink = running
    assert passes("tcp", "192.0.2.1")
    lists(policy, indicator("192.0.2.1", "IpAddress"), indicator("2001:db8::1", "IpAddress", "Warn"))
    for kind in ("tcp", "udp"):
        for host in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"):
            assert not passes(kind, host), (kind, host)
        assert passes(kind, "192.0.2.2")
        assert passes(kind, "2001:db8::2")
    event = wait_for(lambda: sink.events)[0]
    assert event["ActionType"] == "ExploitGuardNetworkProtectionBlocked"
    assert (event["RemoteIP"], event["RemotePort"]) == ("192.0.2.1", 80)
    assert event["InitiatingProcessId"] > 1
    assert event["AdditionalFields"]["IndicatorValue"] == "192.0.2.1"
    lists(policy)
    assert passes("tcp", "192.0.2.1")


def test_audit_passes_and_is_reported_and_allow_beats_block(running: Running, passes: Attempt) -> None:
    policy, _, sink = running
    lists(
        policy,
        indicator("192.0.2.1", "IpAddress", "Audit"),
        indicator("192.0.2.2", "IpAddress", "Block"),
        indicator("192.0.2.2", "IpAddress", "Allowed"),
    )
    assert passes("tcp", "192.0.2.1")
    assert passes("tcp", "192.0.2.2")
    events = wait_for(lambda: sink.events)
    assert [e["ActionType"] for e in events] == ["ExploitGuardNetworkProtectionAudited"]


def test_domains_with_everything_below_them(running: Running, passes: Attempt) -> None:
    policy, _, sink = running
    lists(
        policy,
        indicator("evil.example", "DomainName"),
        indicator("fine.evil.example", "DomainName", "Allowed"),
        indicator("https://bad.example/", "Url"),
        indicator("https://part.example/path", "Url"),
        indicator("watched.example", "DomainName", "Audit"),
    )
    many = ".".join(["a"] * 100) + ".evil.example"
    for name in ("evil.example", "EVIL.Example", "www.evil.example", many, "bad.example", "x.bad.example"):
        for kind in ("dns", "dns-connected"):
            assert not passes(kind, "192.0.2.2", name), name
        assert not passes("dns", "2001:db8::2", name), name
    passing = (
        "notevil.example",
        "evil.example.org",
        "example",
        "fine.evil.example",
        "part.example",
        "watched.example",
    )
    for name in passing:
        assert passes("dns", "192.0.2.2", name), name
    assert passes("udp", "192.0.2.2", 53)  # no query at all
    refused = wait_for(lambda: [e for e in sink.events if e["RemoteUrl"] == "www.evil.example"])
    assert refused[0]["ActionType"] == "ExploitGuardNetworkProtectionBlocked"
    assert refused[0]["InitiatingProcessId"] > 1
    wait_for(lambda: [e for e in sink.events if e["ActionType"] == "ExploitGuardNetworkProtectionAudited"])


def test_expiry_needs_nobody(running: Running, passes: Attempt) -> None:
    policy, _, _ = running
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    lists(
        policy,
        indicator("192.0.2.1", "IpAddress", expires=expires),
        indicator("evil.example", "DomainName", expires=expires),
    )
    assert not passes("tcp", "192.0.2.1")
    assert not passes("dns", "192.0.2.2", "evil.example")
    time.sleep(2.1)
    assert passes("tcp", "192.0.2.1")
    assert passes("dns", "192.0.2.2", "evil.example")


def test_nothing_stays_after_it_stops(running: Running, passes: Attempt) -> None:
    policy, enforcement, _ = running
    lists(policy, indicator("192.0.2.1", "IpAddress"))
    assert not passes("tcp", "192.0.2.1")
    enforcement.stop()
    assert passes("tcp", "192.0.2.1")


def test_nftables_take_over_where_there_is_no_bpf(tmp_path: Path, netns: str, passes: Attempt) -> None:
    policy = PolicyStore(tmp_path)
    enforcement = NetworkEnforcement(policy, MemorySink(), netns, tmp_path / "no cgroup")
    enforcement.start()
    assert enforcement.health()["addresses"] == "nftables"
    assert passes("tcp", "2001:db8::1")
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    lists(
        policy,
        indicator("192.0.2.1", "IpAddress", expires=expires),
        indicator("2001:db8::1", "IpAddress"),
        indicator("192.0.2.2", "IpAddress", "Audit"),
    )
    assert not passes("tcp", "192.0.2.1")
    assert not passes("tcp", "2001:db8::1")
    assert passes("tcp", "192.0.2.2")
    time.sleep(3.1)
    assert passes("tcp", "192.0.2.1")
    assert not passes("tcp", "2001:db8::1")
    enforcement.stop()
    assert passes("tcp", "2001:db8::1")
    assert nft.listing(TABLE, netns) is None


def test_what_a_firewall_takes_away_is_put_back(
    tmp_path: Path, netns: str, passes: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_watch, "CHECK_SECONDS", 1.0)
    policy, sink = PolicyStore(tmp_path), MemorySink()
    enforcement = NetworkEnforcement(policy, sink, netns, tmp_path / "no cgroup")
    enforcement.start()
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    lists(
        policy,
        indicator("192.0.2.1", "IpAddress"),
        indicator("2001:db8::1", "IpAddress"),
        indicator("192.0.2.2", "IpAddress", expires=expires),
    )
    assert not passes("tcp", "192.0.2.1")

    def told(number: int) -> bool:
        return len(sink.events) == number

    for turn, damage in enumerate(
        (
            "flush ruleset",
            f"delete table inet {TABLE}",
            f"flush chain inet {TABLE} output",
            f"add rule inet {TABLE} output accept",
            f"delete element inet {TABLE} v4 {{ 192.0.2.1 }}",
        ),
        1,
    ):
        subprocess.run(["ip", "netns", "exec", netns, "nft", damage], check=True)
        wait_for(partial(told, turn))
        assert {event["ActionType"] for event in sink.events} == {"AddressBlockTampered"}
        for host in ("192.0.2.1", "2001:db8::1"):
            assert not passes("tcp", host), damage
    time.sleep(2.5)
    assert passes("tcp", "192.0.2.2"), "what has expired is not put back"
    # What others do with their own tables, and what expires by itself, concerns nobody here.
    subprocess.run(["ip", "netns", "exec", netns, "nft", "add table inet other"], check=True)
    time.sleep(1.5)
    assert len(sink.events) == 5
    lists(policy)
    time.sleep(1.5)
    assert nft.listing(TABLE, netns) is None
    enforcement.stop()
    subprocess.run(["ip", "netns", "exec", netns, "nft", "flush ruleset"], check=True)
    assert len(sink.events) == 5


def test_fifty_thousand_addresses_in_one_transaction(netns: str) -> None:
    wanted = {f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}": None for n in range(1, 50_001)}
    began = time.monotonic()
    nft.load(ruleset(wanted), netns)
    assert time.monotonic() - began < 10
    AddressBlock(netns).remove()
    with pytest.raises(ValueError, match="address"):
        ruleset({"10.0.0.1 }; flush ruleset": None})


def test_keys_of_names() -> None:
    assert suffix_key("Evil.Example") == suffix_key("evil.example")
    assert len({suffix_key(f"host{n}.example") for n in range(20_000)}) == 20_000
