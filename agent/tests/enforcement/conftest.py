"""Real mounts and real gates, all in scratch places of their own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves it out

from scratch import RunningGate


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of its own, so that the machine's own executions are never asked about."""
    place = tmp_path / "mount"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "shieldwall-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def start_gate(tmp_path: Path, mount: Path) -> Iterator[Callable[..., RunningGate]]:
    gates: list[RunningGate] = []

    def start(deadline: float = 5.0, kind: str = "roots") -> RunningGate:
        gates.append(RunningGate(tmp_path / "state", mount, deadline, kind))
        return gates[-1]

    yield start
    for gate in gates:
        gate.close()
