"""From an alert to the response without anybody, or after approval by a command, over a restart."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Running, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="quarantine and the gate need root"),
]


def listed(server: Running, folder: Path, name: str) -> Path:
    """A program that the indicator list blocks."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(Path("/bin/true").read_bytes() + name.encode())
    path.chmod(0o755)
    server.post(
        "/api/indicators",
        {
            "indicatorType": "FileSha256",
            "indicatorValue": hashlib.sha256(path.read_bytes()).hexdigest(),
            "action": "Block",
            "title": name,
            "description": "d",
            "severity": "High",
            "generateAlert": True,
        },
    )
    return path


def refused(path: Path) -> bool:
    """Whether a shell, which is no suspect, may not run it."""
    return subprocess.run(["/bin/sh", "-c", f"{path}"], capture_output=True, timeout=10).returncode == 126


def investigated(server: Running, title: str, *states: str) -> dict[str, Any]:
    """The alert of this title, once its investigation is in one of these states."""

    def look() -> dict[str, Any] | None:
        alerts = server.get("/api/alerts")["value"]
        found = (
            alert for alert in alerts if title in alert["title"] and alert["investigationState"] in states
        )
        return next(found, None)

    return dict(until(look, 60))


def test_the_response_follows_an_alert_by_itself_or_after_approval(start, tmp_path):
    folder = tmp_path / "files"
    with start() as server:
        server.device()
        implant = listed(server, folder, "first")
        until(lambda: refused(implant))
        investigated(server, "first", "SuccessfullyRemediated")
        assert not implant.exists(), "the agent took it"

        said = server.command("device", "group", "level", "ungrouped", "all_folders")
        assert said.returncode == 0, said.stderr
        assert re.search(
            r"ungrouped\s+│\s+1\s+│\s+all_folders", server.command("device", "group", "list").stdout
        )
        second = listed(server, folder, "second")
        until(lambda: refused(second))
        number = investigated(server, "second", "PendingApproval")["investigationId"]
        assert second.exists()

    with start() as server:
        server.device()
        assert investigated(server, "second", "PendingApproval")["investigationId"] == number
        waiting = server.command("action", "list").stdout
        assert re.search(rf"{number}\s+│\s+1\s+│.*StopAndQuarantineFile", waiting), waiting
        said = server.command("action", "approve", str(number))
        # The first file, of the same process tree, is judged again.
        assert re.search(r"approved \d actions?", said.stdout), waiting + said.stdout + said.stderr
        investigated(server, "second", "SuccessfullyRemediated")
        assert not second.exists()
        assert "Nothing waits" in server.command("action", "list").stdout
        again = server.command("action", "reject", str(number), "1")
        assert again.returncode != 0
        assert "does not wait" in again.stderr
        unknown = server.command("action", "approve", "999")
        assert "ResourceNotFound" in unknown.stderr
