"""The package of the agent's own logs."""

import json
import threading
import zipfile
from pathlib import Path

from shieldwall_agent.responses.own_logs import items
from shieldwall_agent.responses.package import collect


def test_it_tells_of_the_agent_and_holds_no_secret(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "device.key").write_text("very secret")
    target = tmp_path / "logs.zip"
    collect(target, threading.Event(), items(state))
    with zipfile.ZipFile(target) as package:
        contents = {name: package.read(name) for name in package.namelist()}
    assert json.loads(contents["Status.json"])["running"] is False
    assert b"device.key" in contents["State folder.txt"]
    assert not any(b"very secret" in content for content in contents.values())
