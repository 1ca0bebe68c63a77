"""Users and roles in the state, on both databases."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.devices.models import DeviceGroup
from shieldwall.errors import ApiError
from shieldwall.identity import passwords, permissions, redirects, roles, users
from shieldwall.identity.models import AuditEntry
from shieldwall.identity.people import Role, User
from shieldwall.state.engine import Database
from shieldwall.state.scope import DeviceScope, together
from tests.conftest import OTHER_TENANT, TENANT

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_hashes" not in request.fixturenames:
        monkeypatch.setattr(passwords, "_COST", 1 << 8)


@pytest.fixture
def real_hashes() -> None:
    """The cost that the server has."""


def ann(database: Database, **more: Any) -> User:
    return users.create_user(database, TENANT, "ann@contoso.com", PASSWORD, **more)


def rights(database: Database, user: User) -> dict[str, Any]:
    with database.read(TENANT) as session:
        return dict(roles.rights(session, user.id))


def group(database: Database, name: str, tenant: str = TENANT) -> int:
    with database.session(tenant) as session:
        row = DeviceGroup(name=name)
        session.add(row)
        session.flush()
        return row.id


def actions(database: Database) -> list[str]:
    with database.read(TENANT) as session:
        return list(session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


def test_a_users_life(database: Database) -> None:
    user = ann(database, admin=True)
    assert (user.upn, user.display_name, user.tenant_id) == ("ann@contoso.com", "ann", TENANT)
    assert [each.upn for each in users.list_users(database, TENANT)] == ["ann@contoso.com"]
    assert users.list_users(database, OTHER_TENANT) == []
    found = users.authenticate(database, TENANT, " ANN@Contoso.com", PASSWORD)
    assert found is not None
    assert found.id == user.id
    assert users.authenticate(database, None, "ann@contoso.com", PASSWORD) is not None
    assert users.authenticate(database, OTHER_TENANT, "ann@contoso.com", PASSWORD) is None
    assert users.authenticate(database, TENANT, "ann@contoso.com", PASSWORD.upper()) is None
    assert users.authenticate(database, TENANT, "ann\x00@contoso.com", PASSWORD) is None
    users.reset_password(database, TENANT, "ann@contoso.com", "another password")
    assert users.authenticate(database, TENANT, "ann@contoso.com", PASSWORD) is None
    users.set_enabled(database, TENANT, "ann@contoso.com", False)
    assert users.authenticate(database, TENANT, "ann@contoso.com", "another password") is None
    users.delete_user(database, TENANT, user.id)
    assert users.list_users(database, TENANT) == []
    assert actions(database) == ["user.create", "user.reset", "user.disable", "user.delete"]


def test_a_name_is_one_persons_in_all_tenants(database: Database) -> None:
    ann(database)
    with pytest.raises(ApiError, match="already"):
        users.create_user(database, OTHER_TENANT, "Ann@Contoso.com", PASSWORD)


@pytest.mark.parametrize("upn", ["", "ann", "@x", "ann@", "a b@x.y", "ann@x..", "ann@x/y", "a" * 65 + "@x"])
def test_names_are_like_addresses(database: Database, upn: str) -> None:
    with pytest.raises(ApiError, match="principal name"):
        users.create_user(database, TENANT, upn, PASSWORD)


def test_users_of_another_tenant_are_unknown(database: Database) -> None:
    ann(database)
    for change in (users.delete_user, lambda *a: users.set_enabled(*a, False)):
        with pytest.raises(ApiError) as refused:
            change(database, OTHER_TENANT, "ann@contoso.com")
        assert refused.value.status == 404


def test_a_role_is_of_device_groups(database: Database) -> None:
    user = ann(database)
    servers, desks = group(database, "Servers"), group(database, "Desks")
    assert rights(database, user) == {}
    roles.create_role(database, TENANT, "a", ["alert.read", "Machine.Read"], [servers])
    roles.create_role(database, TENANT, "b", ["Machine.Read"], [desks, 0])
    roles.create_role(database, TENANT, "c", ["Machine.Isolate"], roles.ALL_DEVICES)
    for name in "abc":
        roles.assign(database, TENANT, name, user.upn)
        roles.assign(database, TENANT, name, user.upn)
    assert rights(database, user) == {
        "Alert.Read": DeviceScope(frozenset({servers}), frozenset({"Servers"})),
        "Machine.Read": DeviceScope(frozenset({servers, desks, 0}), frozenset({"Servers", "Desks", ""})),
        "Machine.Isolate": None,
    }
    roles.unassign(database, TENANT, "a", user.upn)
    roles.update_role(database, TENANT, "b", ["Alert.Read"], [desks])
    roles.delete_role(database, TENANT, "c")
    assert rights(database, user) == {"Alert.Read": DeviceScope(frozenset({desks}), frozenset({"Desks"}))}
    assert actions(database)[-3:] == ["role.unassign", "role.update", "role.delete"]


def test_a_role_whose_groups_are_gone_reaches_nothing(database: Database) -> None:
    user = ann(database)
    servers = group(database, "Servers")
    roles.create_role(database, TENANT, "a", ["Machine.Read"], [servers])
    roles.assign(database, TENANT, "a", user.upn)
    with database.session(TENANT) as session:
        session.delete(session.get(DeviceGroup, servers))
    assert rights(database, user) == {"Machine.Read": DeviceScope()}


def test_another_tenants_group_reaches_nothing(database: Database) -> None:
    user = ann(database)
    foreign = group(database, "Servers", OTHER_TENANT)
    roles.create_role(database, TENANT, "a", ["Machine.Read"], [foreign])
    roles.assign(database, TENANT, "a", user.upn)
    assert rights(database, user) == {"Machine.Read": DeviceScope()}


def test_deleting_a_user_takes_the_role_from_them(database: Database) -> None:
    user = ann(database)
    roles.create_role(database, TENANT, "a", ["Machine.Read"], roles.ALL_DEVICES)
    roles.assign(database, TENANT, "a", user.upn)
    users.delete_user(database, TENANT, user.upn)
    assert [role.members for role in roles.list_roles(database, TENANT)] == [[]]


def test_mistakes_in_roles_are_explained(database: Database) -> None:
    roles.create_role(database, TENANT, "a", ["Machine.Read"], roles.ALL_DEVICES)
    with pytest.raises(ApiError, match="already"):
        roles.create_role(database, TENANT, "a", ["Machine.Read"], roles.ALL_DEVICES)
    with pytest.raises(ApiError, match=r"did you mean Machine\.Read"):
        roles.create_role(database, TENANT, "b", ["Machine.Reed"], roles.ALL_DEVICES)
    with pytest.raises(ApiError, match="unknown"):
        roles.create_role(database, TENANT, "b", ["Machine.Read"], [999])
    with pytest.raises(ApiError) as missing:
        roles.assign(database, TENANT, "a", "nobody@contoso.com")
    assert missing.value.status == 404
    with database.read(TENANT) as session:
        assert len(session.scalars(select(Role)).all()) == 1


def test_a_password_is_costly_to_guess(real_hashes: None) -> None:
    kept = passwords.digest(PASSWORD)
    assert kept.startswith("scrypt$32768$8$3$")
    assert passwords.digest(PASSWORD) != kept
    assert passwords.matches(PASSWORD, kept)
    assert not passwords.matches(PASSWORD + " ", kept)
    times = []
    for stored in (kept, None):
        start = time.perf_counter()
        assert not passwords.matches("wrong", stored)
        times.append(time.perf_counter() - start)
    assert min(times) > 0.02, "nobody is as costly as somebody"


@pytest.mark.parametrize("length", [0, 11, 257])
def test_passwords_have_a_length(length: int) -> None:
    with pytest.raises(ApiError, match="12 to 256"):
        passwords.digest("x" * length)


def test_what_roles_reach_together() -> None:
    one, two = DeviceScope(frozenset({1}), frozenset({"a"})), DeviceScope(frozenset({2}), frozenset({"b"}))
    assert together([one, two]) == DeviceScope(frozenset({1, 2}), frozenset({"a", "b"}))
    assert together([one, None]) is None
    assert together([]) == DeviceScope()


@pytest.mark.parametrize(
    ("application", "person"),
    [
        ("Alert.ReadWrite.All", "Alert.ReadWrite"),
        ("AdvancedQuery.Read.All", "AdvancedQuery.Read"),
        ("RemediationTasks.Read.All", "RemediationTask.Read"),
        ("File.Read.All", "File.Read.All"),
        ("Machine.Isolate", "Machine.Isolate"),
        ("Ti.ReadWrite.All", "Ti.ReadWrite"),
    ],
)
def test_delegated_permissions_follow_from_those_of_applications(application: str, person: str) -> None:
    assert permissions.delegated(application) == person


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com",
        "javascript:alert(1)",
        "https://a.example/#x",
        "https://user@a.example/",
        "https://",
        "http://localhost:port",
        "http://localhost.example.com",
        "https://a.example/ x",
        "ftp://localhost",
        "https://a.example/" + "x" * 2000,
    ],
)
def test_redirect_addresses_are_https_or_the_machine_itself(address: str) -> None:
    with pytest.raises(ApiError):
        redirects.validated_redirects([address], public=True)


def test_a_port_counts_for_confidential_clients() -> None:
    known = redirects.validated_redirects(["http://localhost:5000/back"], public=False)
    assert redirects.is_registered("http://localhost:5000/back", known, public=False)
    assert not redirects.is_registered("http://localhost:5001/back", known, public=False)
