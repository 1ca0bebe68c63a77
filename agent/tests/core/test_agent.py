"""The whole agent as a user starts it, against a server of the protocol."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from protocol_server import ProtocolServer

from shieldwall_agent import ipc
from shieldwall_agent.config import State

ALL_CAPABILITIES_GONE = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


class Running:
    def __init__(self, state: State, *prefix: str) -> None:
        self.state = state
        command = [*prefix, sys.executable, "-m", "shieldwall_agent", "--state", str(state.folder)]
        self.process = subprocess.Popen(
            [*command, "run", "--ephemeral"], stderr=(state.folder / "log").open("ab"), start_new_session=True
        )

    def status(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "shieldwall_agent", "--state", str(self.state.folder), "status"]
        asked = subprocess.run([*command, "--json"], capture_output=True, check=False)
        found: dict[str, Any] = json.loads(asked.stdout)
        return found

    def until(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            status = self.status()
            if status["running"] and condition(status):
                return status
            assert self.process.poll() is None, (self.state.folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        raise AssertionError(f"{status}\n{(self.state.folder / 'log').read_text()[-3000:]}")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def start(state: State) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def starter(*prefix: str) -> Running:
        started.append(Running(state, *prefix))
        return started[-1]

    yield starter
    for running in started:
        running.close()


def ran(marker: str) -> Callable[[ProtocolServer], bool]:
    def seen(server: ProtocolServer) -> bool:
        return any(
            row["Table"] == "DeviceProcessEvents" and marker in str(row.get("ProcessCommandLine"))
            for row in server.rows
        )

    return seen


def run_marked() -> str:
    marker = uuid.uuid4().hex
    subprocess.run(["/bin/sh", "-c", f"sleep 1.2; : {marker}"], check=True)
    return marker


@pytest.mark.root
def test_process_on_this_machine_becomes_an_event_and_kills_lose_none(
    server: ProtocolServer, state: State, start: Callable[..., Running]
) -> None:
    running = start()
    before = running.until(lambda s: s["ready"] and s["channel"].get("last_contact"))
    server.wait_for(ran(run_marked()))
    report = server.wait_for(lambda s: s.reports)[0]
    assert report["dns_name"]
    assert report["isolated"] is False
    for name in ("responder", "sensor"):
        os.kill(before["processes"][name]["pid"], signal.SIGKILL)
    after = running.until(lambda s: s["ready"] and all(p["running"] for p in s["processes"].values()))
    assert after["processes"]["gate"]["pid"] == before["processes"]["gate"]["pid"]
    server.wait_for(ran(run_marked()))
    identities = [(row["Timestamp"], row["ReportId"]) for row in server.rows]
    assert len(identities) == len(set(identities))
    processes = [psutil.Process(p["pid"]) for p in after["processes"].values()]
    running.close()
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)
    assert not (state.folder / ipc.CONTROL).exists()


@pytest.mark.slow
def test_without_privileges_it_runs_with_fewer_sensors_and_says_which(
    server: ProtocolServer, start: Callable[..., Running]
) -> None:
    running = start(*(ALL_CAPABILITIES_GONE if os.geteuid() == 0 else ()))
    status = running.until(lambda s: s["ready"] and s["channel"].get("last_contact"))
    assert "gate" not in status["processes"]
    assert any(sensor["mechanism"] for sensor in status["sensors"].values())
    assert any(not sensor["mechanism"] and sensor["detail"] for sensor in status["sensors"].values())
    server.wait_for(ran(run_marked()))


@pytest.mark.slow
def test_second_agent_on_the_same_folder_is_refused(state: State, start: Callable[..., Running]) -> None:
    running = start(*(ALL_CAPABILITIES_GONE if os.geteuid() == 0 else ()))
    running.until(lambda s: s["running"])
    command = [sys.executable, "-m", "shieldwall_agent", "--state", str(state.folder), "run"]
    second = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert second.returncode == 1
    assert b"another agent" in second.stderr


@pytest.mark.root
@pytest.mark.slow
def test_events_of_a_time_without_server_arrive_afterwards(
    tmp_path: Path, server: ProtocolServer, start: Callable[..., Running]
) -> None:
    running = start()
    running.until(lambda s: s["ready"])
    error = {"error": {"code": "TooManyRequests", "message": "Later."}}
    with server.changed:
        server.answers = [(429, {"Retry-After": "1"}, error)] * 3
    server.wait_for(ran(run_marked()), 20)
    assert not server.answers
