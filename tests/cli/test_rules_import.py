"""`shieldwall rules import`, as typed, on a state of its own."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
import typer
from typer.testing import CliRunner, Result

from shieldwall.cli.rules_import import import_rules
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.service import RuleService
from shieldwall.identity.models import Tenant
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Base, Database
from shieldwall.times import now
from tests.detection.sigma.test_refusals import GOOD

OTHER = GOOD.replace("11111111-1", "22222222-2").replace("title: Good", "title: Of the moon")
UNMAPPED = OTHER.replace("category: process_creation", "category: tides")
RULE = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Database, str]:
    monkeypatch.setenv("SHIELDWALL_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    database = Database(Settings.load().state_url)
    Base.metadata.create_all(database.engine)
    tenant = str(uuid4())
    with database.system_session() as session:
        session.add(Tenant(id=tenant, name="Contoso", created_time=now()))
    return database, tenant


def run(path: Path, *words: str, code: int = 0) -> Result:
    app = typer.Typer()
    app.command()(import_rules)
    environment = {"COLUMNS": "300", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(path), "--tenant", "Contoso", *words], env=environment)
    assert result.exit_code == code, result.output
    return result


def counts(result: Result) -> dict[str, str]:
    """The rows of the table of counts."""
    rows = [line.strip("│ ").split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


def test_rules_are_kept_and_tuning_outlives_an_update(state: tuple[Database, str], tmp_path: Path) -> None:
    database, tenant = state
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "good.yml").write_text(GOOD)
    (folder / "other.yml").write_text(UNMAPPED)
    result = run(folder)
    assert {"converted": "1", "added": "1", "refused": "1"}.items() <= counts(result).items()
    assert "other.yml:3 (logsource): no source gives events of the log source windows, tides" in result.stdout
    service = RuleService(database)
    service.tune(Principal(tenant, "me", "", frozenset()), RULE, Decision(enabled=False, severity="High"))
    assert counts(run(folder))["unchanged"] == "1"
    (folder / "good.yml").write_text(GOOD.replace("whoami", "nltest"))
    assert counts(run(folder))["updated"] == "1"
    known = service.get(tenant, RULE)
    assert "nltest" in known.rule.query
    assert (known.enabled, known.severity) == (False, "High")


def test_checking_keeps_nothing_and_reports_every_refusal(
    state: tuple[Database, str], tmp_path: Path
) -> None:
    database, tenant = state
    file, report = tmp_path / "rules.yml", tmp_path / "report.jsonl"
    file.write_text(f"{GOOD}---\n{UNMAPPED}")
    run(file, "--check", "--report", str(report))
    (refused,) = map(json.loads, report.read_text().splitlines())
    assert (refused["line"], refused["field"], refused["kind"]) == (15, "logsource", "log source")
    assert RuleService(database).list_rules(tenant, builtin=False) == []


def test_wrong_words_end_in_one_clear_line(state: tuple[Database, str], tmp_path: Path) -> None:
    assert "is no rule file, folder, zip or tar archive" in run(Path("/etc/hostname"), code=2).output
    file = tmp_path / "moon.yml"
    file.write_text(UNMAPPED.replace("Of the moon", "\x1b[31mred"))
    said = run(file, code=1).output
    assert "\x1b[31m" not in said
