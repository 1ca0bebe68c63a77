"""Carries out the server's commands beside the long poll.

There is one worker for each kind of work, so that collecting a package never delays an isolation.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from shieldwall_agent.commands import RUNNING, Command, Journal, Message

LANES = {
    "isolate": "containment",
    "unisolate": "containment",
    "stop_and_quarantine": "files",
    "restore_file": "files",
    "collect_package": "collection",
    "collect_logs": "collection",
    "restrict": "containment",
    "unrestrict": "containment",
    "live_response": "live response",
    "scan": "scan",
    "offboard": "containment",
}
REPEATABLE = {
    "isolate",
    "unisolate",
    "restrict",
    "unrestrict",
    "offboard",
}  # may be run again when a crash left it open whether they were done

RETRY_SECONDS = 5.0

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    result: dict[str, Any] = field(default_factory=dict)
    package: Path | None = None  # a zip for the server, or a folder of results; deleted when it is uploaded


class Failed(Exception):
    """A failure that has an outcome all the same: what was done before it."""

    def __init__(self, reason: str, outcome: Outcome) -> None:
        super().__init__(reason)
        self.outcome = outcome


Handler = Callable[[dict[str, Any], threading.Event], Outcome]
"""Gets the body, with the command's `id`, and an event that is set on cancel; raises to fail, and the text
goes to the server."""


class Executor:
    """`changed` is called whenever the journal holds something new to report."""

    def __init__(
        self, journal: Journal, handlers: Mapping[str, Handler], changed: Callable[[], None]
    ) -> None:
        self._journal = journal
        self._handlers = handlers
        self._changed = changed
        self._lock = threading.Lock()
        self._lanes: dict[str, queue.SimpleQueue[str]] = {}
        self._cancels: dict[str, threading.Event] = {}

    def dispatch(self, message: Message) -> None:
        """Begin a journalled message; returns at once."""
        if message.type == "cancel":
            self._cancel(str(message.body.get("action_id", "")))
            self._journal.finish(message.id, "", {})
        else:
            self._queue(message.id, message.type)

    def resume(self, now: float) -> None:
        """Go on with what an earlier process left: what had not begun is begun, the rest has failed."""
        for command in self._journal.unfinished():
            if command.type in ("cancel", "indicators"):
                self._journal.finish(command.id, "interrupted", {})
            elif command.expires <= now:
                self._journal.finish(
                    command.id, "the command expired before the agent could carry it out", {}
                )
            elif command.status == RUNNING and command.type not in REPEATABLE:
                self._journal.finish(command.id, "the agent was restarted while it carried this out", {})
            else:
                self._queue(command.id, command.type)
        self._changed()

    def _queue(self, command_id: str, kind: str) -> None:
        lane = LANES.get(kind)
        if lane is None or kind not in self._handlers:
            self._journal.finish(command_id, f"this agent does not know the command {kind[:80]}", {})
            self._changed()
            return
        with self._lock:
            self._cancels[command_id] = threading.Event()
            if lane not in self._lanes:
                self._lanes[lane] = queue.SimpleQueue()
                threading.Thread(target=self._work, args=(self._lanes[lane],), name=lane, daemon=True).start()
            self._lanes[lane].put(command_id)

    def _cancel(self, action_id: str) -> None:
        with self._lock:
            cancelled = self._cancels.get(action_id)
        if cancelled is not None:
            cancelled.set()
            command = self._journal.get(action_id)
            if command is not None and command.status != RUNNING:
                self._journal.finish(action_id, "cancelled before it began", {})
                self._changed()

    def _work(self, lane: "queue.SimpleQueue[str]") -> None:
        while True:
            command_id = lane.get()
            command = _insist(self._journal.get, command_id)
            if command is not None and _insist(self._journal.start, command_id):
                self._changed()
                error, outcome = self._carry_out(command)
                package = str(outcome.package or "")
                _insist(self._journal.finish, command_id, error, outcome.result, package)
                self._changed()
            with self._lock:
                self._cancels.pop(command_id, None)

    def _carry_out(self, command: Command) -> tuple[str, Outcome]:
        """The error, empty for success, and the outcome."""
        log.info("carrying out %s %s", command.type, command.id)
        try:
            body = {**command.body, "id": command.id}
            return "", self._handlers[command.type](body, self._cancels[command.id])
        except Failed as failure:
            return str(failure), failure.outcome
        except Exception as error:
            log.exception("%s %s failed", command.type, command.id)
            return str(error) or type(error).__name__, Outcome()


def _insist(
    step: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Repeat a step of the journal until the disk takes it: what was done must not be forgotten."""
    while True:
        try:
            return step(*arguments, **named)
        except sqlite3.Error:
            log.exception("the journal cannot be written; trying again")
            time.sleep(RETRY_SECONDS)
