import json
import os
import subprocess
import sys
from pathlib import Path

from protocol_server import ProtocolServer

from shieldwall_agent import status
from shieldwall_agent.config import State
from shieldwall_agent.spool import SpoolWriter
from shieldwall_agent.spool_reader import SpoolReader


def command(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shieldwall_agent", "--state", str(state), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_agent_that_does_not_run(server: ProtocolServer, state: State) -> None:
    told = command(state.folder, "status")
    assert told.returncode == 1
    assert "not running" in told.stdout
    assert state.load().device_id in told.stdout
    found = json.loads(command(state.folder, "status", "--json").stdout)
    assert (found["running"], found["enrolled"], found["spool"]["waiting"]) == (False, True, 0)


def test_machine_that_is_not_enrolled(tmp_path: Path) -> None:
    assert "not enrolled" in command(tmp_path, "status").stdout
    refused = command(tmp_path, "run")
    assert refused.returncode == 1
    assert "enrol" in refused.stderr


def test_spool_facts_count_what_waits(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    for number in range(10):
        writer.emit({"Table": "DeviceEvents", "N": number})
    writer.close()
    assert status.spool_facts(tmp_path)["waiting"] == 10
    reader = SpoolReader(tmp_path, batch_rows=4)
    reader.take()
    reader.acknowledge()
    assert status.spool_facts(tmp_path)["waiting"] == 6
    assert status.spool_facts(tmp_path / "none") == {"waiting": 0, "bytes": 0, "lost": 0}


def test_tells_by_sensor_what_runs_what_it_misses_and_why_no_better() -> None:
    sensor = {"mechanism": "AF_PACKET", "events": 3, "lost": 1, "misses": "much", "detail": "eBPF: refused"}
    process = {"pid": 1, "running": True, "restarts": 0, "killed_stuck": 0}
    told = status.render(
        {
            "version": "1", "running": True, "enrolled": False, "isolated": False, "policy_revision": 1,
            "upload": {}, "channel": {}, "processes": {"sensor": process},
            "enforcement": {"files": {}, "network": {}}, "spool": {"waiting": 0, "bytes": 0, "lost": 0},
            "sensors": {"dns": sensor, "modules": {"mechanism": "", "detail": "eBPF: none"}},
        }
    )  # fmt: skip
    lines = [" ".join(line.split()) for line in told.splitlines()]
    begin = lines.index("dns AF_PACKET 3 events 1 lost")
    assert lines[begin + 1 : begin + 3] == ["misses much", "not by eBPF: refused"]
    assert lines[begin + 3 : begin + 5] == ["modules not running 0 events 0 lost", "not by eBPF: none"]


def test_every_command_explains_itself_with_an_example() -> None:
    for name in ("enrol", "run", "status", "release", "vault"):
        told = command(Path(os.devnull), name, "--help")
        assert told.returncode == 0
        assert "Example" in told.stdout, name
