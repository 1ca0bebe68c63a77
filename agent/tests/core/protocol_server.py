"""A server of docs/agent-protocol.md over real TLS, strict in all that the protocol says, kept in memory."""

import base64
import datetime
import gzip
import hashlib
import ipaddress
import json
import re
import ssl
import threading
import time
import uuid
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

TENANT = "tenant"
_SIGNED = re.compile(r'Shieldwall device="(\w+)", time="(\d+)", nonce="([0-9a-f]{32})", signature="([^"]+)"')


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def make_authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _builder(subject: x509.Name, issuer: x509.Name, key: Any) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - datetime.timedelta(hours=1))
        .not_valid_after(now() + datetime.timedelta(days=1))
    )


class ProtocolServer:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.key, self.certificate = make_authority()
        self.authority = pem(self.certificate)
        self.command_key = Ed25519PrivateKey.generate()
        self.devices: dict[str, Ed25519PublicKey] = {}
        self.peers: list[str] = []  # common names of the client certificates seen
        self.nonces: set[str] = set()
        self.skew = 0.0  # seconds that this server's clock is ahead
        self.streams: dict[str, int] = {}
        self.batches: list[tuple[str, int, bytes]] = []  # every one that came, duplicates too
        self.rows: list[dict[str, Any]] = []  # stored
        self.answers: list[tuple[int, dict[str, str], dict[str, Any]]] = []  # given to events before all else
        self.lose_answers = 0  # so many batches are stored, and their connection cut instead of answered
        self.largest_body = 10**9
        self.reports: list[dict[str, Any]] = []
        self.polls: list[dict[str, list[str]]] = []
        self.messages: list[dict[str, str]] = []
        self.results: list[tuple[str, dict[str, Any]]] = []
        self.packages: dict[str, bytes] = {}
        self.refuse_results = 0
        self.changed = threading.Condition()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server_certificate(folder))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.authority)
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def wait_for(self, condition: Any, seconds: float = 10.0) -> Any:
        """Wait until condition(self) is true and return it."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), seconds), "it did not happen in time"
            return condition(self)

    def send(self, device_id: str, kind: str, body: dict[str, Any] | None = None, **changes: Any) -> str:
        """Queue a message, return its id; `changes` replace fields of the payload or the key that signs."""
        signing_key = changes.pop("signing_key", self.command_key)
        message_id = changes.pop("id", str(uuid.uuid4()))
        payload = {
            "device_id": device_id,
            "id": message_id,
            "nonce": uuid.uuid4().hex,
            "issued": now().isoformat(),
            "expires": (now() + datetime.timedelta(minutes=5)).isoformat(),
            "type": kind,
            "body": body or {},
            **changes,
        }
        encoded = json.dumps(payload).encode()
        self.send_raw(
            {
                "payload": base64.b64encode(encoded).decode(),
                "signature": base64.b64encode(signing_key.sign(encoded)).decode(),
            }
        )
        return message_id

    def send_raw(self, envelope: dict[str, str]) -> None:
        with self.changed:
            self.messages.append(envelope)
            self.changed.notify_all()

    def _server_certificate(self, folder: Path) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = (
            _builder(name, self.certificate.subject, key.public_key())
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
            )
            .sign(self.key, hashes.SHA256())
        )
        path = folder / "server.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + pem(certificate).encode() + self.authority.encode())
        return path

    def enrol(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["token"] != "token-1":
            return 401, {"error": {"code": "InvalidToken", "message": "The enrolment token is not valid."}}
        public = base64.b64decode(body["public_key"], validate=True)
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(base64.b64decode(body["proof"]), f"shieldwall-enrol:{body['token']}".encode())
        csr = x509.load_pem_x509_csr(body["csr"].encode())
        assert csr.is_signature_valid
        assert csr.public_key() == key
        assert re.fullmatch("[0-9a-f]{64}", body["hardware_id"])
        assert body["report"]["dns_name"]
        device_id = hashlib.sha256(TENANT.encode() + public).hexdigest()[:40]
        self.devices[device_id] = key
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
        certificate = _builder(name, self.certificate.subject, key).sign(self.key, hashes.SHA256())
        command = self.command_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return 200, {
            "device_id": device_id,
            "certificate": pem(certificate),
            "ca": self.authority,
            "command_key": base64.b64encode(command).decode(),
            "server_time": now().isoformat(),
        }

    def check(self, method: str, target: str, header: str, body: bytes) -> tuple[int, str]:
        """(0, device id), or the status and code of the refusal."""
        match = _SIGNED.fullmatch(header)
        if not match:
            return 401, "Unauthorized"
        device, moment, nonce, signature = match.groups()
        if device not in self.devices:
            return 403, "DeviceRevoked"
        if abs(int(moment) - time.time() - self.skew) > 300:
            return 401, "ClockSkew"
        text = "\n".join((method, target, moment, nonce, hashlib.sha256(body).hexdigest()))
        self.devices[device].verify(base64.b64decode(signature), text.encode())
        if nonce in self.nonces:
            return 401, "NonceReused"
        self.nonces.add(nonce)
        return 0, device

    def events(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
        stream, _, number = headers["X-Shieldwall-Batch"].partition(":")
        assert re.fullmatch("[0-9a-f]{32}", stream)
        assert headers["Content-Encoding"] == "gzip"
        lines = gzip.decompress(body)
        self.batches.append((stream, int(number), body))
        if self.answers:
            return self.answers.pop(0)
        if len(lines) > self.largest_body:
            return 413, {}, {"error": {"code": "PayloadTooLarge", "message": "Too large."}}
        rows = [json.loads(line) for line in lines.splitlines()]
        duplicate = int(number) <= self.streams.get(stream, -1)
        if not duplicate:
            self.streams[stream] = int(number)
            self.rows += rows
        return 200, {}, {"stored": 0 if duplicate else len(rows), "duplicate": duplicate, "rejected": []}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def do_PUT(self) -> None:
                self._serve()

            def log_message(self, *_: object) -> None: ...

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(time.time() + server.skew, usegmt=True)

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = urlsplit(self.path).path.removeprefix("/agent/v1/")
                if path == "enrol":
                    self._answer(*server.enrol(json.loads(body)))
                    return
                status, detail = server.check(
                    self.command, self.path, self.headers.get("Authorization", ""), body
                )
                if status:
                    self._answer(status, {"error": {"code": detail, "message": detail}})
                    return
                with server.changed:
                    certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
                    server.peers += [v for rdn in (certificate or {}).get("subject", ()) for _, v in rdn]
                    self._route(path, body, detail)
                    server.changed.notify_all()

            def _route(self, path: str, body: bytes, device: str) -> None:
                if path == "events":
                    status, headers, answer = server.events(self.headers, body)
                    if status == 200 and server.lose_answers:
                        server.lose_answers -= 1
                        self.close_connection = True
                        self.connection.close()
                        return
                    self._answer(status, answer, headers)
                elif path == "report":
                    server.reports.append(json.loads(body))
                    self._answer(204)
                elif path == "messages":
                    query = parse_qs(urlsplit(self.path).query)
                    server.polls.append(query)
                    server.changed.notify_all()
                    server.changed.wait_for(lambda: server.messages, float(query["wait"][0]))
                    messages, server.messages = server.messages, []
                    self._answer(*((200, {"messages": messages}) if messages else (204,)))
                elif path.endswith("/package"):
                    assert hashlib.sha256(body).hexdigest() == self.headers["X-Shieldwall-SHA256"]
                    server.packages[path.split("/")[1]] = body
                    self._answer(204)
                elif server.refuse_results:
                    server.refuse_results -= 1
                    self._answer(503, {"error": {"code": "Unavailable", "message": "Later."}})
                else:
                    server.results.append((path.split("/")[1], json.loads(body)))
                    self._answer(204)

            def _answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
                content = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler
