"""Certificates of applications: their keys sign assertions, and only the public halves are kept here.

Every change and its audit entry are one transaction. ApiError 400 and 404 are the caller's mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shieldwall.errors import bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.applications import Actor, existing_application
from shieldwall.identity.models import ApplicationCertificate
from shieldwall.state.engine import Database
from shieldwall.times import now

CERTIFICATES_LIMIT = 10
PEM_LIMIT = 20_000
KEY_BITS_LEAST = 2048


def add_certificate(
    database: Database, tenant_id: str, application_id: str, content: bytes, *, actor: Actor = "system"
) -> ApplicationCertificate:
    """Register the certificate in ``content``, PEM or DER; it counts until its own end."""
    certificate = _read(content)
    end = certificate.not_valid_after_utc
    if end <= now():
        raise bad_request("The certificate has expired.")
    sha256 = certificate.fingerprint(hashes.SHA256()).hex()
    with database.session(tenant_id) as session:
        application = existing_application(session, application_id)
        if application.public:
            raise bad_request("A public application has no certificates.")
        if any(kept.sha256 == sha256 for kept in application.certificates):
            raise bad_request("The application has this certificate already.")
        if len(application.certificates) >= CERTIFICATES_LIMIT:
            raise bad_request(f"The application has {CERTIFICATES_LIMIT} certificates; remove one first.")
        kept = ApplicationCertificate(
            id=str(uuid4()),
            tenant_id=tenant_id,
            # Thumbprints that clients name their certificate by, no proof of anything.
            sha1=certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303
            sha256=sha256,
            subject=certificate.subject.rfc4514_string()[:300],
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            created_time=now(),
            expires_time=end,
        )
        application.certificates.append(kept)
        detail = {"sha256": sha256, "subject": kept.subject}
        audit.record(session, actor, "application.certificate.add", application.id, detail=detail)
    return kept


def list_certificates(
    database: Database, tenant_id: str, application_id: str
) -> Sequence[ApplicationCertificate]:
    with database.read(tenant_id) as session:
        application = existing_application(session, application_id)
        return sorted(application.certificates, key=lambda kept: kept.created_time)


def remove_certificate(
    database: Database, tenant_id: str, application_id: str, named: str, *, actor: Actor = "system"
) -> None:
    """Remove the certificate with this id or thumbprint."""
    wanted = named.strip().replace(":", "").lower()
    with database.session(tenant_id) as session:
        application = existing_application(session, application_id)
        for kept in list(application.certificates):
            if wanted in (kept.id, kept.sha1, kept.sha256):
                application.certificates.remove(kept)
                detail = {"sha256": kept.sha256}
                audit.record(session, actor, "application.certificate.remove", application.id, detail=detail)
                return
        raise not_found("Certificate", named[:100])


def _read(content: bytes) -> x509.Certificate:
    if len(content) > PEM_LIMIT:
        raise bad_request("The file is too large for a certificate.")
    try:
        if b"-----BEGIN" in content:
            certificate = x509.load_pem_x509_certificate(content)
        else:
            certificate = x509.load_der_x509_certificate(content)
        key = certificate.public_key()
    except Exception:  # the library raises its own and ValueError, of many kinds
        raise bad_request("The file is no certificate in PEM or DER.") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < KEY_BITS_LEAST:
        raise bad_request(f"The certificate must be of an RSA key of at least {KEY_BITS_LEAST} bits.")
    return certificate
