"""The server's own certificates: a local CA, the server certificate it issues, and those of agents."""

from __future__ import annotations

import re
import socket
import ssl
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shieldwall.errors import bad_request
from shieldwall.identity.private_files import locked, write_file
from shieldwall.settings import Settings
from shieldwall.times import now

CA_LIFE = timedelta(days=20 * 365)
SERVER_LIFE = timedelta(days=397)
SERVER_RENEWAL = timedelta(days=45)
CLIENT_LIFE = timedelta(days=10 * 365)
"""Long, since a device is revoked by its record on the server and not by its certificate's end."""
CLOCK_SKEW = timedelta(hours=1)
CSR_LIMIT = 16 << 10

_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_DEVICE_ID = re.compile(r"[0-9a-f]{40}")


def ca_path(settings: Settings) -> Path:
    """PEM certificate of the local CA: what clients of a generated certificate trust."""
    return settings.data / "tls" / "ca.pem"


def server_tls_paths(settings: Settings) -> tuple[Path, Path, Path]:
    """Certificate chain and key that the server presents, and the CA of agents' client certificates.

    What is missing, near its end or made for other names is made now. ValueError: bad certificate settings.
    """
    certificate, key = settings.data / "tls" / "server.pem", settings.secrets / "server.key"
    with locked(settings.secrets):
        _make_authority(settings)
        if settings.tls_certificate or settings.tls_key:
            certificate, key = _own_pair(settings.tls_certificate, settings.tls_key)
        elif not _still_good(settings, certificate, key):
            _issue_server_certificate(settings, certificate, key)
    return certificate, key, ca_path(settings)


def server_names(settings: Settings) -> list[str]:
    """DNS names and addresses under which clients reach this server."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), settings.host]
    names.append(urlsplit(settings.url).hostname or "")
    kept = dict.fromkeys(name.lower().strip("[]") for name in names)
    return [name for name in kept if _certifiable(name)]


def issue_client_certificate(settings: Settings, csr_pem: str, device_id: str) -> tuple[str, str]:
    """Certify an agent's key for client authentication as ``device_id``: PEM and hexadecimal serial.

    Only the request's key counts, never its names. ApiError 400: a request that is not sound.
    """
    if not _DEVICE_ID.fullmatch(device_id):
        raise ValueError("a device id is 40 hexadecimal digits")
    key = _requested_key(csr_pem)
    ca_key, ca = _authority(settings)
    end = min(now() + CLIENT_LIFE, ca.not_valid_after_utc)
    certificate = (
        _leaf(_builder(_name(device_id), ca.subject, key, end), ca, key)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _pem(certificate).decode(), f"{certificate.serial_number:x}"


def _authority(settings: Settings) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The local CA, made at the first call."""
    with locked(settings.secrets):
        _make_authority(settings)
    return _load_authority(settings)


def _make_authority(settings: Settings) -> None:
    key_path, path = settings.secrets / "ca.key", ca_path(settings)
    if path.exists():
        return
    # A crash in between leaves a key without its certificate; the same key and name make the same CA again.
    if not key_path.exists():
        write_file(key_path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
    key = _load_key(key_path)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"Shieldwall CA {identifier.digest.hex()[:8]}")
    certificate = (
        _builder(name, name, key.public_key(), now() + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, _pem(certificate), 0o644)


def _load_authority(settings: Settings) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_path, path = settings.secrets / "ca.key", ca_path(settings)
    key = _load_key(key_path)
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if key.public_key() != certificate.public_key():
        raise ValueError(f"{key_path} is not the key of {path}")
    return key, certificate


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an elliptic curve key")
    return key


def _issue_server_certificate(settings: Settings, path: Path, key_path: Path) -> None:
    ca_key, ca = _load_authority(settings)
    key = ec.generate_private_key(ec.SECP256R1())
    names = server_names(settings)
    end = min(now() + SERVER_LIFE, ca.not_valid_after_utc)
    certificate = (
        _leaf(_builder(_name(names[-1][:64]), ca.subject, key.public_key(), end), ca, key.public_key())
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(key_path, _key_pem(key))
    write_file(path, _pem(certificate), 0o644)


def _still_good(settings: Settings, path: Path, key_path: Path) -> bool:
    """Whether the server certificate is whole, from this CA, for these names and not near its end."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        certificate.verify_directly_issued_by(_load_authority(settings)[1])
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        key.public_key() == certificate.public_key()
        and set(found) == set(_alternative_names(server_names(settings)))
        and certificate.not_valid_after_utc - now() > SERVER_RENEWAL
    )


def _own_pair(certificate: str, key: str) -> tuple[Path, Path]:
    """The operator's own certificate and key, checked here so that a mistake has a clear message."""
    if not (certificate and key):
        raise ValueError("SHIELDWALL_TLS_CERTIFICATE and SHIELDWALL_TLS_KEY must be set together")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        raise ValueError(f"TLS certificate {certificate} with key {key}: {error}") from None
    return Path(certificate), Path(key)


def _requested_key(csr_pem: str) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if len(csr_pem) > CSR_LIMIT:
        raise bad_request("The certificate request is too large.")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        key = request.public_key()
        sound = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        raise bad_request("The certificate request cannot be read.") from None
    if not sound:
        raise bad_request("The certificate request is not signed by its own key.")
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise bad_request("The certificate request must be for an Ed25519 or elliptic curve key.")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - CLOCK_SKEW)
        .not_valid_after(end)
    )


def _leaf(
    builder: x509.CertificateBuilder, ca: x509.Certificate, key: CertificatePublicKeyTypes
) -> x509.CertificateBuilder:
    authority = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False
        )
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certifiable(name: str) -> bool:
    try:
        return not ip_address(name).is_unspecified
    except ValueError:
        return _DNS_NAME.fullmatch(name) is not None


def _alternative_names(names: list[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
