"""Real gates and real programs for the tests."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement.gate_client import GateClient
from shieldwall_agent.enforcement.policy import PolicyStore


def wait_for(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


class MemorySink:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, event: dict[str, Any]) -> None:
        self.events.append(event)


class FileSink:
    """For a gate in a process of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def emit(self, event: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]


class Heartless:
    def beat(self, health: dict[str, Any] | None = None) -> None:
        pass


class RunningGate:
    """A gate in a forked process, as the supervisor runs it, and the responder's side of it."""

    def __init__(self, folder: Path, root: Path, deadline: float) -> None:
        self.folder = folder
        self.policy = PolicyStore(folder)
        self.sink = FileSink(folder / "events.ndjson")
        self.finds: list[dict[str, Any]] = []
        self._root, self._deadline = root, deadline
        self.pid = 0
        self.start()
        self.client = GateClient(folder, self.finds.append)
        assert self.client.wait_connected(5)

    def start(self) -> None:
        # A fresh process, not a fork of pytest: no thread of the tests may hold a lock in it.
        program = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[4]); import scratch; "
            "from shieldwall_agent.enforcement.gate import Gate; folder = Path(sys.argv[1]); "
            "Gate(folder, scratch.FileSink(folder / 'events.ndjson'), scratch.Heartless(), "
            "[Path(sys.argv[2])], float(sys.argv[3])).run()"
        )
        arguments = [str(self.folder), str(self._root), str(self._deadline), str(Path(__file__).parent)]
        self.process = subprocess.Popen([sys.executable, "-c", program, *arguments])
        self.pid = self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        self.kill()
        self.client.close()
        self.policy.close()

    def apply(self, *entries: dict[str, Any], delete: tuple[str, ...] = ()) -> None:
        revision = self.policy.revision
        body = {"from": revision, "to": revision + 1, "upsert": list(entries), "delete": list(delete)}
        changes = self.policy.apply_delta(body)
        assert not changes.rejected
        assert self.client.changed(wait=5)


def indicator(
    value: str, kind: str = "FileSha256", action: str = "Block", identity: str = "1", **more: Any
) -> dict[str, Any]:
    return {"id": identity, "type": kind, "value": value, "action": action, "severity": "High",
            "title": "Test", "generate_alert": True, "expires": None, **more}  # fmt: skip


def program(place: Path, name: str = "tool", marker: bytes = b"marker") -> Path:
    """A real program that is the only one with its hash."""
    path = place / name
    shutil.copy("/bin/true", path)
    with path.open("ab") as file:
        file.write(marker)
    path.chmod(0o755)
    return path


def runs(*command: str | Path) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except PermissionError:
        return False
