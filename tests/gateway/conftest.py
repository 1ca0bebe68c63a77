"""A whole server over real HTTPS, and an agent that speaks the protocol from its document."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.e2e.conftest import Running, free_port, running, trusting


class Agent:
    """One device. ``request`` signs as the protocol says; its parts can be spoiled one by one."""

    def __init__(self, server: Running, folder: Path, name: str = "host1") -> None:
        self.server = server
        self.folder = folder
        self.key = Ed25519PrivateKey.generate()
        self.name = name
        self.device_id = ""
        self.stream = os.urandom(16).hex()
        context = trusting(server.quickstart["ca"])
        self.http = httpx.Client(base_url=server.quickstart["url"], verify=context, timeout=30)

    def enrolment(self, token: str, **changes: Any) -> dict[str, Any]:
        public = self.key.public_key().public_bytes_raw()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, None)
        body = {
            "token": token,
            "public_key": base64.b64encode(public).decode(),
            "csr": csr.public_bytes(Encoding.PEM).decode(),
            "proof": base64.b64encode(self.key.sign(f"shieldwall-enrol:{token}".encode())).decode(),
            "hardware_id": hashlib.sha256(self.name.encode()).hexdigest(),
            "report": {"dns_name": self.name, "os_platform": "Linux", "os_version": "12"},
        }
        return body | changes

    def enrol(self, token: str, **changes: Any) -> httpx.Response:
        answer = self.http.post("/agent/v1/enrol", json=self.enrolment(token, **changes))
        if answer.is_success:
            told = answer.json()
            self.device_id = told["device_id"]
            self.command_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(told["command_key"]))
            self.certificate = told["certificate"]
        return answer

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        signed_body: bytes | None = None,
        device_id: str | None = None,
        offset: int = 0,
        nonce: str | None = None,
        key: Ed25519PrivateKey | None = None,
        http: httpx.Client | None = None,
    ) -> httpx.Response:
        moment, nonce = str(int(time.time()) + offset), nonce or os.urandom(16).hex()
        digest = hashlib.sha256(body if signed_body is None else signed_body).hexdigest()
        text = "\n".join((method, target, moment, nonce, digest)).encode()
        signature = base64.b64encode((key or self.key).sign(text)).decode()
        signed = (
            f'Shieldwall device="{device_id or self.device_id}", time="{moment}", '
            f'nonce="{nonce}", signature="{signature}"'
        )
        headers = {"Authorization": signed, **(headers or {})}
        return (http or self.http).request(method, target, content=body, headers=headers)

    def send(self, sequence: int, *lines: Any, **more: Any) -> httpx.Response:
        """A batch of events; a line that is text goes as it is."""
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        headers = {"X-Shieldwall-Batch": f"{self.stream}:{sequence}", "Content-Encoding": "gzip"}
        return self.request("POST", "/agent/v1/events", gzip.compress(text.encode()), headers=headers, **more)

    def poll(self, revision: int = 0, wait: float = 0, isolated: int = 0) -> list[dict[str, Any]]:
        """Messages, their signatures checked."""
        target = f"/agent/v1/messages?revision={revision}&isolated={isolated}&wait={wait}"
        answer = self.request("GET", target)
        if answer.status_code == 204:
            return []
        assert answer.status_code == 200, answer.text
        found = []
        for message in answer.json()["messages"]:
            payload = base64.b64decode(message["payload"])
            self.command_key.verify(base64.b64decode(message["signature"]), payload)
            found.append(json.loads(payload))
            assert found[-1]["device_id"] == self.device_id
        return found

    def with_certificate(self) -> httpx.Client:
        """An HTTP client that shows this device's certificate."""
        pem = self.folder / f"{self.device_id}.pem"
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem.write_bytes(private + self.certificate.encode())
        context = trusting(self.server.quickstart["ca"])
        context.load_cert_chain(pem)
        return httpx.Client(base_url=self.server.quickstart["url"], verify=context, timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("gateway") / "data", free_port(), "--no-agent") as shieldwall:
        yield shieldwall


@pytest.fixture(scope="session")
def token(server: Running) -> str:
    """A token for any number of devices."""
    made = server.command("device", "token", "create", "--uses", "0")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture
def agent(server: Running, token: str, tmp_path: Path) -> Agent:
    made = Agent(server, tmp_path)
    assert made.enrol(token).status_code == 200
    return made
