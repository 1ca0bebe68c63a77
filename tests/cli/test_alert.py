"""`shieldwall alert`, as typed, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from shieldwall.cli.alert import alert_commands
from tests.client.conftest import Live, live, template  # noqa: F401
from tests.detection.external.conftest import suricata


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
    result = CliRunner().invoke(alert_commands, list(words), env=environment, input=given)
    assert result.exit_code == code, result.output
    return result


def test_a_file_of_a_sensor_is_sent_and_each_line_answered(
    environment: dict[str, str], tmp_path: Path
) -> None:
    wrong = {**suricata(), "src_ip": "\x1b[31mnowhere"}
    good = suricata()
    records = [good, {"event_type": "flow"}, wrong, good]
    file = tmp_path / "eve.json"
    file.write_text("\n".join(map(json.dumps, records)))
    said = run(environment, "send", str(file), "--format", "suricata", code=1).stdout
    assert "1 created, 1 rejected, 1 duplicate, 1 no alerts, left out" in said
    assert "line 3" in said
    assert "src_ip is no IP address" in said
    assert "\x1b[31m" not in said
    assert "ids-1" in run(environment, "sources").stdout


def test_lines_of_text_come_from_the_input(environment: dict[str, str]) -> None:
    moment = suricata()["timestamp"].replace("+0000", "Z")
    line = f"CEF:0|Contoso|Wall|1|77|Beacon|9|src=10.0.0.5 dst=11.2.2.9 dpt=443 externalId=w-1 rt={moment}\n"
    said = run(environment, "send", "-", given=line).stdout
    assert "1 created" in said
    identifier = next(word for word in said.split() if word.startswith("da"))
    assert "Contoso" in run(environment, "external", identifier).stdout


def test_offered_indicators_are_decided(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "eve.json"
    file.write_text(json.dumps(suricata()))
    run(environment, "send", str(file))
    listed = run(environment, "indicators", "list").stdout
    rows = [line for line in listed.splitlines() if "Offered" in line]
    numbers = {
        value: row.replace("│", " ").split()[0] for row in rows for value in row.split() if "." in value
    }
    assert set(numbers) == {"11.2.2.9", "bad.example"}
    said = run(environment, "indicators", "approve", numbers["11.2.2.9"], "--action", "Audit").stdout
    assert "11.2.2.9 is indicator" in said
    run(environment, "indicators", "reject", numbers["bad.example"], "--reason", "ours")
    assert "nothing is offered" in run(environment, "indicators", "list").stdout
    assert "already" in run(environment, "indicators", "reject", numbers["11.2.2.9"], code=1).stderr


def test_the_policy_is_shown_and_changed(environment: dict[str, str]) -> None:
    rules = '[{"vendor": "OISF", "mode": "apply", "action": "Audit"}]'
    said = run(environment, "indicators", "policy", "--rules", rules, "--allow", "cdn.example").stdout
    assert "apply" in said
    assert "cdn.example" in said
    shown = run(environment, "indicators", "policy", "--disallow", "cdn.example").stdout
    assert "cdn.example" not in shown
    assert "apply" in shown
    wrong = run(environment, "indicators", "policy", "--rules", '[{"mode": "x"}]', code=1)
    assert "rules[0].mode" in wrong.stderr
