"""A network namespace for trials: isolation cuts this off, and never the machine that people sit at."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

_TRIALS = IPv4Network("198.18.0.0/15")
"""Reserved for trials, so it is nobody's network."""


@dataclass(frozen=True)
class Namespace:
    """A namespace joined to this machine by two interfaces; ``host`` is the address of our end."""

    name: str
    host: str
    inside: str

    def run(self, *command: str, seconds: float = 10) -> bool:
        """Whether a command succeeds inside."""
        words = ["ip", "netns", "exec", self.name, *command]
        return subprocess.run(words, capture_output=True, timeout=seconds, check=False).returncode == 0


def namespace_of(port: int) -> Namespace:
    """The namespace that belongs to the server on ``port`` of this machine."""
    base = int(_TRIALS.network_address) + (port % 16384) * 4
    host, inside = (str(type(_TRIALS.network_address)(base + number)) for number in (1, 2))
    return Namespace(f"shieldwall-{port}", host, inside)


@contextmanager
def trial_namespace(port: int) -> Iterator[Namespace | None]:
    """The namespace while the block runs; None without root or without iproute2."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        yield None
        return
    namespace = namespace_of(port)
    outer, inner = f"swo{port}", f"swi{port}"
    _ip("netns", "delete", namespace.name, check=False)
    try:
        _ip("netns", "add", namespace.name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace.name)
        _ip("address", "add", f"{namespace.host}/30", "dev", outer)
        _ip("link", "set", outer, "up")
        _ip("-n", namespace.name, "address", "add", f"{namespace.inside}/30", "dev", inner)
        _ip("-n", namespace.name, "link", "set", inner, "up")
        _ip("-n", namespace.name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError:
        _ip("netns", "delete", namespace.name, check=False)
        yield None
        return
    try:
        yield namespace
    finally:
        _ip("netns", "delete", namespace.name, check=False)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)
