"""The agent's own processes, whose doings would else fill the telemetry with itself."""

import os

from shieldwall_agent.processes import Process

FARTHEST = 4


class Own:
    """Recognises this agent: its supervisor, the supervisor's children, and what those start."""

    def __init__(self) -> None:
        self._roots = {os.getpid(), os.getppid()} - {0, 1}

    def is_own(self, process: Process) -> bool:
        found: Process | None = process
        for _ in range(FARTHEST):
            if found is None:
                return False
            if found.pid in self._roots:
                return True
            found = found.parent
        return False
