"""`shieldwall app` and `shieldwall tenant`, as typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from shieldwall.cli.app import app_commands, tenant_commands
from shieldwall.identity import applications
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

program = typer.Typer()
program.add_typer(app_commands, name="app")
program.add_typer(tenant_commands, name="tenant")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A state that does not exist before the first command."""
    monkeypatch.setenv("SHIELDWALL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SHIELDWALL_DATABASE_URL", raising=False)
    return Settings.load()


def run(*arguments: str, fails: bool = False) -> str:
    result = CliRunner().invoke(program, list(arguments), env={"COLUMNS": "300", "TERM": "dumb"})
    assert (result.exit_code != 0) == fails, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def create(*extra: str) -> tuple[str, str]:
    output = run("app", "create", "playbook", "--role", "machine.read.all", *extra)
    return field(output, "client id", GUID), field(output, "client secret", r"\S{43}")


def field(output: str, label: str, pattern: str) -> str:
    found = re.search(rf"^{label}\s+({pattern})\s*$", output, re.MULTILINE)
    assert found, output
    return found[1]


def works(settings: Settings, client_id: str, secret: str) -> bool:
    database = Database(settings.state_url)
    try:
        tenant = applications.list_tenants(database)[0]
        return bool(applications.authenticate(database, tenant.id, client_id, secret))
    except applications.SignInError:
        return False
    finally:
        database.close()


def test_an_applications_life(state: Settings) -> None:
    assert re.match(GUID, run("tenant", "create", "contoso.com"))
    client_id, secret = create()
    assert works(state, client_id, secret)
    listed = run("app", "list")
    assert client_id in listed
    assert secret[:4] in listed
    assert secret not in listed

    second = field(run("app", "rotate", client_id, "--days", "7"), "client secret", r"\S{43}")
    assert works(state, client_id, secret)
    assert works(state, client_id, second)
    third = field(run("app", "rotate", client_id, "--revoke-others"), "client secret", r"\S{43}")
    assert [works(state, client_id, each) for each in (secret, second, third)] == [False, False, True]

    assert "disabled" in run("app", "update", client_id, "--disable", "--role", "all")
    assert not works(state, client_id, third)
    run("app", "delete", client_id)
    assert client_id not in run("app", "list")
    assert "no application" in run("app", "rotate", client_id, fails=True)


def test_with_several_tenants_one_must_be_named() -> None:
    assert "no tenant yet" in run("app", "list", fails=True)
    run("tenant", "create", "one")
    run("tenant", "create", "two")
    assert "one, two" in run("app", "create", "x", "--role", "all", fails=True)
    client_id, _ = create("--tenant", "TWO")
    assert client_id in run("app", "list", "--tenant", "two")
    assert client_id not in run("app", "list", "--tenant", "one")
    run("app", "rotate", client_id)
    assert "no tenant" in run("app", "list", "--tenant", "three", fails=True)
    assert "not found" in run("app", "delete", client_id, "--tenant", "one", fails=True)


def test_mistakes_are_explained() -> None:
    run("tenant", "create", "one")
    assert "Machine.Isolate" in run("app", "create", "x", fails=True)
    assert "did you mean Alert.Read.All" in run("app", "create", "x", "--role", "Alerts.Read.All", fails=True)
    assert "already" in run("tenant", "create", "ONE", fails=True)
    assert "--disable" in run("app", "update", "x", fails=True)
