"""A sink that keeps events, a way to wait for one, and network namespaces."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves it out

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


DNS_PEERS = Path(__file__).parent / "dns_peers.py"


class Namespace:
    """A network namespace with a loopback and, after `serve`, a DNS server on all of its addresses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._children: list[subprocess.Popen[str]] = []

    def start(self, *command: str | Path, stdin: int | None = None) -> subprocess.Popen[str]:
        """A program in it, of which the output can be read; ended with the namespace."""
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._children.append(child)
        return child

    def serve(self) -> None:
        server = self.start(sys.executable, "-IS", DNS_PEERS, "serve")
        assert server.stdout
        assert server.stdout.readline() == "ready\n"

    def ask(self, how: str, *arguments: str) -> int:
        """Let a process of its own ask the server; its pid."""
        child = self.start(sys.executable, "-IS", DNS_PEERS, "ask", how, *arguments)
        told, _ = child.communicate(timeout=10)
        assert child.returncode == 0
        return int(told)

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.communicate()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@contextlib.contextmanager
def _namespace(name: str, *commands: str) -> Iterator[Namespace]:
    namespace = Namespace(f"{name}-{os.getpid()}")
    subprocess.run(["ip", "netns", "add", namespace.name], check=True)
    try:
        for command in ("link set lo up", *commands):
            subprocess.run(["ip", "-n", namespace.name, *command.split()], check=True)
        yield namespace
    finally:
        namespace.close()


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """With 2001:db8::53 as a further address."""
    with _namespace("sw-sensors", "-6 addr add 2001:db8::53/128 dev lo nodad") as namespace:
        yield namespace


@pytest.fixture
def neighbour(netns: Namespace) -> Iterator[Namespace]:
    """Another namespace, joined by a cable to the first: that is 192.0.2.1 for it, and it 192.0.2.2."""
    commands = (
        f"link add cable type veth peer name cable netns {netns.name}",
        "addr add 192.0.2.2/24 dev cable",
        "link set cable up",
    )
    with _namespace("sw-neighbour", *commands) as namespace:
        for command in ("addr add 192.0.2.1/24 dev cable", "link set cable up"):
            subprocess.run(["ip", "-n", netns.name, *command.split()], check=True)
        yield namespace
