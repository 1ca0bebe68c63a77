"""A server that is killed again and again under ingest: what it acknowledged is there, once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from shieldwall.times import now, to_text
from tests.gateway.conftest import Agent

from .conftest import free_port, running

KILLS = 20
ROWS = 200

COUNT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry import ledger
from shieldwall.telemetry.store import TelemetryStore
settings = replace(Settings(), data=Path(sys.argv[1]))
store = TelemetryStore.open(settings)
ledger.recover(store, Database(settings.state_url))
sql = "SELECT ProcessId AS batch, count() AS n FROM shieldwall.DeviceProcessEvents GROUP BY batch"
print(json.dumps({row["batch"]: row["n"] for row in store.system_query(sql)}))
store.close()
"""


class Driver(threading.Thread):
    """Sends batches one after another, each again until it is acknowledged."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(daemon=True)
        self.agent = agent
        self.acknowledged: list[int] = []
        self.stop = threading.Event()

    def run(self) -> None:
        sequence = 1
        while not self.stop.is_set():
            rows = [
                {"Table": "DeviceProcessEvents", "Timestamp": to_text(now()), "ProcessId": sequence}
                for _ in range(ROWS)
            ]
            try:
                answer = self.agent.send(sequence, *rows)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code == 200:
                self.acknowledged.append(sequence)
                sequence += 1


@pytest.mark.slow
def test_what_was_acknowledged_is_stored_once(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    driver: Driver | None = None
    for kill in range(KILLS):
        with running(data, port, "--no-agent") as shieldwall:
            if driver is None:
                token = shieldwall.command("device", "token", "create").stdout.strip()
                agent = Agent(shieldwall, tmp_path)
                agent.enrol(token).raise_for_status()
                driver = Driver(agent)
                driver.start()
            before = len(driver.acknowledged)
            deadline = time.monotonic() + 20
            while len(driver.acknowledged) < before + 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(driver.acknowledged) >= before + 2, "nothing is acknowledged"
            # At a different moment of a batch's way each time.
            time.sleep(0.013 * kill)
            shieldwall.process.send_signal(signal.SIGKILL)
            shieldwall.process.wait(10)
    assert driver is not None
    driver.stop.set()
    driver.join(10)
    counted = subprocess.run(
        [sys.executable, "-c", COUNT, str(data)], capture_output=True, text=True, check=True, timeout=60
    )
    stored = {int(batch): count for batch, count in json.loads(counted.stdout.splitlines()[-1]).items()}
    assert {sequence: stored.get(sequence, 0) for sequence in driver.acknowledged} == dict.fromkeys(
        driver.acknowledged, ROWS
    )
    # A batch whose acknowledgement was lost is there whole or not at all.
    assert set(stored.values()) <= {ROWS}
