"""What the gate tells: events to the sink, and to the responder what it has to stop or remediate."""

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from shieldwall_agent.enforcement.gate_server import GateServer
from shieldwall_agent.enforcement.policy import Indicator
from shieldwall_agent.enforcement.reports import file_event, name_account, restricted_event
from shieldwall_agent.events import Event, Sink

MOST_REPORTS = 10_000
_REPEAT_SECONDS = 1.0  # one refused attempt asks more than once (a shell that tries the file as a script)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file with a listed hash. `hashes`: by kind, in lower-case hex."""

    path: str
    device: int
    inode: int
    size: int
    hashes: dict[str, str]


class GateReports:
    """Nothing here waits: it is called while the kernel waits for an answer. Counts into `health`."""

    def __init__(self, sink: Sink, server: GateServer, health: dict[str, Any]) -> None:
        self._sink = sink
        self._server = server
        self._health = health
        self._reported: dict[tuple[int, int, str], float] = {}
        self._waiting: queue.SimpleQueue[Event] = queue.SimpleQueue()
        threading.Thread(target=self._send_all, name="reports", daemon=True).start()

    def tell(
        self,
        rule: Indicator,
        file: ListedFile,
        pid: int,
        executing: bool = False,
        process: Event | None = None,
    ) -> None:
        """That a process wants a listed file, or, with `executing`, has got it.

        `process`: what is known of it, in case it is gone."""
        if self._just_told(pid, file.inode, rule.id):
            return
        event = file_event(rule, file.path, file.hashes, file.size, pid, executing=executing)
        self._queue({**(process or {}), **event})

    def restricted(self, path: str, inode: int, size: int, pid: int) -> None:
        """That a process wanted to execute a file that is none of the system's, while those alone may run."""
        if not self._just_told(pid, inode, "restriction"):
            self._queue(restricted_event(path, size, pid))

    def _just_told(self, pid: int, inode: int, what: str) -> bool:
        now = time.monotonic()
        if now - self._reported.get((pid, inode, what), -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return True
        self._reported[(pid, inode, what)] = now
        return False

    def _queue(self, event: Event) -> None:
        if self._waiting.qsize() < MOST_REPORTS:
            self._waiting.put(event)
        else:
            self._health["lost"] += 1

    def found(self, rule: Indicator, file: ListedFile, late: bool) -> None:
        """Let the responder remediate; `late` when the file may be running."""
        news = {
            "path": file.path, "device": file.device, "inode": file.inode, "hashes": file.hashes,
            "indicator": rule.id, "late": late,
        }  # fmt: skip
        self._server.tell({"found": news})

    def forget_old(self) -> None:
        now = time.monotonic()
        self._reported = {what: when for what, when in self._reported.items() if now - when < _REPEAT_SECONDS}

    def _send_all(self) -> None:
        """In a thread: naming the account opens files, which the gate's loop must not."""
        while True:
            self._sink.emit(name_account(self._waiting.get()))
