"""Signed requests: forged, replayed, skewed, oversized and broken ones change nothing."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import httpx
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldwall.times import now, to_text
from tests.e2e.conftest import Running

from .conftest import Agent

POLL = "/agent/v1/messages?revision=0&wait=0"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def event(**columns: object) -> dict[str, object]:
    return {
        "Table": "DeviceProcessEvents",
        "Timestamp": to_text(now()),
        "ActionType": "ProcessCreated",
        **columns,
    }


def test_an_unsigned_request_is_refused(agent: Agent) -> None:
    assert code(agent.http.get(POLL)) == (401, "Unauthorized")


def test_another_key_is_refused(agent: Agent) -> None:
    assert code(agent.request("GET", POLL, key=Ed25519PrivateKey.generate())) == (401, "Unauthorized")


def test_an_unknown_device_is_refused_like_a_wrong_signature(agent: Agent) -> None:
    known = agent.request("GET", POLL, key=Ed25519PrivateKey.generate())
    unknown = agent.request("GET", POLL, device_id="0" * 40)
    assert code(known) == code(unknown)
    assert known.json()["error"]["message"] == unknown.json()["error"]["message"]


def test_another_devices_name_cannot_be_used(
    server: Running, agent: Agent, token: str, tmp_path: Path
) -> None:
    other = Agent(server, tmp_path, "other")
    other.enrol(token)
    assert code(agent.request("GET", POLL, device_id=other.device_id)) == (401, "Unauthorized")


@pytest.mark.parametrize("offset", [-400, 400])
def test_a_skewed_clock_is_told_so(agent: Agent, offset: int) -> None:
    answer = agent.request("GET", POLL, offset=offset)
    assert code(answer) == (401, "ClockSkew")
    assert "date" in answer.headers


def test_a_replayed_request_is_refused(agent: Agent) -> None:
    nonce = os.urandom(16).hex()
    assert agent.request("GET", POLL, nonce=nonce).status_code in (200, 204)
    assert code(agent.request("GET", POLL, nonce=nonce)) == (401, "NonceReused")


def test_a_tampered_body_is_refused(agent: Agent) -> None:
    headers = {"X-Shieldwall-Batch": f"{agent.stream}:1", "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"Table": "DeviceEvents"}')
    answer = agent.request("POST", "/agent/v1/events", body, headers=headers, signed_body=b"other")
    assert code(answer) == (401, "Unauthorized")


def test_a_tampered_query_is_refused(agent: Agent) -> None:
    signed = agent.http.build_request("GET", POLL)
    answer = agent.request("GET", POLL)
    assert answer.is_success
    replay = answer.request
    replay = agent.http.build_request(
        "GET", POLL + "&x=1", headers={"Authorization": replay.headers["Authorization"]}
    )
    assert signed.url.path == replay.url.path
    assert agent.http.send(replay).status_code == 401


def test_the_devices_own_certificate_is_accepted_and_anothers_is_not(
    server: Running, agent: Agent, token: str, tmp_path: Path
) -> None:
    other = Agent(server, tmp_path, "other")
    other.enrol(token)
    with agent.with_certificate() as own, other.with_certificate() as foreign:
        assert agent.request("GET", POLL, http=own).is_success
        assert code(agent.request("GET", POLL, http=foreign)) == (401, "CertificateMismatch")


def test_events_are_stored_once_and_rejects_are_told_by_line(agent: Agent) -> None:
    lines = (event(ProcessCommandLine="a"), "no json", event(Timestamp="2099-01-01T00:00:00Z"), event())
    first = agent.send(1, *lines)
    assert first.status_code == 200, first.text
    told = first.json()
    assert (told["stored"], told["duplicate"]) == (2, False)
    assert [rejected["line"] for rejected in told["rejected"]] == [2, 3]
    assert agent.send(1, *lines).json() == {"stored": 0, "duplicate": True, "rejected": []}
    assert agent.send(2, event()).json()["stored"] == 1


@pytest.mark.parametrize("place", ["", "nonsense", "0" * 32, f"{'0' * 32}:-1", f"{'g' * 32}:1"])
def test_a_batch_must_say_its_place(agent: Agent, place: str) -> None:
    headers = {"X-Shieldwall-Batch": place} if place else {}
    assert agent.request("POST", "/agent/v1/events", b"{}", headers=headers).status_code == 400


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_truncated_body_is_a_clear_error(agent: Agent, encoding: str) -> None:
    whole = b"\n".join(b'{"Table": "DeviceEvents", "ActionType": "%d"}' % number for number in range(1000))
    packed = gzip.compress(whole) if encoding == "gzip" else zstandard.compress(whole)
    headers = {"X-Shieldwall-Batch": f"{agent.stream}:1", "Content-Encoding": encoding}
    answer = agent.request("POST", "/agent/v1/events", packed[: len(packed) // 2], headers=headers)
    assert code(answer) == (400, "InvalidRequestBody")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_cheaply(agent: Agent, encoding: str) -> None:
    zeros = bytes(200 << 20)
    packed = gzip.compress(zeros, 9) if encoding == "gzip" else zstandard.compress(zeros, 19)
    headers = {"X-Shieldwall-Batch": f"{agent.stream}:1", "Content-Encoding": encoding}
    began = time.monotonic()
    answer = agent.request("POST", "/agent/v1/events", packed, headers=headers)
    assert code(answer) == (413, "MaximumBatchSizeExceeded")
    assert time.monotonic() - began < 5


def test_an_oversized_body_is_refused(agent: Agent) -> None:
    headers = {"X-Shieldwall-Batch": f"{agent.stream}:1"}
    answer = agent.request("POST", "/agent/v1/events", bytes(9 << 20), headers=headers)
    assert code(answer) == (413, "MaximumBatchSizeExceeded")


def test_an_unknown_path_is_404_in_the_apis_shape(agent: Agent) -> None:
    assert code(agent.request("GET", "/agent/v1/nothing")) == (404, "NotFound")
