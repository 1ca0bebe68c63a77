"""The gate: it refuses to execute files on the indicator list, and while execution is restricted all that is
none of the system's.

Where the kernel can do so by itself (`gate_lsm`), it does; else it asks this process before each execution
(`gate_questions`). Both fail open: killed, it lets everything pass.

A process of its own, because while it is stuck so is every execution that is asked about: its heart beats in
the very loop that answers. With no file indicator and no restriction it watches nothing. Known bad files are
guarded by fanotify in both cases, as only that refuses to read them.
"""

import argparse
import logging
import select
import signal
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from shieldwall_agent.enforcement import restriction
from shieldwall_agent.enforcement.gate_lsm import LsmGate, Refusal
from shieldwall_agent.enforcement.gate_questions import Questions
from shieldwall_agent.enforcement.gate_reports import GateReports
from shieldwall_agent.enforcement.gate_server import GateServer
from shieldwall_agent.enforcement.hash_queue import KINDS
from shieldwall_agent.enforcement.policy import PolicyStore
from shieldwall_agent.events import Sink

DEADLINE = 0.25  # seconds for one decision
BEAT = 0.5
_EVIDENCE = {"FileSha256", "FileSha1"}  # hashed whatever the list asks for: events carry them

log = logging.getLogger(__name__)


class Heart(Protocol):
    def beat(self, health: dict[str, Any] | None = None) -> None: ...


class Gate:
    """`roots` limits it to the filesystems of these paths (all local ones by default), and to fanotify, as
    the kernel's own refusal is for all."""

    def __init__(
        self,
        folder: Path,
        sink: Sink,
        heart: Heart,
        roots: Sequence[Path] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._folder = folder
        self._heart = heart
        self._policy = PolicyStore(folder)
        self._poll = select.poll()
        self._server = GateServer(folder, self._poll)
        # `lsm`: why the kernel does not refuse by itself, if so.
        self.health: dict[str, Any] = {
            "mechanism": "fanotify", "asked": 0, "denied": 0, "late": 0, "lost": 0, "filesystems": 0,
            "canary": "", "lsm": "", "restricted": False,
        }  # fmt: skip
        self._reports = GateReports(sink, self._server, self.health)
        self._questions = Questions(
            self._policy, self._reports, lambda: self._server.trusted, self.health, roots, deadline
        )
        self._lsm = self._start_lsm(folder) if roots is None else None
        self._lsm_lost = 0
        self._version = -1
        self._order = 0
        self._next_expiry: float | None = None
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        """Until `stop`. Always releases whoever waits."""
        self._questions.register(self._poll)
        if self._lsm is not None:
            self._poll.register(self._lsm.fileno(), select.POLLIN)
        try:
            self._heart.beat(self.health)
            self._reconsider()
            next_beat = 0.0
            while not self._stopping:
                now = time.monotonic()
                if now >= next_beat:
                    next_beat = now + BEAT
                    self._tick()
                deadline = self._questions.next_deadline()
                wait = (next_beat if deadline is None else min(next_beat, deadline)) - now
                for fd, _ in self._poll.poll(max(0.0, wait) * 1000):
                    self._ready(fd)
                self._questions.let_pass_late()
        finally:
            self._questions.close()
            if self._lsm is not None:
                self._lsm.close()
            self._server.close()
            self._policy.close()

    def _ready(self, fd: int) -> None:
        if self._questions.ready(fd):
            return
        if self._lsm is not None and fd == self._lsm.fileno():
            self._lsm.read()
        elif fd == self._server.fileno():
            self._server.accept()
        else:
            self._hear(fd)

    def _tick(self) -> None:
        self._count_lost()
        self._heart.beat(self.health)
        try:
            version = self._policy.version
            expired = self._next_expiry is not None and time.time() >= self._next_expiry
            if version != self._version or expired or restriction.mark(self._folder) != self._order:
                self._reconsider()
        except sqlite3.Error:
            log.exception("the indicator list cannot be read")
        self._questions.reap_canary()
        self._reports.forget_old()

    # The list

    def _reconsider(self) -> None:
        """Enforce the list as it is now."""
        self._version = self._policy.version
        asked = set(self._policy.file_kinds())
        kinds = tuple(k for k in KINDS if k in asked | _EVIDENCE) if asked else ()
        self._next_expiry = self._policy.next_expiry()
        if self._next_expiry is not None and self._next_expiry <= time.time():
            self._next_expiry = None  # the responder deletes it and thereby changes the version
        served = self._apply_lsm(asked)
        self._order = restriction.mark(self._folder)
        order = restriction.load(self._folder)
        self.health["restricted"] = order is not None
        self._questions.reconsider(kinds, watch=not served, restriction=order)
        if served:
            self.health.update(mechanism="BPF LSM", canary="refused")
        else:
            self.health["mechanism"] = "fanotify"
            if self._lsm is not None:
                self._lsm.apply({})

    # The kernel's own refusal

    def _start_lsm(self, folder: Path) -> LsmGate | None:
        self._heart.beat(self.health)  # the canary may take a while
        try:
            return LsmGate(folder, self._refused)
        except (OSError, ValueError) as error:
            self.health["lsm"] = str(error)
            log.info("executions are gated by fanotify, not by BPF LSM: %s", error)
        return None

    def _apply_lsm(self, asked: set[str]) -> bool:
        """Whether the kernel refuses all that is listed by itself: it makes one kind of hash only."""
        if self._lsm is None:
            return False
        if not asked <= {self._lsm.kind}:
            self.health["lsm"] = f"it makes {self._lsm.kind} only"
            return False
        try:
            self._lsm.apply(self._policy.file_rules(self._lsm.kind))
        except OSError as error:
            self.health["lsm"] = str(error)
            log.warning("the kernel does not take the list, fanotify has to do: %s", error)
            return False
        self.health["lsm"] = ""
        return True

    def _refused(self, refusal: Refusal) -> None:
        """The kernel has refused a file, or let run one that is listed for audit."""
        try:
            rule = self._policy.file_rule(refusal.file.hashes)
            if refusal.denied:
                self.health["denied"] += 1
                self._questions.guard(refusal.file)
            if rule is not None:
                self._reports.tell(rule, refusal.file, refusal.pid, process=refusal.process)
                if rule.action == "BlockAndRemediate":
                    self._reports.found(rule, refusal.file, late=False)
        except Exception:
            log.exception("a refusal could not be reported")

    def _count_lost(self) -> None:
        if self._lsm is not None:
            lost = self._lsm.lost()
            self.health["lost"] += lost - self._lsm_lost
            self._lsm_lost = lost

    # The responder

    def _hear(self, fd: int) -> None:
        try:
            with self._server.hear(fd) as (message, files):
                for file in files:
                    self._questions.inspect(file)
                if "changed" in message:
                    self._reconsider()
                    self._server.answer(fd, {"applied": message["changed"]})
        except (ValueError, TypeError, OSError, sqlite3.Error):
            log.exception("a request failed")


class _Silent:
    def beat(self, health: dict[str, Any] | None = None) -> None:
        return None


def main() -> None:
    """`python -m shieldwall_agent.enforcement.gate STATE_FOLDER [--root PATH]...`, reporting to the sensor
    process."""
    from shieldwall_agent.remote_sink import RemoteSink

    parser = argparse.ArgumentParser(prog="shieldwall-agent-gate")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=Path, action="append")
    parser.add_argument("--deadline", type=float, default=DEADLINE)
    arguments = parser.parse_args()
    gate = Gate(
        arguments.folder, RemoteSink(arguments.folder, "gate"), _Silent(), arguments.root, arguments.deadline
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: gate.stop())
    gate.run()


if __name__ == "__main__":
    main()
