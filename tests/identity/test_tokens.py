"""Which tokens are believed: those this server signed for itself, now, for one that still may."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import RSAKey

from shieldwall.errors import ApiError
from shieldwall.identity import applications, signing_keys
from shieldwall.identity import tokens as tokens_module
from shieldwall.identity.models import Application, Tenant
from shieldwall.identity.tokens import TokenService
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT

AUDIENCE = "https://api.securitycenter.microsoft.com"
ROLES = ["Alert.Read.All", "Machine.Read.All"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One kind of database is enough here: tokens only read an application."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    with database.system_session() as session:
        session.add(Tenant(id=TENANT, name="Contoso", created_time=now()))
        session.add(Tenant(id=OTHER_TENANT, name="Fabrikam", created_time=now()))
    yield database
    database.close()


@pytest.fixture
def application(database: Database) -> Application:
    return applications.create_application(database, TENANT, "playbook", ROLES)[0]


@pytest.fixture
def token(tokens: TokenService, application: Application) -> str:
    return issue(tokens, application)


def issue(tokens: TokenService, application: Application, audience: str = AUDIENCE) -> str:
    base = tokens.audiences.bases[0]
    return tokens.issue(application, audience, base=base, version=2).value


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    first, second, _ = token.split(".")
    return json.loads(_decode(first)), json.loads(_decode(second))


def signed(tokens: TokenService, token: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token that differs in some claims but is signed by the server's own key."""
    old_header, claims = parts(token)
    claims = {key: value for key, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode({**old_header, **(header or {})}, claims, tokens.keys.current, algorithms=["RS256"])


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return ".".join(_encode(part) for part in (json.dumps(header), json.dumps(claims), signature))


def pass_time(tokens: TokenService) -> None:
    """As if the seconds had passed for which applications and people are not read again."""
    for cache in (tokens._standings, tokens._people):
        cache.expire(time.monotonic() + tokens_module.APPLICATION_SECONDS)


def refused(tokens: TokenService, bearer: str | None) -> str:
    """The message of the 401; what was refused once is refused again."""
    with pytest.raises(ApiError) as first:
        tokens.verify(bearer)
    with pytest.raises(ApiError) as second:
        tokens.verify(bearer)
    assert (first.value.status, first.value.code) == (401, "Unauthorized")
    assert first.value.message == second.value.message
    with suppress(ApiError):
        assert tokens.recall(bearer) is None
    return first.value.message


def test_an_issued_token_speaks_for_its_application(
    tokens: TokenService, application: Application, token: str
) -> None:
    for bearer in (token, f"Bearer {token}", f"bearer  {token} "):
        principal = tokens.verify(bearer)
        assert principal.tenant_id == TENANT
        assert principal.application_id == application.id
        assert principal.name == "playbook"
        assert principal.roles == frozenset(ROLES)
        assert tokens.recall(bearer) == principal


def test_nothing_is_recalled_that_was_not_verified_or_is_older_than_changes_may_be(
    tokens: TokenService, token: str
) -> None:
    assert tokens.recall(token) is None
    principal = tokens.verify(token)
    assert tokens.recall(token) == principal
    pass_time(tokens)
    assert tokens.recall(token) is None
    assert tokens.verify(token) == principal == tokens.recall(token)


def test_every_accepted_audience_is_accepted(tokens: TokenService, application: Application) -> None:
    for audience in tokens.audiences.accepted:
        assert tokens.verify(issue(tokens, application, audience)).tenant_id == TENANT


@pytest.mark.parametrize("bearer", [None, "", "Bearer", "Bearer ", "x", "a.b.c", "a.b", "....", "Basic YTpi"])
def test_what_is_no_token(tokens: TokenService, bearer: str | None) -> None:
    refused(tokens, bearer)


def test_unreadable_tokens(tokens: TokenService) -> None:
    for header in (b"[]", b"1", b"\xff", b"[" * 5000, b'{"alg":"RS256"}', b'{"alg":[],"kid":{}}'):
        refused(tokens, f"{_encode(header)}.e30.e30")
    refused(tokens, "a" * (17 << 10))
    refused(tokens, "Bearer é.é.é")


def test_no_algorithm(tokens: TokenService, token: str) -> None:
    header, claims = parts(token)
    for algorithm in ("none", "None", "", None):
        refused(tokens, unsigned({**header, "alg": algorithm}, claims))


def test_the_public_key_as_a_secret(tokens: TokenService, token: str) -> None:
    """An HMAC with the public key, which everybody knows, in each form that it may be written in."""
    header, claims = parts(token)
    key = tokens.keys.current
    assert isinstance(key, RSAKey)
    spki = serialization.load_pem_public_key(key.as_pem(private=False)).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (key.as_pem(private=False), key.as_pem(private=False).strip(), spki):
        content = unsigned({**header, "alg": "HS256"}, claims).rpartition(".")[0]
        signature = hmac.digest(secret, content.encode(), hashlib.sha256)
        refused(tokens, f"{content}.{_encode(signature)}")


def test_another_key(tokens: TokenService, token: str) -> None:
    header, claims = parts(token)
    stranger = RSAKey.generate_key(2048)
    known_id = jwt.encode(header, claims, stranger, algorithms=["RS256"])
    own_id = jwt.encode({**header, "kid": "mine"}, claims, stranger, algorithms=["RS256"])
    brought_along = jwt.encode(
        {"alg": "RS256", "jwk": stranger.as_dict(private=False)}, claims, stranger, algorithms=["RS256"]
    )
    for forged in (known_id, own_id, brought_along):
        refused(tokens, forged)


def test_a_tampered_token(tokens: TokenService, token: str) -> None:
    tokens.verify(token)
    header, claims = parts(token)
    first, second, third = token.split(".")
    more = _encode(json.dumps({**claims, "roles": ["Machine.Isolate"]}))
    for changed in (
        f"{first}.{more}.{third}",
        f"{_encode(json.dumps({**header, 'typ': 'x'}))}.{second}.{third}",
        f"{first}.{second}.{'A' + third[1:] if third[0] != 'A' else 'B' + third[1:]}",
        f"{first}.{second}.",
        f"{first}.{second}.{third}.{third}",
    ):
        refused(tokens, changed)


def test_an_expired_token(tokens: TokenService, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "expired" in refused(tokens, signed(tokens, token, exp=int(time.time()) - 60))
    tokens.verify(token)
    real = time.time
    monkeypatch.setattr(tokens_module.time, "time", lambda: real() + tokens_module.LIFETIME + 60)
    assert "expired" in refused(tokens, token)


def test_a_token_of_the_future(tokens: TokenService, token: str) -> None:
    assert tokens.verify(signed(tokens, token, nbf=int(time.time()) + 10))
    refused(tokens, signed(tokens, token, nbf=int(time.time()) + 600))


@pytest.mark.parametrize(
    "audience",
    [
        "https://evil.example",
        "https://management.azure.com",
        "https://api.securitycenter.microsoft.com.evil.example",
        "",
        None,
        [AUDIENCE],
        {"a": 1},
    ],
)
def test_another_audience(tokens: TokenService, token: str, audience: object) -> None:
    header, claims = parts(token)
    claims["aud"] = audience
    own = jwt.encode(header, claims, tokens.keys.current, algorithms=["RS256"])
    assert "audience" in refused(tokens, own)


def test_a_token_across_tenants(tokens: TokenService, token: str) -> None:
    """Neither the tenant alone nor the issuer with it can be exchanged, even by the holder of the key."""
    refused(tokens, signed(tokens, token, tid=OTHER_TENANT))
    other_issuer = f"{tokens.audiences.bases[0]}/{OTHER_TENANT}/v2.0"
    refused(tokens, signed(tokens, token, iss=other_issuer))
    refused(tokens, signed(tokens, token, iss=other_issuer, tid=OTHER_TENANT))
    refused(tokens, signed(tokens, token, iss=f"https://evil.example/{TENANT}/v2.0"))


@pytest.mark.parametrize("claim", ["aud", "iss", "tid", "appid", "exp", "nbf"])
def test_a_token_without_a_claim(tokens: TokenService, token: str, claim: str) -> None:
    refused(tokens, signed(tokens, token, **{claim: None}))


def test_critical_headers_are_not_understood(tokens: TokenService, token: str) -> None:
    header, claims = parts(token)
    refused(tokens, unsigned({**header, "crit": ["b64"], "b64": False}, claims, b"x"))


def test_roles_count_while_token_and_application_have_them(
    tokens: TokenService, application: Application, token: str, database: Database
) -> None:
    tokens.verify(token)
    applications.update_application(
        database, TENANT, application.id, roles=["Machine.Isolate", "Machine.Read.All"]
    )
    pass_time(tokens)
    assert tokens.verify(token).roles == {"Machine.Read.All"}


def test_disabling_and_deleting_end_the_tokens(
    tokens: TokenService, application: Application, token: str, database: Database
) -> None:
    tokens.verify(token)
    applications.update_application(database, TENANT, application.id, disabled=True)
    pass_time(tokens)
    refused(tokens, token)
    applications.update_application(database, TENANT, application.id, disabled=False)
    pass_time(tokens)
    tokens.verify(token)
    applications.delete_application(database, TENANT, application.id)
    pass_time(tokens)
    refused(tokens, token)


def test_what_is_remembered_is_bounded(
    settings: Settings, database: Database, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "VERIFIED_LIMIT", 3)
    small = TokenService(settings, database)
    issued = [issue(small, application) for _ in range(6)]
    for token in (*issued, *issued):
        small.verify(token)
    assert len(small._verified) == 3


def test_a_verified_token_is_cheap(tokens: TokenService, token: str) -> None:
    tokens.verify(token)
    start = time.perf_counter()
    for _ in range(2000):
        tokens.verify(token)
    assert (time.perf_counter() - start) / 2000 < 0.001


def kids(tokens: TokenService) -> list[str]:
    return [key["kid"] for key in tokens.keys.public_set()["keys"]]


def test_keys_rotate_under_a_running_server(
    settings: Settings, tokens: TokenService, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issue(tokens, application)
    signing_keys.create(settings.secrets / "token-keys")
    monkeypatch.setattr(signing_keys, "LOOK_SECONDS", 0)
    new = issue(tokens, application)
    assert [parts(old)[0]["kid"], parts(new)[0]["kid"]] == kids(tokens)
    assert kids(tokens)[0] != kids(tokens)[1]
    assert tokens.verify(old) == tokens.verify(new)


def test_another_servers_new_key_is_found_at_once(
    settings: Settings,
    tokens: TokenService,
    database: Database,
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signing_keys, "MISS_SECONDS", 0)
    signing_keys.create(settings.secrets / "token-keys")
    new = issue(TokenService(settings, database), application)
    assert parts(new)[0]["kid"] not in kids(tokens)
    tokens.verify(new)
    assert parts(new)[0]["kid"] in kids(tokens)


def test_a_replaced_key_goes_when_its_tokens_have_expired(
    settings: Settings, tokens: TokenService, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.secrets / "token-keys"
    old = issue(tokens, application)
    created = now()
    signing_keys.create(folder)
    monkeypatch.setattr(signing_keys, "LOOK_SECONDS", 0)
    end = tokens_module.LIFETIME + tokens_module.LEEWAY
    monkeypatch.setattr(signing_keys, "now", lambda: created + timedelta(seconds=end))
    assert len(kids(tokens)) == 2, "a server may have signed with it a moment longer"
    monkeypatch.setattr(signing_keys, "now", lambda: created + timedelta(seconds=end + 10))
    assert len(kids(tokens)) == 1
    assert parts(old)[0]["kid"] not in kids(tokens)
    refused(tokens, old)
    assert len(list(folder.glob("*.pem"))) == 1
    monkeypatch.setattr(signing_keys, "now", lambda: created + timedelta(days=1000))
    assert tokens.verify(issue(tokens, application)), "the newest key stays, however old"


@pytest.mark.parametrize("gone", [False, True])
def test_keys_that_cannot_be_read_stop_nobody(
    settings: Settings,
    tokens: TokenService,
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
    gone: bool,
) -> None:
    monkeypatch.setattr(signing_keys, "LOOK_SECONDS", 0)
    folder = settings.secrets / "token-keys"
    for path in folder.glob("*.pem") if gone else ():
        path.unlink()
    if not gone:
        (folder / "99990101T000000000000-x.pem").write_text("no key")
    assert tokens.verify(issue(tokens, application))


def test_keys_are_private_and_kept(settings: Settings, database: Database) -> None:
    first = TokenService(settings, database).keys.public_set()
    assert TokenService(settings, database).keys.public_set() == first
    assert not any("d" in key for key in first["keys"])
    for path in settings.secrets.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0, path
    assert settings.secrets.stat().st_mode & 0o777 == 0o700


def test_own_urls(tmp_path: Path, database: Database) -> None:
    settings = Settings(data=tmp_path / "data", public_url="https://edr.example.org")
    audiences = TokenService(settings, database).audiences
    assert audiences.base("EDR.example.org") == "https://edr.example.org"
    assert audiences.base("localhost:8443") == "https://localhost:8443"
    assert audiences.base("evil.example") == audiences.base(None) == "https://edr.example.org"
    assert audiences.normal("https://edr.example.org/api") == "https://edr.example.org"
    for stranger in (
        "https://evil.example",
        "",
        "edr.example.org",
        "https://edr.example.org@evil.example",
        "https://[",
    ):
        assert audiences.normal(stranger) is None
    assert replace(settings, public_url="").url in audiences.bases


def _encode(data: str | bytes) -> str:
    raw = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
