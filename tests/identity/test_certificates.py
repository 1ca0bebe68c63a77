"""Applications that prove themselves with a certificate, through the real libraries and by hand."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msal
import pytest
from azure.identity import CertificateCredential
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import select

from shieldwall.errors import ApiError
from shieldwall.identity import applications, assertions, certificates
from shieldwall.identity.models import AuditEntry
from shieldwall.identity.standing import standing
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT

from .conftest import ROLES, Server

SCOPE = "https://api.securitycenter.microsoft.com/.default"
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def certificate(key: Any, days: int = 30) -> x509.Certificate:
    name = x509.Name.from_rfc4514_string("CN=playbook")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=60))
        .not_valid_after(now() + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )


def pem(found: x509.Certificate) -> bytes:
    return found.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Holder:
    """An application with a certificate, and the key of it."""

    server: Server
    client_id: str
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def assertion(self, algorithm: str = "RS256", key: Any = None, header: Any = None, **changes: Any) -> str:
        claims = {
            "aud": f"{self.server.url}/{TENANT}/oauth2/v2.0/token",
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": str(uuid4()),
            "nbf": time.time() - 1,
            "exp": time.time() + 600,
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        named = {"alg": algorithm, "x5t": thumbprint(self.certificate, hashes.SHA1())}
        if header is not None:
            named = {"alg": algorithm, **header}
        signing = RSAKey.import_key(self.key_pem if key is None else key)
        return jwt.encode(named, claims, signing, algorithms=[algorithm])

    def ask(self, assertion: str, tenant: str = TENANT, **more: str) -> httpx.Response:
        with self.server.http() as http:
            form = {
                "grant_type": "client_credentials",
                "client_id": self.client_id,
                "scope": SCOPE,
                "client_assertion": assertion,
                "client_assertion_type": TYPE,
            }
            return http.post(f"/{tenant}/oauth2/v2.0/token", data=form | more)


def thumbprint(found: x509.Certificate, kind: hashes.HashAlgorithm) -> str:
    return urlsafe_b64encode(found.fingerprint(kind)).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def holder(server: Server) -> Holder:
    application, _ = applications.create_application(server.database, TENANT, "certified", ROLES)
    key = rsa.generate_private_key(65537, 2048)
    found = certificate(key)
    certificates.add_certificate(server.database, TENANT, application.id, pem(found))
    return Holder(server, application.id, found, key)


@pytest.fixture(autouse=True)
def no_earlier_failures(server: Server) -> None:
    server.tokens.sign_in._failures._counts.clear()


def works(holder: Holder, token: str) -> None:
    with holder.server.http() as http:
        answer = http.get("/whoami", headers={"Authorization": f"Bearer {token}"})
    assert answer.json() == {"tenant": TENANT, "client": holder.client_id, "roles": ROLES}


@pytest.mark.parametrize("named", ["SHA-1 and RS256", "SHA-256 and PS256"])
def test_msal_signs_with_a_certificate(holder: Holder, named: str) -> None:
    credential = {"private_key": holder.key_pem.decode()}
    if named.startswith("SHA-1 "):
        credential["thumbprint"] = holder.certificate.fingerprint(hashes.SHA1()).hex()
    else:
        credential["public_certificate"] = pem(holder.certificate).decode()
    app = msal.ConfidentialClientApplication(
        holder.client_id,
        client_credential=credential,
        authority=f"{holder.server.url}/{TENANT}",
        instance_discovery=False,
        verify=holder.server.ca,
    )
    works(holder, app.acquire_token_for_client([SCOPE])["access_token"])
    # MSAL sends one assertion again for the next resource.
    works(holder, app.acquire_token_for_client(["https://graph.microsoft.com/.default"])["access_token"])


def test_azure_identity_signs_with_a_certificate(holder: Holder, tmp_path: Path) -> None:
    path = tmp_path / "playbook.pem"
    path.write_bytes(holder.key_pem + pem(holder.certificate))
    with CertificateCredential(
        TENANT,
        holder.client_id,
        str(path),
        authority=holder.server.url,
        disable_instance_discovery=True,
        connection_verify=holder.server.ca,
    ) as client:
        works(holder, client.get_token(SCOPE).token)


def test_a_token_tells_that_a_certificate_proved_it(holder: Holder) -> None:
    token = holder.ask(holder.assertion()).json()["access_token"]
    claims = jwt.decode(token, holder.server.tokens.keys.current, algorithms=["RS256"]).claims
    assert claims["azpacr"] == "2"


def test_the_client_id_may_stand_in_the_assertion_alone(holder: Holder) -> None:
    works(holder, holder.ask(holder.assertion(), client_id="").json()["access_token"])


@pytest.mark.parametrize(
    "audience",
    ["{url}/{tenant}/oauth2/token", "{url}/{tenant}/v2.0", ["x", "{url}/{tenant}/oauth2/v2.0/token"]],
)
def test_audiences_that_clients_name(holder: Holder, audience: Any) -> None:
    places = {"url": holder.server.url, "tenant": TENANT}
    named = audience.format(**places) if isinstance(audience, str) else [a.format(**places) for a in audience]
    assert holder.ask(holder.assertion(aud=named)).status_code == 200


WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "audience of another": ({"aud": "https://login.microsoftonline.com/x/oauth2/v2.0/token"}, 700023),
    "audience of another tenant": ({"aud": "{url}/" + OTHER_TENANT + "/oauth2/v2.0/token"}, 700023),
    "no audience": ({"aud": None}, 700023),
    "another issuer": ({"iss": str(uuid4())}, 700027),
    "another subject": ({"sub": str(uuid4())}, 700027),
    "expired": ({"exp": time.time() - 3600}, 700024),
    "no end": ({"exp": None}, 700024),
    "an end that is no number": ({"exp": "later"}, 700024),
    "good for too long": ({"exp": time.time() + 3 * 86400}, 700024),
    "not yet valid": ({"nbf": time.time() + 3600}, 700024),
    "no jti": ({"jti": None}, 700027),
    "other hash": ({"algorithm": "RS512"}, 700027),
    "no thumbprint": ({"header": {}}, 700027),
    "unknown thumbprint": ({"header": {"x5t": "AAAAAAAAAAAAAAAAAAAAAAAAAAA"}}, 700027),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused(holder: Holder, case: str) -> None:
    changes, number = WRONG[case]
    audience = changes.get("aud")
    if isinstance(audience, str):
        changes = changes | {"aud": audience.format(url=holder.server.url)}
    answer = holder.ask(holder.assertion(**changes))
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (401, "invalid_client", [number])


def test_a_signature_of_another_key_is_refused(holder: Holder) -> None:
    other = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert holder.ask(holder.assertion(key=other)).json()["error_codes"] == [700027]


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30.e30", "W10.W10.W10", "." * 5, "x" * 20_000])
def test_what_is_no_assertion_is_refused(holder: Holder, text: str) -> None:
    assert holder.ask(text).status_code == 401


def test_a_jti_is_good_once_for_others(holder: Holder) -> None:
    first = holder.assertion(jti="one")
    assert holder.ask(first).status_code == 200
    assert holder.ask(first).status_code == 200, "its own sender may repeat it"
    assert holder.ask(holder.assertion(jti="one", exp=time.time() + 60)).json()["error_codes"] == [700030]
    found = standing(holder.server.database, TENANT, holder.client_id)
    assert found is not None
    audience = {f"{holder.server.url}/{TENANT}/oauth2/v2.0/token"}
    with pytest.raises(assertions.BadAssertion, match="used before"):
        assertions.verify(holder.server.database, found, first, audience, "203.0.113.9")


def make(database: Database) -> str:
    return applications.create_application(database, TENANT, "app", ROLES)[0].id


def test_certificates_come_and_go(database: Database) -> None:
    client_id = make(database)
    found = certificate(rsa.generate_private_key(65537, 2048))
    kept = certificates.add_certificate(database, TENANT, client_id, pem(found))
    der = found.public_bytes(serialization.Encoding.DER)
    with pytest.raises(ApiError, match="already"):
        certificates.add_certificate(database, TENANT, client_id, der)
    assert [each.sha256 for each in certificates.list_certificates(database, TENANT, client_id)] == [
        found.fingerprint(hashes.SHA256()).hex()
    ]
    with pytest.raises(ApiError) as missing:
        certificates.list_certificates(database, OTHER_TENANT, client_id)
    assert missing.value.status == 404
    colons = ":".join(kept.sha1.upper()[i : i + 2] for i in range(0, 40, 2))
    certificates.remove_certificate(database, TENANT, client_id, colons)
    assert certificates.list_certificates(database, TENANT, client_id) == []
    with database.read(TENANT) as session:
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert actions[-2:] == ["application.certificate.add", "application.certificate.remove"]


def test_only_good_certificates_are_taken(database: Database) -> None:
    client_id = make(database)
    bad = {
        "expired": pem(certificate(rsa.generate_private_key(65537, 2048), days=-1)),
        "RSA": pem(certificate(ec.generate_private_key(ec.SECP256R1()))),
        "2048": pem(certificate(rsa.generate_private_key(65537, 1024))),
        "PEM or DER": b"nonsense",
        "too large": b"x" * 30_000,
    }
    for words, content in bad.items():
        with pytest.raises(ApiError, match=words):
            certificates.add_certificate(database, TENANT, client_id, content)


def test_an_assertion_counts_once_however_many_servers_see_it(database: Database) -> None:
    client_id = make(database)
    found = standing(database, TENANT, client_id)
    assert found is not None
    assertions._once(database, found, "a", "first", "here", time.time() + 60)
    assertions._once(database, found, "a", "first", "here", time.time() + 60)
    for use in (("second", "here"), ("first", "there")):
        with pytest.raises(assertions.BadAssertion):
            assertions._once(database, found, "a", *use, time.time() + 60)
    # Once it has expired it is forgotten, since it would be refused for that.
    assertions._once(database, found, "b", "old", "here", time.time() - 3600)
    assertions._once(database, found, "b", "new", "here", time.time() + 60)
