"""`shieldwall rejects`, as typed beside a running server."""

from __future__ import annotations

from tests.e2e.conftest import Running
from tests.gateway.conftest import Agent, agent, server, token

__all__ = ["agent", "server", "token"]


def test_rejected_lines_are_listed_and_harmless_on_a_terminal(server: Running, agent: Agent) -> None:
    answer = agent.send(1, "\x1b]0;owned\x07[red]no json", '{"Table": "Nonsense"}')
    assert [item["line"] for item in answer.json()["rejected"]] == [1, 2]
    listed = server.command("rejects", "list", "--device", agent.device_id)
    assert listed.returncode == 0, listed.stderr
    assert "·]0;owned·[red]no json" in listed.stdout
    assert "\x1b" not in listed.stdout
    assert "not a JSON object" in listed.stdout
    one = server.command("rejects", "list", "--device", agent.device_id, "--limit", "1")
    assert ("no json" in one.stdout, "Nonsense" in one.stdout) == (True, False)
    none = server.command("rejects", "list", "--device", "0" * 40)
    assert none.stdout == "nothing was rejected\n"
