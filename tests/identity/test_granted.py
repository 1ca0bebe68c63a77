"""Codes, refresh tokens and consents in the state: once only, on both databases, however many ask at once."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update

from shieldwall.errors import ApiError
from shieldwall.identity import (
    applications,
    authorization_codes,
    consents,
    device_codes,
    passwords,
    refresh_tokens,
    users,
)
from shieldwall.identity.granted import BadGrant, Granted
from shieldwall.identity.models import Application
from shieldwall.identity.people import AuthorizationCode, DeviceCode, RefreshToken, User
from shieldwall.identity.standing import standing
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT

AUDIENCE = "https://api.securitycenter.microsoft.com"
REDIRECT = "http://localhost:1"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def ann(database: Database, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setattr(passwords, "_COST", 1 << 8)
    return users.create_user(database, TENANT, "ann@contoso.com", "correct horse battery")


@pytest.fixture
def console(database: Database) -> Application:
    return applications.create_application(
        database, TENANT, "console", [], public=True, delegated=["Machine.Read"]
    )[0]


def code(database: Database, ann: User, console: Application) -> str:
    return authorization_codes.issue(
        database,
        ann,
        console.id,
        scopes=("Machine.Read", "offline_access"),
        audience=AUDIENCE,
        redirect_uri=REDIRECT,
        challenge=CHALLENGE,
        nonce="n",
        source="192.0.2.1",
    )


def refresh(database: Database, ann: User, console: Application) -> str:
    granted = Granted(TENANT, console.id, ann.id, ("Machine.Read",), AUDIENCE, str(uuid4()))
    return refresh_tokens.issue(database, granted)


def together(work: Callable[[], object]) -> list[object]:
    """What four who do the same at once get: a result, or the OAuth error."""
    start = Barrier(4)

    def one() -> object:
        start.wait()
        try:
            return work()
        except BadGrant as error:
            return error.error

    with ThreadPoolExecutor(4) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(4)]]


def test_of_many_who_redeem_a_code_one_gets_it(database: Database, ann: User, console: Application) -> None:
    secret = code(database, ann, console)
    got = together(lambda: authorization_codes.redeem(database, console.id, secret, REDIRECT, VERIFIER))
    assert sum(isinstance(each, Granted) for each in got) == 1
    assert got.count("invalid_grant") == 3


def test_of_many_who_use_a_refresh_token_one_gets_it(
    database: Database, ann: User, console: Application
) -> None:
    secret = refresh(database, ann, console)
    got = together(lambda: refresh_tokens.redeem(database, console.id, secret))
    assert sum(isinstance(each, Granted) for each in got) == 1
    with database.read(TENANT) as session:
        assert session.scalar(select(func.count()).select_from(RefreshToken)) == 0, "reuse ends the family"


def test_of_many_who_poll_an_approved_code_one_gets_it(
    database: Database, ann: User, console: Application
) -> None:
    secret, user_code = device_codes.create(database, console, TENANT, ("Machine.Read",), AUDIENCE)
    assert device_codes.decide(database, user_code, ann, True, source="192.0.2.1")
    assert not device_codes.decide(database, user_code, ann, True, source="192.0.2.1")
    got = together(lambda: device_codes.poll(database, console.id, secret))
    assert sum(isinstance(each, Granted) for each in got) == 1


def test_a_wrong_verifier_does_not_use_a_code_up(database: Database, ann: User, console: Application) -> None:
    secret = code(database, ann, console)
    for redirect, verifier in ((REDIRECT, "w" * 43), (REDIRECT, ""), ("http://localhost:2", VERIFIER)):
        with pytest.raises(BadGrant):
            authorization_codes.redeem(database, console.id, secret, redirect, verifier)
    granted = authorization_codes.redeem(database, console.id, secret, REDIRECT, VERIFIER)
    assert (granted.user_id, granted.nonce, granted.scopes) == (
        ann.id,
        "n",
        ("Machine.Read", "offline_access"),
    )


@pytest.mark.parametrize("kind", [AuthorizationCode, DeviceCode, RefreshToken])
def test_what_has_expired_is_refused_and_removed(
    database: Database, ann: User, console: Application, kind: type
) -> None:
    makes = {
        AuthorizationCode: lambda: code(database, ann, console),
        DeviceCode: lambda: device_codes.create(database, console, TENANT, (), AUDIENCE)[0],
        RefreshToken: lambda: refresh(database, ann, console),
    }
    redeems: dict[type, Callable[[str], object]] = {
        AuthorizationCode: lambda s: authorization_codes.redeem(database, console.id, s, REDIRECT, VERIFIER),
        DeviceCode: lambda s: device_codes.poll(database, console.id, s),
        RefreshToken: lambda s: refresh_tokens.redeem(database, console.id, s),
    }
    secret = makes[kind]()
    with database.session(TENANT) as session:
        session.execute(update(kind).values(expires_time=now() - timedelta(seconds=1)))
    with pytest.raises(BadGrant):
        redeems[kind](secret)
    makes[kind]()
    with database.read(TENANT) as session:
        assert session.scalar(select(func.count()).select_from(kind)) == 1


def test_a_device_code_is_for_people_of_its_tenant(
    database: Database, ann: User, console: Application
) -> None:
    _, here = device_codes.create(database, console, OTHER_TENANT, (), AUDIENCE)
    assert not device_codes.decide(database, here, ann, True, source="192.0.2.1")
    _, anywhere = device_codes.create(database, console, None, (), AUDIENCE)
    assert device_codes.pending(database, anywhere.lower().replace("-", " ")) is not None
    assert device_codes.decide(database, anywhere, ann, True, source="192.0.2.1")


def test_deleting_the_application_ends_its_codes(database: Database, ann: User, console: Application) -> None:
    code(database, ann, console)
    refresh(database, ann, console)
    applications.delete_application(database, TENANT, console.id)
    with database.read(TENANT) as session:
        for kind in (AuthorizationCode, RefreshToken):
            assert session.scalar(select(func.count()).select_from(kind)) == 0


def test_a_consent_is_to_what_was_asked_for_then(database: Database) -> None:
    partner, _ = applications.create_application(
        database, TENANT, "partner", ["Alert.Read.All", "Machine.Read.All"], multi_tenant=True
    )
    assert standing(database, OTHER_TENANT, partner.id) is None
    consents.grant(database, OTHER_TENANT, partner.id)
    applications.update_application(database, TENANT, partner.id, roles=["Machine.Read.All", "Ti.ReadWrite"])
    found = standing(database, OTHER_TENANT, partner.id)
    assert found is not None
    assert found.roles == ["Machine.Read.All"]
    consents.grant(database, OTHER_TENANT, partner.id)
    found = standing(database, OTHER_TENANT, partner.id)
    assert found is not None
    assert found.roles == ["Machine.Read.All", "Ti.ReadWrite"]
    assert [name for _, name in consents.list_consents(database, OTHER_TENANT)] == ["partner"]
    applications.update_application(database, TENANT, partner.id, multi_tenant=False)
    assert standing(database, OTHER_TENANT, partner.id) is None
    with pytest.raises(ApiError):
        consents.grant(database, OTHER_TENANT, partner.id)
    consents.revoke(database, OTHER_TENANT, partner.id)
    with pytest.raises(ApiError):
        consents.revoke(database, OTHER_TENANT, partner.id)


def test_a_disabled_application_stands_nowhere(database: Database) -> None:
    partner, secret = applications.create_application(
        database, TENANT, "partner", ["Alert.Read.All"], multi_tenant=True
    )
    consents.grant(database, OTHER_TENANT, partner.id)
    assert applications.authenticate(database, OTHER_TENANT, partner.id, secret).tenant_id == OTHER_TENANT
    applications.update_application(database, TENANT, partner.id, disabled=True)
    for tenant in (TENANT, OTHER_TENANT):
        assert standing(database, tenant, partner.id) is None
