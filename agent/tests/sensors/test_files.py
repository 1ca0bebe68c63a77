"""Files made, changed, renamed and deleted, with who did it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent.sensors.base import Surroundings, Unavailable
from shieldwall_agent.sensors.files import FileWatching

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def seen(kept: Any, nobody: Any) -> Iterator[Any]:
    mechanism = FileWatching(Surroundings(kept), nobody, {"files"}, ())
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    yield kept
    mechanism.stop()


def test_tells_the_life_of_a_file(seen: Any, tmp_path: Path) -> None:
    def told(action: str, path: Path) -> Any:
        found = seen.wait(lambda event: event["ActionType"] == action and event["FolderPath"] == str(path))
        assert found, (action, [(event["ActionType"], event.get("FolderPath")) for event in seen.events])
        assert found[0]["InitiatingProcessId"] == os.getpid()
        return found[0]

    path, other = tmp_path / "sw-first", tmp_path / "sw-second"
    path.write_bytes(b"one")
    told("FileCreated", path)
    time.sleep(0.1)
    with path.open("ab") as file:
        file.write(b"two")
    told("FileModified", path)
    path.rename(other)
    assert told("FileRenamed", other)["PreviousFileName"] == "sw-first"
    other.unlink()
    told("FileDeleted", other)
