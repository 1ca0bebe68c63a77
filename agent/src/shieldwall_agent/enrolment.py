"""Makes this machine a device of a server: `POST /agent/v1/enrol`."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shieldwall_agent.config import Enrolment, State, server_address
from shieldwall_agent.identity import load_or_make_key, public_bytes
from shieldwall_agent.report import device_report
from shieldwall_agent.spool_format import write_atomically
from shieldwall_agent.transport import connect, tls_context

TIMEOUT = 30.0
_LARGEST_ANSWER = 1024 * 1024
_HEX = set("0123456789abcdef")


class EnrolmentFailed(Exception):
    """The text is for whoever runs the command."""


def enrol(state: State, server: str, token: str, authority: str, proxy: str = "") -> Enrolment:
    """Enrol with the server of the CA `authority` (PEM) and keep what came of it; key and id stay."""
    address = server_address(server)
    state.create()
    key = load_or_make_key(state.key)
    try:
        context = tls_context(authority)
    except ssl.SSLError as error:
        raise EnrolmentFailed(f"the CA file holds no usable certificate: {error}") from None
    answer = _post(address, context, proxy, _request(key, token))
    enrolment = Enrolment(server.rstrip("/"), *_checked(answer, key), proxy=proxy)
    write_atomically(state.certificate, answer["certificate"].encode())
    write_atomically(state.authority, authority.encode())
    state.save(enrolment)
    return enrolment


def authority_by_fingerprint(server: str, fingerprint: str, proxy: str = "") -> str:
    """The certificate (PEM) with this SHA-256 in the chain that the server shows; nothing is sent."""
    wanted = fingerprint.lower().removeprefix("sha256:").replace(":", "").strip()
    if len(wanted) != 64 or not set(wanted) <= _HEX:
        raise EnrolmentFailed("a fingerprint is the 64 hex digits of a SHA-256")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the fingerprint decides, below
    connection = connect(server_address(server), context, proxy, TIMEOUT)
    try:
        connection.connect()
        chain = _shown_chain(connection.sock)
    except (OSError, http.client.HTTPException) as error:
        raise EnrolmentFailed(f"{server} cannot be reached: {error}") from None
    finally:
        connection.close()
    for certificate in chain:
        if hmac.compare_digest(hashlib.sha256(certificate).hexdigest(), wanted):
            return ssl.DER_cert_to_PEM_cert(certificate)
    raise EnrolmentFailed("the server shows no certificate with this fingerprint; give its CA with --ca FILE")


def _shown_chain(sock: Any) -> list[bytes]:
    """DER certificates of the peer: all where the interpreter tells them, else its own only."""
    with contextlib.suppress(AttributeError):
        return [bytes(certificate) for certificate in sock.get_unverified_chain()]  # since Python 3.13
    with contextlib.suppress(AttributeError):
        return [ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in sock._sslobj.get_unverified_chain()]
    return [sock.getpeercert(binary_form=True)]


def hardware_id() -> str:
    """SHA-256 of the machine id: recognises a computer and tells nothing of it."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id", "/sys/class/dmi/id/product_uuid"):
        with contextlib.suppress(OSError):
            if identity := Path(path).read_text().strip():
                return hashlib.sha256(identity.encode()).hexdigest()
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()


def _request(key: Ed25519PrivateKey, token: str) -> dict[str, Any]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shieldwall-agent")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
    return {
        "token": token,
        "public_key": base64.b64encode(public_bytes(key)).decode(),
        "csr": csr.public_bytes(Encoding.PEM).decode(),
        "proof": base64.b64encode(key.sign(f"shieldwall-enrol:{token}".encode())).decode(),
        "hardware_id": hardware_id(),
        "report": device_report(),
    }


def _post(
    address: tuple[str, int], context: ssl.SSLContext, proxy: str, body: dict[str, Any]
) -> dict[str, Any]:
    connection = connect(address, context, proxy, TIMEOUT)
    try:
        connection.request("POST", "/agent/v1/enrol", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read(_LARGEST_ANSWER)
    except ssl.SSLCertVerificationError as error:
        raise EnrolmentFailed(f"the server is not of the given CA: {error.verify_message}") from None
    except (OSError, http.client.HTTPException) as error:
        raise EnrolmentFailed(f"the server cannot be reached: {error}") from None
    finally:
        connection.close()
    try:
        answer = json.loads(content)
        if response.status == 200 and isinstance(answer, dict):
            return answer
        raise EnrolmentFailed(f"the server refused: {answer['error']['code']}: {answer['error']['message']}")
    except (ValueError, KeyError, TypeError):
        raise EnrolmentFailed(f"the server's answer ({response.status}) is not understood") from None


def _checked(answer: dict[str, Any], key: Ed25519PrivateKey) -> tuple[str, str]:
    """Device id and command key, if all of the answer fits together."""
    try:
        device_id, command_key = answer["device_id"], answer["command_key"]
        certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
        Ed25519PublicKey.from_public_bytes(base64.b64decode(command_key, validate=True))
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise EnrolmentFailed(f"the server's answer is not understood: {error}") from None
    if not isinstance(device_id, str) or len(device_id) != 40 or not set(device_id) <= _HEX:
        raise EnrolmentFailed("the server's answer holds no device id")
    if certificate.public_key() != key.public_key():
        raise EnrolmentFailed("the server's certificate is for another key")
    return device_id, command_key
