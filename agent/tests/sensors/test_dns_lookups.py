"""Queries and answers brought together."""

import os
import struct
from typing import Any

import dns_peers
import pytest

from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import canaries, dns_lookups
from shieldwall_agent.sensors.dns_lookups import Lookups
from shieldwall_agent.sensors.own import Own

UDP, TCP = 17, 6


def _sent(
    lookups: Lookups, payload: bytes, flow: object = "flow", protocol: int = UDP, sequence: int = 0
) -> None:
    lookups.sent(
        flow, protocol, sequence, payload, len(payload),
        when=1.0, server="192.0.2.53", who=lambda: Process(42, 1, path="/bin/asks"),
    )  # fmt: skip


def test_asks_once_who_asked(kept: Any, nobody: Any) -> None:
    lookups = Lookups(kept.emit, nobody)
    asked = dns_peers.query("www.example")
    times = []
    for _ in range(2):
        lookups.sent(
            "flow", UDP, 0, asked, len(asked), when=1.0, server="192.0.2.53", who=lambda: times.append(1)
        )
    assert times == [1]


def _received(lookups: Lookups, payload: bytes, flow: object = "flow", protocol: int = UDP) -> None:
    lookups.received(flow, protocol, 0, payload, len(payload))


def _actions(kept: Any) -> list[tuple[str, str]]:
    return [(event["ActionType"], event["RemoteUrl"]) for event in kept.events]


def test_one_event_for_query_and_answer(kept: Any, nobody: Any) -> None:
    lookups = Lookups(kept.emit, nobody)
    asked = dns_peers.query("www.example")
    _sent(lookups, asked)
    _sent(lookups, asked)  # resolvers ask again
    assert kept.events == []
    _received(lookups, dns_peers.answer(asked))
    _received(lookups, dns_peers.answer(asked))
    lookups.expire(everything=True)
    assert _actions(kept) == [("DnsQueryResponse", "www.example")]
    assert kept.events[0]["InitiatingProcessId"] == 42


def test_only_the_answer_to_the_question_counts(kept: Any, nobody: Any) -> None:
    lookups = Lookups(kept.emit, nobody)
    asked = dns_peers.query("www.example", 7)
    _sent(lookups, asked)
    _received(lookups, dns_peers.answer(asked), flow="other")
    _received(lookups, dns_peers.answer(dns_peers.query("www.example", 8)))
    _received(lookups, dns_peers.answer(dns_peers.query("evil.example", 7)))
    _received(lookups, asked)
    assert kept.events == []
    _received(
        lookups, dns_peers.answer(dns_peers.query("WWW.example", 7))
    )  # case is the resolver's to choose
    assert _actions(kept) == [("DnsQueryResponse", "www.example")]


def test_tells_what_waits_too_long_or_is_too_much(
    kept: Any, nobody: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_lookups, "MOST_WAITING", 2)
    lookups = Lookups(kept.emit, nobody)
    for number in range(3):
        _sent(lookups, dns_peers.query(f"{number}.example"))
    assert _actions(kept) == [("DnsQueryRequest", "0.example")]
    lookups.expire()
    assert len(kept.events) == 1
    monkeypatch.setattr(dns_lookups, "ANSWER_SECONDS", -1)
    lookups = Lookups(kept.emit, nobody)
    _sent(lookups, dns_peers.query("late.example"))
    lookups.expire()
    assert _actions(kept)[1:] == [("DnsQueryRequest", "late.example")]


def test_both_directions_of_a_connection_are_streams_of_their_own(kept: Any, nobody: Any) -> None:
    lookups = Lookups(kept.emit, nobody)
    asked = dns_peers.query("www.example")
    framed = struct.pack("!H", len(asked)) + asked
    _sent(lookups, framed[:5], protocol=TCP)
    answered = dns_peers.answer(asked)
    _sent(lookups, framed[5:], protocol=TCP, sequence=5)
    _received(lookups, struct.pack("!H", len(answered)) + answered, protocol=TCP)
    assert _actions(kept) == [("DnsQueryResponse", "www.example")]
    assert kept.events[0]["AdditionalFields"]["Protocol"] == "Tcp"


def test_tells_nothing_of_the_agent_itself(kept: Any) -> None:
    lookups = Lookups(kept.emit, Own())
    itself = Process(os.getpid(), 1)
    asked = [dns_peers.query(name) for name in ("own.example", canaries.NAME, "other.example")]
    for payload, process in zip(asked, (itself, None, None), strict=True):
        lookups.sent(
            "flow", UDP, 0, payload, len(payload),
            when=1.0, server="192.0.2.53", who=lambda process=process: process,
        )  # fmt: skip
        _received(lookups, dns_peers.answer(payload))
    assert _actions(kept) == [("DnsQueryResponse", "other.example")]
