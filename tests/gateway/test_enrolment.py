"""Who gets in, and as whom."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.e2e.conftest import Running

from .conftest import Agent


def test_the_device_id_follows_from_the_key(server: Running, agent: Agent) -> None:
    tenant = server.quickstart["tenant_id"].encode()
    public = agent.key.public_key().public_bytes_raw()
    assert agent.device_id == hashlib.sha256(tenant + public).hexdigest()[:40]
    assert server.get(f"/api/machines/{agent.device_id}")["computerDnsName"] == "host1"


def test_the_same_key_gets_its_own_device_back(agent: Agent, token: str) -> None:
    before = agent.device_id
    assert agent.enrol(token).json()["device_id"] == before


def test_a_copied_token_makes_a_new_device(server: Running, agent: Agent, token: str, tmp_path: Path) -> None:
    other = Agent(server, tmp_path)
    assert other.enrol(token).status_code == 200
    assert other.device_id != agent.device_id
    assert server.get(f"/api/machines/{other.device_id}")["isPotentialDuplication"] is True


def test_a_one_time_token_lets_one_device_in(server: Running, tmp_path: Path) -> None:
    once = server.command("device", "token", "create", "--uses", "1").stdout.strip()
    assert Agent(server, tmp_path, "one").enrol(once).status_code == 200
    refused = Agent(server, tmp_path, "two").enrol(once)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "Unauthorized")


def test_a_wrong_token_is_refused(server: Running, tmp_path: Path) -> None:
    assert Agent(server, tmp_path).enrol("x" * 43).status_code == 401


def test_the_proof_must_be_by_the_key(server: Running, token: str, tmp_path: Path) -> None:
    signature = Ed25519PrivateKey.generate().sign(f"shieldwall-enrol:{token}".encode())
    answer = Agent(server, tmp_path).enrol(token, proof=base64.b64encode(signature).decode())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestBody")


def test_the_certificate_request_must_be_for_the_key(server: Running, token: str, tmp_path: Path) -> None:
    other = Agent(server, tmp_path).enrolment(token)["csr"]
    assert Agent(server, tmp_path).enrol(token, csr=other).status_code == 400


def test_missing_and_hostile_fields_are_named(server: Running, token: str, tmp_path: Path) -> None:
    missing = Agent(server, tmp_path).enrol(token, public_key="")
    assert "public_key" in missing.json()["error"]["message"]
    hostile = Agent(server, tmp_path).enrol(token, report={"dns_name": "../../etc/passwd"})
    assert (hostile.status_code, "dns_name" in hostile.json()["error"]["message"]) == (400, True)


def test_a_revoked_device_stays_out(server: Running, token: str, tmp_path: Path) -> None:
    agent = Agent(server, tmp_path, "lost")
    agent.enrol(token)
    assert agent.poll() is not None
    assert server.command("device", "revoke", agent.device_id).returncode == 0
    answer = agent.request("GET", "/agent/v1/messages?revision=0&wait=0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "DeviceRevoked")
    assert agent.enrol(token).status_code == 403
