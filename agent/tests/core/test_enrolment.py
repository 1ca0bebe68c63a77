import hashlib
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from protocol_server import ProtocolServer, make_authority, pem

from shieldwall_agent.config import NotEnrolled, State
from shieldwall_agent.enrolment import EnrolmentFailed, authority_by_fingerprint, enrol
from shieldwall_agent.identity import Clock
from shieldwall_agent.transport import Client, Refused, Unreachable


def test_enrolment_keeps_a_private_key_and_the_pinned_authority(server: ProtocolServer, state: State) -> None:
    assert state.load().device_id in server.devices
    assert state.authority.read_text() == server.authority
    assert oct(state.key.stat().st_mode)[-3:] == "600"
    assert oct(state.folder.stat().st_mode)[-3:] == "700"


def test_enrolling_again_keeps_the_device(server: ProtocolServer, state: State) -> None:
    before = state.load().device_id
    assert enrol(state, server.url, "token-1", server.authority).device_id == before


def test_a_copied_token_makes_another_device(server: ProtocolServer, state: State, tmp_path: Path) -> None:
    other = enrol(State(tmp_path / "other"), server.url, "token-1", server.authority)
    assert other.device_id != state.load().device_id


def test_wrong_authority_is_refused_before_the_token_is_sent(server: ProtocolServer, tmp_path: Path) -> None:
    _, stranger = make_authority()
    state = State(tmp_path / "agent")
    with pytest.raises(EnrolmentFailed, match="not of the given CA"):
        enrol(state, server.url, "token-1", pem(stranger))
    assert not server.devices
    with pytest.raises(NotEnrolled):
        state.load()


def test_refused_token_is_told(server: ProtocolServer, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentFailed, match="InvalidToken"):
        enrol(State(tmp_path / "agent"), server.url, "stolen", server.authority)


def test_authority_is_found_by_its_fingerprint(server: ProtocolServer) -> None:
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(server.authority)).hexdigest()
    assert authority_by_fingerprint(server.url, fingerprint.upper()).strip() == server.authority.strip()
    with pytest.raises(EnrolmentFailed, match="no certificate with this fingerprint"):
        authority_by_fingerprint(server.url, "0" * 64)


@pytest.mark.parametrize(
    "url", ["http://host", "https://host/path", "https://user@host", "ftp://x", "https://"]
)
def test_only_plain_https_urls(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        enrol(State(tmp_path), url, "t", "")


def test_requests_are_signed_and_carry_the_client_certificate(server: ProtocolServer, state: State) -> None:
    enrolment = state.load()
    client = Client.open(state, enrolment, Clock())
    assert client.request("GET", "/agent/v1/messages?revision=0&isolated=0&wait=0").status == 204
    assert client.request("POST", "/agent/v1/report", b"{}").status == 204
    assert set(server.peers) == {enrolment.device_id}


def test_clock_is_corrected_by_the_servers_date(server: ProtocolServer, state: State) -> None:
    server.skew = -86_400 * 3
    clock = Clock()
    client = Client.open(state, state.load(), clock)
    assert client.request("POST", "/agent/v1/report", b"{}").status == 204
    assert abs(clock.offset + 86_400 * 3) < 5


def test_small_skew_is_learned_without_a_refusal(server: ProtocolServer, state: State) -> None:
    server.skew = 120
    clock = Clock()
    Client.open(state, state.load(), clock).request("POST", "/agent/v1/report", b"{}")
    assert abs(clock.offset - 120) < 5


def test_another_server_with_the_same_address_is_not_spoken_to(
    server: ProtocolServer, state: State, tmp_path: Path
) -> None:
    impostor = ProtocolServer(tmp_path / "impostor")
    enrolment = state.load()
    moved = type(enrolment)(impostor.url, enrolment.device_id, enrolment.command_key)
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        Client.open(state, moved, Clock()).request("POST", "/agent/v1/report", b"{}")
    impostor.close()


def test_kept_connection_that_the_server_closed_is_opened_again(server: ProtocolServer, state: State) -> None:
    client = Client.open(state, state.load(), Clock())
    client.request("POST", "/agent/v1/report", b"{}")
    assert client._connection is not None
    client._connection.sock.shutdown(0)
    assert client.request("POST", "/agent/v1/report", b"{}").status == 204


def test_revoked_device_is_told(server: ProtocolServer, state: State) -> None:
    server.devices.clear()
    with pytest.raises(Refused) as refusal:
        Client.open(state, state.load(), Clock()).request("POST", "/agent/v1/report", b"{}")
    assert (refusal.value.status, refusal.value.code) == (403, "DeviceRevoked")


def test_command_line_enrols_with_the_token_on_standard_input(server: ProtocolServer, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(server.authority)
    command = [sys.executable, "-m", "shieldwall_agent", "--state", str(tmp_path / "agent"), "enrol"]
    done = subprocess.run(
        [*command, "--server", server.url, "--ca", str(authority)],
        input=b"token-1\n",
        capture_output=True,
        env={**os.environ, "https_proxy": "http://127.0.0.1:1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "agent" / "identity.json").read_text())["device_id"] in server.devices
    refused = subprocess.run(
        [*command, "--server", server.url, "--ca", str(authority), "--token", "bad"],
        capture_output=True,
        check=False,
    )
    assert refused.returncode == 1
    assert b"InvalidToken" in refused.stderr
