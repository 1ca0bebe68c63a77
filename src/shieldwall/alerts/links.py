"""What ties alerts of one device together: hashed, so that a link is one short key whatever it stands for."""

from __future__ import annotations

import hashlib
from datetime import datetime

HUBS = frozenset(
    {"systemd", "init", "cron", "crond", "sshd", "containerd-shim", "dockerd", "supervisord", "tmux: server"}
)
"""Processes that everything on a machine descends from; sharing one ties nothing together."""


def process_link(device_id: str, process_id: int | None, started: datetime | None, name: str) -> str | None:
    """The link of one process; None for one that is everybody's ancestor or not known well enough."""
    if not process_id or process_id == 1 or started is None or name.lower() in HUBS:
        return None
    # Sources date a process's start to within some milliseconds of one another.
    return _link(device_id, "process", f"{process_id} {round(started.timestamp())}")


def entity_link(device_id: str, kind: str, value: str | None) -> str | None:
    """The link of a file hash, address or domain."""
    return _link(device_id, kind, value.lower()) if value else None


def _link(device_id: str, kind: str, value: str) -> str:
    text = f"{device_id}\n{kind}\n{value}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
