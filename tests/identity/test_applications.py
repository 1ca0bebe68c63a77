"""Tenants, applications and their secrets, and what the audit log keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from shieldwall.api.contract import load
from shieldwall.errors import ApiError
from shieldwall.identity import applications, audit, client_secrets
from shieldwall.identity.applications import SignInError
from shieldwall.identity.models import Application, ApplicationSecret, AuditEntry
from shieldwall.identity.permissions import APPLICATION_PERMISSIONS
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import OTHER_TENANT, TENANT

ROLES = ["Machine.Read.All"]


def create(database: Database, name: str = "playbook") -> tuple[Application, str]:
    return applications.create_application(database, TENANT, name, ROLES, actor="cli:somebody")


def reason(database: Database, client_id: str, secret: str, tenant_id: str = TENANT) -> str:
    with pytest.raises(SignInError) as failure:
        applications.authenticate(database, tenant_id, client_id, secret)
    assert applications.recognise(database, tenant_id, client_id, secret) is None
    return failure.value.reason


def audited(database: Database) -> list[tuple[str, str, str]]:
    with database.read(TENANT) as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    return [(entry.actor, entry.action, entry.target) for entry in entries]


def test_the_secret_is_shown_once_and_kept_as_a_hash(database: Database) -> None:
    application, secret = create(database)
    assert applications.authenticate(database, TENANT, application.id, secret).id == application.id
    with database.read(TENANT) as session:
        kept = session.scalars(select(ApplicationSecret)).one()
        entry = session.scalars(select(AuditEntry)).one()
    assert secret not in f"{vars(kept)} {entry.detail} {entry.message}"
    assert kept.digest.startswith("scrypt$16384$8$1$")
    assert kept.hint == secret[:4]


def test_who_is_not_recognised(database: Database) -> None:
    application, secret = create(database)
    unknown = "99999999-9999-4999-8999-999999999999"
    assert reason(database, application.id, "wrong") == "secret"
    assert reason(database, application.id, secret[:-1]) == "secret"
    assert reason(database, application.id, secret[:4] + "x" * 39) == "secret"
    assert reason(database, application.id, secret * 10) == "secret"
    assert reason(database, application.id, "\udcff\x00") == "secret"
    assert reason(database, unknown, secret) == "application"
    assert reason(database, "' OR 1=1 --", secret) == "application"
    assert reason(database, application.id, secret, OTHER_TENANT) == "application"


def test_a_proven_secret_is_recognised_until_anything_changes(database: Database) -> None:
    application, secret = create(database)
    known: Callable[[str], object] = lambda text: applications.recognise(  # noqa: E731
        database, TENANT, application.id, text
    )
    assert known(secret) is None
    applications.authenticate(database, TENANT, application.id, secret)
    assert known(secret)
    assert known(secret[:-1] + "?") is None
    applications.update_application(database, TENANT, application.id, disabled=True)
    assert known(secret) is None
    assert reason(database, application.id, secret) == "application"
    applications.update_application(database, TENANT, application.id, disabled=False)
    assert known(secret)
    applications.rotate_secret(database, TENANT, application.id, revoke_others=True)
    assert known(secret) is None


def test_rotation_leaves_no_gap(database: Database) -> None:
    application, old = create(database)
    new = applications.rotate_secret(database, TENANT, application.id)
    for secret in (old, new):
        applications.authenticate(database, TENANT, application.id, secret)
    last = applications.rotate_secret(database, TENANT, application.id, revoke_others=True)
    applications.authenticate(database, TENANT, application.id, last)
    assert reason(database, application.id, old) == reason(database, application.id, new) == "secret"


def test_an_expired_secret_says_so_and_goes_with_the_next_rotation(database: Database) -> None:
    application, secret = create(database)
    applications.authenticate(database, TENANT, application.id, secret)
    with database.session(TENANT) as session:
        session.scalars(select(ApplicationSecret)).one().expires_time = now() - timedelta(seconds=1)
    assert reason(database, application.id, secret) == "expired"
    assert reason(database, application.id, secret[:-1] + "?") == "secret"
    applications.rotate_secret(database, TENANT, application.id)
    assert reason(database, application.id, secret) == "secret"


def test_secrets_are_bounded(database: Database) -> None:
    application, _ = create(database)
    for days in (0, -1, 10_000):
        with pytest.raises(ApiError, match="days"):
            applications.rotate_secret(database, TENANT, application.id, days=days)
    for _ in range(applications.SECRETS_LIMIT - 1):
        applications.rotate_secret(database, TENANT, application.id)
    with pytest.raises(ApiError, match="revoke"):
        applications.rotate_secret(database, TENANT, application.id)


def test_refusals_cost_the_same_whatever_was_wrong(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each makes one hash, of one cost: all else of a refusal is nothing beside that."""
    application, secret = create(database)
    guesses = {
        "application": ("99999999-9999-4999-8999-999999999999", secret),
        "no id": ("nobody", secret),
        "hint": (application.id, "x" * 43),
        "secret": (application.id, secret[:4] + "x" * 39),
    }
    made: list[tuple[int, int, int]] = []
    scrypt = client_secrets._scrypt

    def counted(text: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
        made.append((cost, block, lanes))
        return scrypt(text, salt, cost, block, lanes)

    monkeypatch.setattr(client_secrets, "_scrypt", counted)
    for name, guess in guesses.items():
        made.clear()
        reason(database, *guess)
        assert made == [(1 << 14, 8, 1)], name


def test_nobody_reaches_another_tenants_application(database: Database) -> None:
    application, _ = create(database)
    for act in (
        lambda: applications.rotate_secret(database, OTHER_TENANT, application.id),
        lambda: applications.update_application(database, OTHER_TENANT, application.id, disabled=True),
        lambda: applications.delete_application(database, OTHER_TENANT, application.id),
    ):
        with pytest.raises(ApiError) as failure:
            act()
        assert failure.value.status == 404
    assert applications.list_applications(database, OTHER_TENANT) == []
    assert [found.id for found in applications.list_applications(database, TENANT)] == [application.id]


def test_bad_names_and_roles(database: Database) -> None:
    create(database)
    for name in ("", " ", "x" * 201, "a\x00b", "a\nb", "playbook"):
        with pytest.raises(ApiError) as failure:
            create(database, name)
        assert failure.value.status == 400
    with pytest.raises(ApiError, match=r"did you mean Machine\.Read\.All"):
        applications.create_application(database, TENANT, "x", ["Machine.Reed.All"])
    application, _ = applications.create_application(database, TENANT, "x", ["machine.read.all", *ROLES])
    assert application.roles == ROLES


def test_every_change_is_audited_and_no_refusal_leaves_one(database: Database) -> None:
    application, _ = create(database)
    caller = Principal(TENANT, "the-caller", "x", frozenset())
    applications.rotate_secret(database, TENANT, application.id, actor=caller)
    applications.update_application(database, TENANT, application.id, roles=["Machine.Scan"], actor=caller)
    with pytest.raises(ApiError):
        applications.update_application(database, TENANT, application.id, roles=["Nothing"], actor=caller)
    applications.delete_application(database, TENANT, application.id, actor=caller)
    assert audited(database) == [
        ("cli:somebody", "application.create", application.id),
        ("the-caller", "application.rotate", application.id),
        ("the-caller", "application.update", application.id),
        ("the-caller", "application.delete", application.id),
    ]
    with database.system_read() as session:
        assert session.scalars(select(ApplicationSecret)).all() == []


def test_tenants(database: Database) -> None:
    made = applications.create_tenant(database, "northwind.example")
    with database.system_read() as session:
        for name in ("northwind.example", "NorthWind.Example", made.id, made.id.upper()):
            found = applications.find_tenant(session, name)
            assert found is not None
            assert found.id == made.id
        for stranger in ("", "northwind", "north%", "x\x00", "a/b", "' OR ''='"):
            assert applications.find_tenant(session, stranger) is None
    for name in ("Northwind.Example", "", "common", "a b", "a/b", "..", "x" * 300, made.id):
        with pytest.raises(ApiError):
            applications.create_tenant(database, name)
    names = [tenant.name for tenant in applications.list_tenants(database)]
    assert sorted(names) == ["Contoso", "Fabrikam", "northwind.example"]


def test_the_audit_log_takes_any_text(database: Database) -> None:
    with database.session(TENANT) as session:
        audit.record(
            session, "x" * 999, "a\x00b", "t" * 999, detail={"text": "y" * 9999, "n": 1}, message="\x00"
        )
    with database.system_session() as session:
        audit.record(session, "system", "somewhere", tenant_id=OTHER_TENANT)
    with database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry)).one()
    assert (len(entry.actor), entry.action, len(entry.target)) == (200, "ab", 300)
    assert (len(entry.detail["text"]), entry.detail["n"], entry.message) == (audit.TEXT_LIMIT, 1, "")


def test_generated_secrets_need_no_escaping() -> None:
    made = {client_secrets.generate() for _ in range(500)}
    assert len(made) == 500
    assert all(len(secret) == 43 and secret.replace("-", "").replace("_", "").isalnum() for secret in made)
    assert not any(secret.startswith("-") for secret in made)


def test_the_permissions_are_those_of_the_contract() -> None:
    named = {name for operation in load().operations for name in operation.application}
    assert named <= APPLICATION_PERMISSIONS
