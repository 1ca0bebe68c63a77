import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shieldwall_agent.config import State
from shieldwall_agent.enrolment import enrol

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves it out

from protocol_server import ProtocolServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ProtocolServer]:
    running = ProtocolServer(tmp_path / "server")
    yield running
    running.close()


@pytest.fixture
def state(tmp_path: Path, server: ProtocolServer) -> State:
    """A state folder enrolled with `server`."""
    enrolled = State(tmp_path / "agent")
    enrol(enrolled, server.url, "token-1", server.authority)
    return enrolled
