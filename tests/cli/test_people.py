"""`shieldwall user`, `role`, `app certificate` and `app consent`, as typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from shieldwall.cli.app import app_commands, tenant_commands
from shieldwall.cli.role import role_commands
from shieldwall.cli.user import user_commands
from shieldwall.devices import enrolment
from shieldwall.identity import applications, passwords, roles, users
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from tests.identity.test_certificates import certificate, pem

program = typer.Typer()
for name, commands in (
    ("app", app_commands),
    ("tenant", tenant_commands),
    ("user", user_commands),
    ("role", role_commands),
):
    program.add_typer(commands, name=name)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SHIELDWALL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SHIELDWALL_DATABASE_URL", raising=False)
    monkeypatch.setattr(passwords, "_COST", 1 << 8)
    run("tenant", "create", "contoso.com")
    return Settings.load()


def run(*arguments: str, fails: bool = False, typed: str | None = None) -> str:
    environment = {"COLUMNS": "300", "TERM": "dumb"}
    result = CliRunner().invoke(program, list(arguments), env=environment, input=typed)
    assert (result.exit_code != 0) == fails, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def database(state: Settings) -> Database:
    return Database(state.state_url)


def test_a_users_life(state: Settings) -> None:
    output = run("user", "create", "ann@contoso.com", "--name", "Ann O'Hara")
    password = re.search(r"password   (\S+)", output)
    assert password is not None
    assert users.authenticate(database(state), None, "ann@contoso.com", password[1]) is not None
    assert "Ann O'Hara" in run("user", "list")
    run("user", "reset", "ann@contoso.com", "--password-stdin", typed="correct horse battery\n")
    assert users.authenticate(database(state), None, "ann@contoso.com", password[1]) is None
    assert users.authenticate(database(state), None, "ann@contoso.com", "correct horse battery")
    assert "disabled" in run("user", "disable", "ann@contoso.com")
    assert "disabled" in run("user", "list")
    assert "enabled" in run("user", "disable", "ann@contoso.com", "--enable")
    run("user", "delete", "ann@contoso.com")
    assert run("user", "list") == ""
    assert "12 to 256" in run("user", "create", "b@c", "--password-stdin", typed="short\n", fails=True)
    assert "was not found" in run("user", "delete", "ann@contoso.com", fails=True)


def test_a_roles_life(state: Settings) -> None:
    with database(state).system_read() as session:
        tenant = applications.find_tenant(session, "contoso.com")
    assert tenant is not None
    enrolment.create_token(database(state), tenant.id, group="Servers")
    run("user", "create", "ann@contoso.com")
    run(
        "role", "create", "team", "--permission", "machine.read", "--group", "servers", "--group", "ungrouped"
    )
    run("role", "assign", "team", "ann@contoso.com")
    assert run("role", "list") == "team: Machine.Read on Servers, ungrouped; ann@contoso.com\n"
    run("role", "update", "team", "--permission", "all", "--group", "all")
    assert "on all devices" in run("role", "list")
    [role] = roles.list_roles(database(state), tenant.id)
    assert role.all_devices
    run("role", "unassign", "team", "ann@contoso.com")
    assert "nobody" in run("role", "list")
    run("role", "delete", "team")
    assert run("role", "list") == ""
    assert "no device group Desks" in run(
        "role", "create", "x", "--permission", "all", "--group", "Desks", fails=True
    )
    assert "Machine.Isolate" in run("role", "create", "x", "--group", "all", fails=True)
    assert "--group" in run("role", "create", "x", "--permission", "all", fails=True)


def test_a_public_application_has_no_secret() -> None:
    output = run(
        "app", "create", "console", "--public", "--delegated", "all", "--redirect", "http://localhost"
    )
    assert "client id" in output
    assert "secret" not in output
    assert "no application permissions" in run(
        "app", "create", "other", "--public", "--role", "all", fails=True
    )


def test_certificates_of_an_application(tmp_path: Path) -> None:
    client_id = re.search(r"client id +(\S+)", run("app", "create", "playbook", "--role", "all"))
    assert client_id is not None
    path = tmp_path / "playbook.pem"
    path.write_bytes(pem(certificate(rsa.generate_private_key(65537, 2048))))
    thumbprint = run("app", "certificate", "add", client_id[1], str(path)).split()[0]
    assert thumbprint in run("app", "certificate", "list", client_id[1])
    run("app", "certificate", "remove", client_id[1], thumbprint)
    assert run("app", "certificate", "list", client_id[1]) == ""


def test_consent_to_a_partner() -> None:
    run("tenant", "create", "fabrikam.com")
    output = run(
        *(
            "app",
            "create",
            "partner",
            "--role",
            "Alert.Read.All",
            "--multi-tenant",
            "--tenant",
            "fabrikam.com",
        )
    )
    client_id = re.search(r"client id +(\S+)", output)
    assert client_id is not None
    contoso = ("--tenant", "contoso.com")
    assert "Alert.Read.All" in run("app", "consent", client_id[1], *contoso)
    assert "partner" in run("app", "consent", *contoso)
    run("app", "consent", client_id[1], *contoso, "--revoke")
    assert run("app", "consent", *contoso) == ""
    assert "was not found" in run("app", "consent", client_id[1], *contoso, "--revoke", fails=True)
    run("app", "update", client_id[1], "--single-tenant")
    assert "was not found" in run("app", "consent", client_id[1], *contoso, fails=True)
