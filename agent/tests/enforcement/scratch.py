"""Real gates and real programs for the tests."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement import gate
from shieldwall_agent.enforcement.filesystems import MountWatch
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


class FileHeart:
    """Beats into a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def beat(self, health: dict[str, Any] | None = None) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(health))
        fresh.rename(self._path)


class FakeLsm:
    """Says that the kernel refuses SHA-256 hashes, and writes down which it was given."""

    kind = "FileSha256"

    def __init__(self, folder: Path, refused: Any) -> None:
        self._applied = folder / "lsm.json"
        self._never, self._other = socket.socketpair()

    def fileno(self) -> int:
        return self._never.fileno()

    def lost(self) -> int:
        return 0

    def close(self) -> None:
        self._never.close()

    def apply(self, rules: dict[str, Any]) -> None:
        self._applied.write_text(json.dumps(sorted(rules)))


def run_gate(folder: str, root: str, deadline: str, kind: str) -> None:
    """`kind`: "roots" for fanotify only, "all" to choose the mechanism, "fake" to choose FakeLsm. The
    machine's other filesystems are left alone."""
    if kind == "fake":
        gate.LsmGate = FakeLsm  # type: ignore[assignment, misc]
    MountWatch.mounts = lambda _: iter([(os.stat(root).st_dev, root)])  # type: ignore[method-assign]
    roots = [Path(root)] if kind == "roots" else None
    place = Path(folder)
    sink, heart = FileSink(place / "events.ndjson"), FileHeart(place / "health.json")
    gate.Gate(place, sink, heart, roots, float(deadline)).run()


class RunningGate:
    """A gate in a forked process, as the supervisor runs it, and the responder's side of it."""

    def __init__(self, folder: Path, root: Path, deadline: float, kind: str = "roots") -> None:
        self.folder = folder
        self.policy = PolicyStore(folder)
        self.sink = FileSink(folder / "events.ndjson")
        self.finds: list[dict[str, Any]] = []
        self._root, self._deadline, self._kind = root, deadline, kind
        self.pid = 0
        self.start()
        self.client = GateClient(folder, self.finds.append)
        assert self.client.wait_connected(20)

    def start(self) -> None:
        # A fresh process, not a fork of pytest: no thread of the tests may hold a lock in it.
        program = (
            "import sys; sys.path.insert(0, sys.argv[1]); import scratch; scratch.run_gate(*sys.argv[2:])"
        )
        here = str(Path(__file__).parent)
        arguments = [here, str(self.folder), str(self._root), str(self._deadline), self._kind]
        self.process = subprocess.Popen([sys.executable, "-c", program, *arguments])
        self.pid = self.process.pid

    def health(self) -> dict[str, Any]:
        """After the next beat."""
        path = self.folder / "health.json"
        path.unlink(missing_ok=True)
        wait_for(path.exists, 10)
        health: dict[str, Any] = json.loads(path.read_text())
        return health

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
        assert self.client.changed(wait=20)


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
