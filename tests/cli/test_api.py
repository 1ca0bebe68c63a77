"""`shieldwall api`, as typed, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from shieldwall.cli.api import api
from tests.api.conftest import DEVICE, SECOND
from tests.client.conftest import Live, live, template  # noqa: F401

program = typer.Typer()
program.command("api")(api)


@pytest.fixture
def environment(live: Live) -> dict[str, str]:  # noqa: F811
    return {
        "SHIELDWALL_API_URL": live.url,
        "SHIELDWALL_API_TENANT": live.tenant,
        "SHIELDWALL_API_CLIENT_ID": live.client_id,
        "SHIELDWALL_API_CLIENT_SECRET": live.secret,
        "SHIELDWALL_API_CA": live.ca,
        "COLUMNS": "300",
        "TERM": "dumb",
    }


def run(environment: dict[str, str], *words: str, code: int = 0, given: str = "") -> Result:
    result = CliRunner().invoke(program, list(words), env=environment, input=given)
    assert result.exit_code == code, result.output
    return result


def test_a_list_is_printed_as_json(environment: dict[str, str]) -> None:
    words = ("--filter", "healthStatus eq 'Active'", "--top", "5", "--select", "id,osPlatform", "--count")
    body = json.loads(run(environment, "get", "api/machines", *words).stdout)
    assert body["@odata.count"] == 1
    assert [sorted(item) for item in body["value"]] == [["id", "osPlatform"]]


def test_all_pages_come_one_item_a_line(environment: dict[str, str]) -> None:
    lines = run(environment, "GET", "/api/machines?pageSize=1", "--all").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [DEVICE, SECOND]


def test_a_body_comes_from_the_line_a_file_or_the_input(environment: dict[str, str], tmp_path: Path) -> None:
    path = f"/api/machines/{DEVICE}/tags"
    text = json.dumps({"Value": "typed", "Action": "Add"})
    assert "typed" in json.loads(run(environment, "POST", path, "--data", text).stdout)["machineTags"]
    file = tmp_path / "body.json"
    file.write_text(text.replace("Add", "Remove"))
    assert (
        "typed" not in json.loads(run(environment, "POST", path, "--data", f"@{file}").stdout)["machineTags"]
    )
    assert "typed" in run(environment, "POST", path, "--data", "@-", given=text).stdout


def test_refusals_end_with_the_servers_words(environment: dict[str, str]) -> None:
    result = run(environment, "GET", "/api/machines/nothing", code=1)
    assert "404 ResourceNotFound: Machine nothing was not found" in result.output
    wrong = environment | {"SHIELDWALL_API_CLIENT_SECRET": "wrong"}
    assert "AADSTS7000215" in run(wrong, "GET", "/api/machines", code=1).output


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("GET", "https://127.0.0.1/api/machines"), "give the path alone"),
        (("POST", "/api/alerts", "--data", "{"), "no JSON"),
        (("POST", "/api/alerts", "--data", "@/no/such/file"), "No such file"),
    ],
)
def test_wrong_words_are_named(environment: dict[str, str], words: tuple[str, ...], text: str) -> None:
    assert text in run(environment, *words, code=2).output


def test_it_wants_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "no server has run" in run({"SHIELDWALL_DATA": str(tmp_path)}, "GET", "/api", code=2).output
    missing = {"SHIELDWALL_API_URL": "https://127.0.0.1:1"}
    assert "SHIELDWALL_API_TENANT" in run(missing, "GET", "/api", code=2).output
