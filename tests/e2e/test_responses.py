"""Live response, scan, restriction and offboarding, by a real server and a real agent of its own folders."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Running, trusting, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="quarantine and the gate need root"),
]

SCRIPT = b'#!/bin/sh\necho "hello $1"; cat note.txt; echo oops >&2; exit 4\n'
RULE = b'rule Implant { meta: action = "quarantine" strings: $a = "implant-marker" condition: $a }'


def upload(server: Running, name: str, content: bytes) -> None:
    answer = server.http.post("/api/libraryfiles", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text


def result(server: Running, action: dict[str, Any], index: int) -> httpx.Response:
    place = f"/api/machineactions/{action['id']}/GetLiveResponseResultDownloadLink(index={index})"
    return httpx.get(server.get(place)["value"], verify=trusting(server.quickstart["ca"]))


def command(kind: str, **values: str) -> dict[str, Any]:
    return {"type": kind, "params": [{"key": key, "value": value} for key, value in values.items()]}


def runs(path: Path) -> bool:
    try:
        return subprocess.run([path], timeout=10).returncode == 0
    except PermissionError:
        return False


def test_what_clients_ask_of_a_device_is_done_and_its_results_are_fetched(start, tmp_path):
    with start() as server:
        device = server.device()
        machine = f"/api/machines/{device['id']}"
        live_response(server, machine, tmp_path)
        scan(server, machine, tmp_path / "data" / "trial")
        investigation(server, machine)
        restriction(server, machine, tmp_path / "data" / "trial")
        offboarding(server, machine, tmp_path / "data" / "agent")


def live_response(server: Running, machine: str, folder: Path) -> None:
    wanted = folder / "wanted.log"
    wanted.write_bytes(b"line\n" * 10_000)
    upload(server, "look.sh", SCRIPT)
    upload(server, "note.txt", b"a note\n")
    commands = [
        command("PutFile", FileName="note.txt"),
        command("RunScript", ScriptName="look.sh", Args="'you there'"),
        command("GetFile", Path=str(wanted)),
    ]
    action = server.post(f"{machine}/runliveresponse", {"Commands": commands, "Comment": "look"})
    done = server.finished(action)
    assert done["status"] == "Succeeded", done
    assert [item["commandStatus"] for item in done["commands"]] == ["Completed"] * 3
    assert done["commands"][1]["startTime"] <= done["commands"][1]["endTime"]
    transcript = result(server, action, 1)
    assert transcript.json() == {
        "script_name": "look.sh",
        "exit_code": 4,
        "script_output": "hello you there\na note\n",
        "script_errors": "oops\n",
    }
    fetched = result(server, action, 2)
    assert gzip.decompress(fetched.content) == wanted.read_bytes()
    assert 'filename="wanted.log.gz"' in fetched.headers["content-disposition"]
    failed = server.finished(
        server.post(f"{machine}/runliveresponse", {"Commands": [command("GetFile", Path="/nowhere")]})
    )
    assert (failed["status"], failed["commands"][0]["commandStatus"]) == ("Failed", "Failed")
    assert "/nowhere" in failed["commands"][0]["errors"][0]


def scan(server: Running, machine: str, trial: Path) -> None:
    (trial / "implant").write_bytes(b"... implant-marker ...")
    (trial / "clean").write_bytes(b"clean")
    upload(server, "implant.yar", RULE)
    done = server.finished(server.post(f"{machine}/runAntiVirusScan", {"Comment": "x", "ScanType": "Full"}))
    assert (done["status"], done["scope"]) == ("Succeeded", "Full"), done
    assert not (trial / "implant").exists()
    assert (trial / "clean").exists()
    query = "DeviceEvents | where ActionType == 'AntivirusDetection' | where FileName == 'implant'"

    def event() -> list[dict[str, Any]]:
        return server.post("/api/advancedqueries/run", {"Query": query})["Results"]

    (row,) = until(event)
    (alert,) = server.get("/api/alerts", **{"$filter": "detectionSource eq 'WindowsDefenderAv'"})["value"]
    assert alert["threatName"] == "YARA:Linux/Implant"
    assert json.loads(row["AdditionalFields"])["ThreatName"] == "YARA:Linux/Implant"


def investigation(server: Running, machine: str) -> None:
    """The scan's find was taken already, and so there is nothing more to remediate."""
    made = server.post(f"{machine}/startInvestigation", {"Comment": "after the scan"})

    def ended() -> dict[str, Any] | None:
        found = server.get(f"/api/investigations/{made['id']}")
        return found if found["endTime"] else None

    done = until(ended)
    assert done["state"] == "SuccessfullyRemediated", done
    (judged,) = server.get(f"/api/investigations/{made['id']}/evidence")["value"]
    assert (judged["path"].rpartition("/")[2], judged["verdict"]) == ("implant", "Malicious")
    alerts = server.get("/api/alerts", **{"$filter": f"investigationId eq {made['id']}"})["value"]
    assert {alert["investigationState"] for alert in alerts} == {"SuccessfullyRemediated"}


def restriction(server: Running, machine: str, trial: Path) -> None:
    tool = trial / "tool"
    tool.write_bytes(Path("/bin/true").read_bytes() + b"tool")
    tool.chmod(0o755)
    assert runs(tool)
    done = server.finished(server.post(f"{machine}/restrictCodeExecution", {"Comment": "x"}))
    assert done["status"] == "Succeeded", done
    assert not runs(tool)
    assert runs(Path("/bin/true"))
    done = server.finished(server.post(f"{machine}/unrestrictCodeExecution", {"Comment": "x"}))
    assert done["status"] == "Succeeded", done
    assert runs(tool)


def offboarding(server: Running, machine: str, state: Path) -> None:
    key = (state / "device.key").read_bytes()
    done = server.finished(server.post(f"{machine}/offboard", {"Comment": "sold"}))
    assert done["status"] == "Succeeded", done
    until(lambda: not (state / "identity.json").exists())
    until(lambda: not (state / "offboarded").exists())  # the last to go
    until(lambda: not any(key in path.read_bytes() for path in state.rglob("*") if path.is_file()))
    left = {path.name for path in state.iterdir() if not path.is_socket()}
    assert left <= {"vault", "lock"}, left
    assert server.get(machine)["onboardingStatus"] == "CanBeOnboarded"
    again = server.http.post(f"{machine}/isolate", json={"Comment": "x"})
    assert again.status_code == 400
    time.sleep(1)
    assert server.process.poll() is None, "the server goes on without it"
