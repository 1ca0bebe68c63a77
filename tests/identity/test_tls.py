"""The local CA: what it issues is accepted by strict clients, and nothing else is."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from shieldwall.errors import ApiError
from shieldwall.identity import tls
from shieldwall.identity.tls import ca_path, issue_client_certificate, server_names, server_tls_paths
from shieldwall.settings import Settings
from shieldwall.times import now

DEVICE = "0123456789" * 4


def csr(
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "x"
) -> str:
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def strict(ca: Path) -> ssl.SSLContext:
    """What Python 3.13 and later clients demand by default."""
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def handshake(settings: Settings, name: str, client: ssl.SSLContext) -> dict[str, object] | None:
    """Connect as a client that expects ``name``; what the server knows of the client's certificate."""
    chain, key, ca = server_tls_paths(settings)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    server.load_verify_locations(ca)
    server.verify_mode = ssl.CERT_OPTIONAL
    near, far = socket.socketpair()
    seen: list[dict[str, object] | None] = []

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as connection:
                seen.append(connection.getpeercert())
                connection.send(b"x")
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as connection:
            if not connection.recv(1):
                raise ssl.SSLError("closed by the server")
    finally:
        near.close()
        thread.join(10)
    return seen[0]


def test_the_server_is_trusted_under_each_of_its_names(settings: Settings) -> None:
    settings = replace(settings, public_url="https://edr.example.org:9443", host="10.1.2.3")
    _chain, _key, ca = server_tls_paths(settings)
    for name in ("localhost", "127.0.0.1", "::1", "edr.example.org", "10.1.2.3", socket.gethostname()):
        handshake(settings, name, strict(ca))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(settings, "evil.example", strict(ca))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(settings, "localhost", ssl.create_default_context())


def test_keys_are_private(settings: Settings) -> None:
    _chain, key, ca = server_tls_paths(settings)
    assert ca == ca_path(settings) == settings.data / "tls" / "ca.pem"
    assert key.stat().st_mode & 0o777 == (settings.secrets / "ca.key").stat().st_mode & 0o777 == 0o600
    assert settings.secrets.stat().st_mode & 0o777 == 0o700


def test_certificates_stay_until_they_must_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, _key, ca = server_tls_paths(settings)
    authority, first = certificate(ca), certificate(chain)
    server_tls_paths(settings)
    assert certificate(chain) == first

    server_tls_paths(replace(settings, public_url="https://edr.example.org"))
    renamed = certificate(chain)
    assert renamed != first
    monkeypatch.setattr(tls, "now", lambda: now() + tls.SERVER_LIFE - tls.SERVER_RENEWAL + timedelta(days=1))
    server_tls_paths(replace(settings, public_url="https://edr.example.org"))
    assert certificate(chain).not_valid_after_utc > renamed.not_valid_after_utc
    monkeypatch.undo()
    assert certificate(ca) == authority


@pytest.mark.parametrize("damage", ["server.pem", "server.key", "both"])
def test_damaged_server_files_are_replaced(settings: Settings, damage: str) -> None:
    chain, key, ca = server_tls_paths(settings)
    if damage != "server.key":
        chain.write_text("garbage")
    if damage != "server.pem":
        key.unlink()
    server_tls_paths(settings)
    handshake(settings, "localhost", strict(ca))


def test_a_ca_interrupted_while_it_was_made_is_the_same_ca(settings: Settings) -> None:
    _chain, _key, ca = server_tls_paths(settings)
    before = certificate(ca)
    ca.unlink()
    server_tls_paths(settings)
    assert certificate(ca).public_key() == before.public_key()
    assert certificate(ca).subject == before.subject
    (settings.secrets / "ca.key").unlink()
    with pytest.raises(FileNotFoundError, match=r"ca\.key"):
        issue_client_certificate(settings, csr(ed25519.Ed25519PrivateKey.generate()), DEVICE)


def test_servers_that_start_at_once_make_one_ca(settings: Settings) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(server_tls_paths(settings)[2].read_bytes()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_an_agent_certificate_proves_the_device(settings: Settings, tmp_path: Path, kind: str) -> None:
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    pem, serial = issue_client_certificate(settings, csr(key, "another name"), DEVICE)
    issued = x509.load_pem_x509_certificate(pem.encode())
    assert f"{issued.serial_number:x}" == serial
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    (tmp_path / "agent.pem").write_text(pem)
    (tmp_path / "agent.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    client = strict(ca_path(settings))
    client.load_cert_chain(tmp_path / "agent.pem", tmp_path / "agent.key")
    peer = handshake(settings, "localhost", client)
    assert peer is not None
    assert peer["subject"] == ((("commonName", DEVICE),),)


def test_the_servers_own_certificate_is_no_agents(settings: Settings) -> None:
    chain, key, ca = server_tls_paths(settings)
    client = strict(ca)
    client.load_cert_chain(chain, key)
    with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
        handshake(settings, "localhost", client)


def test_unsound_certificate_requests(settings: Settings) -> None:
    good = csr(ed25519.Ed25519PrivateKey.generate())
    lines = good.splitlines()
    lines[-2] = ("A" if lines[-2][0] != "A" else "B") + lines[-2][1:]
    weak = csr(rsa.generate_private_key(65537, 2048))
    for bad in ("", "x", "-----BEGIN CERTIFICATE REQUEST-----", "é", good * 100, "\n".join(lines), weak):
        with pytest.raises(ApiError) as failure:
            issue_client_certificate(settings, bad, DEVICE)
        assert failure.value.status == 400
    with pytest.raises(ValueError, match="40 hex"):
        issue_client_certificate(settings, good, "../../etc")


def test_a_certificate_of_the_operators_own(settings: Settings, tmp_path: Path) -> None:
    chain, key, _ca = server_tls_paths(settings)
    own_chain, own_key = tmp_path / "own.pem", tmp_path / "own.key"
    own_chain.write_bytes(chain.read_bytes())
    own_key.write_bytes(key.read_bytes())
    own = replace(settings, data=tmp_path / "other", tls_certificate=str(own_chain), tls_key=str(own_key))
    assert server_tls_paths(own) == (own_chain, own_key, ca_path(own))
    for broken in (
        replace(own, tls_key=""),
        replace(own, tls_key=str(own_chain)),
        replace(own, tls_certificate=str(tmp_path / "missing.pem")),
        replace(own, tls_key=str(settings.secrets / "ca.key")),
    ):
        with pytest.raises(ValueError, match="TLS"):
            server_tls_paths(broken)


def test_names_that_no_certificate_can_carry_are_left_out(settings: Settings) -> None:
    assert not {"0.0.0.0", "::"} & set(server_names(replace(settings, host="0.0.0.0")))
    assert "a b" not in server_names(replace(settings, public_url="https://a b/"))
