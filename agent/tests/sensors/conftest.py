"""A sink that keeps events, and a way to wait for one."""

import time
from collections.abc import Callable

import pytest

from shieldwall_agent.events import Event
from shieldwall_agent.processes import Process
from shieldwall_agent.sensors.own import Own


class Kept:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def wait(self, wanted: Callable[[Event], object], count: int = 1, seconds: float = 4.0) -> list[Event]:
        """The events that are wanted, as soon as there are so many; fewer when they do not come."""
        deadline = time.monotonic() + seconds
        while True:
            found = [event for event in list(self.events) if wanted(event)]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.02)


class Nobody(Own):
    """The tests themselves do what is to be seen, so nothing is the agent's own."""

    def is_own(self, process: Process) -> bool:
        return False


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def nobody() -> Own:
    return Nobody()
