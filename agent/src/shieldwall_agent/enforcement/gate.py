"""The gate: asked by the kernel before each execution, it refuses files on the indicator list.

A process of its own, because while it is stuck so is every execution: all work that can take long is done
elsewhere (the hash queue, the responder), each question has a deadline and is then allowed, and its heart
beats in the very loop that answers. Killed, it lets everything pass. With no file indicator it watches
nothing.

Cleared inodes get an ignore mark and cost nothing until they are written to or the list changes. Known bad
inodes get an open mark too, so that `ld.so FILE`, interpreters and readers are refused. A file whose
hashing outlasts the deadline runs this once; when it proves bad, the responder is told to stop it and the
next execution is refused. Known limits: memfd, FUSE and network filesystems are not gated, and a never
seen bad file can be read until it is first executed or inspected.
"""

import argparse
import collections
import contextlib
import heapq
import logging
import os
import queue
import select
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shieldwall_agent.enforcement.fanotify import FAN_OPEN_EXEC_PERM, Group, PermissionEvent
from shieldwall_agent.enforcement.file_identity import FileKey, protected_files
from shieldwall_agent.enforcement.filesystems import MountWatch
from shieldwall_agent.enforcement.gate_server import GateServer
from shieldwall_agent.enforcement.hash_queue import KINDS, Hashes, HashQueue
from shieldwall_agent.enforcement.policy import Indicator, PolicyStore
from shieldwall_agent.enforcement.reports import file_event, name_account
from shieldwall_agent.events import Event, Sink

DEADLINE = 0.25  # seconds for one decision
BEAT = 0.25
CANARY = "/bin/true"
MOST_KNOWN = 20_000  # files whose hashes are kept
MOST_REPORTS = 10_000
_EVIDENCE = {"FileSha256", "FileSha1"}  # hashed whatever the list asks for: events carry them
_REPEAT_SECONDS = 1.0  # one refused attempt asks more than once (a shell that tries the file as a script)

log = logging.getLogger(__name__)


class Heart(Protocol):
    def beat(self, health: dict[str, Any] | None = None) -> None: ...


@dataclass
class _Known:
    """What is known of one inode."""

    key: FileKey
    path: str
    hashes: Hashes
    denied: bool = False


@dataclass
class _Waiting:
    """Questions about a file that is being hashed. `late`: pids that were let pass meanwhile."""

    key: FileKey
    path: str
    events: list[PermissionEvent] = field(default_factory=list)
    late: list[int] = field(default_factory=list)


class Gate:
    """`roots` limits it to the filesystems of these paths (all local ones by default)."""

    def __init__(
        self,
        folder: Path,
        sink: Sink,
        heart: Heart,
        roots: Sequence[Path] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._sink = sink
        self._heart = heart
        self._roots = roots
        self._deadline = deadline
        self._policy = PolicyStore(folder)
        self._group = Group()
        self._mounts = MountWatch()
        self._hashing = HashQueue()
        self._results, self._results_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._results.setblocking(False)
        self._finished: collections.deque[tuple[FileKey, Hashes | None]] = collections.deque()
        self._poll = select.poll()
        self._server = GateServer(folder, self._poll)
        self._reports: queue.SimpleQueue[Event] = queue.SimpleQueue()
        threading.Thread(target=self._send_reports, name="reports", daemon=True).start()
        self._known: collections.OrderedDict[tuple[int, int], _Known] = collections.OrderedDict()
        self._waiting: dict[tuple[int, int], _Waiting] = {}
        self._deadlines: list[tuple[float, int, tuple[int, int], PermissionEvent]] = []
        self._reported: dict[tuple[int, int, str], float] = {}
        self._watched: set[int] = set()
        self._protected = protected_files()
        self._kinds: tuple[str, ...] = ()
        self._version = -1
        self._next_expiry: float | None = None
        self._stopping = False
        self._pid = os.getpid()
        self._canary_pid = 0
        self.health: dict[str, Any] = {
            "mechanism": "fanotify", "asked": 0, "denied": 0, "late": 0, "lost": 0, "filesystems": 0,
            "canary": "",
        }  # fmt: skip

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        """Until `stop`. Always releases whoever waits."""
        for fd, events in (
            (self._group.fd, select.POLLIN),
            (self._mounts.fileno(), self._mounts.events),
            (self._results.fileno(), select.POLLIN),
        ):
            self._poll.register(fd, events)
        try:
            self._reconsider()
            next_beat = 0.0
            while not self._stopping:
                now = time.monotonic()
                if now >= next_beat:
                    next_beat = now + BEAT
                    self._tick()
                wait = min(next_beat, self._deadlines[0][0] if self._deadlines else next_beat) - now
                for fd, _ in self._poll.poll(max(0.0, wait) * 1000):
                    self._ready(fd)
                self._let_pass_late()
        finally:
            self._group.close()
            self._server.close()
            self._mounts.close()
            self._policy.close()

    def _ready(self, fd: int) -> None:
        if fd == self._group.fd:
            for event in self._group.read():
                self._handle(event)
        elif fd == self._results.fileno():
            with contextlib.suppress(BlockingIOError):
                self._results.recv(4096)
            while self._finished:
                self._hashed(*self._finished.popleft())
        elif fd == self._mounts.fileno():
            self._watch_filesystems()
        elif fd == self._server.fileno():
            self._server.accept()
        else:
            self._hear(fd)

    def _tick(self) -> None:
        self._heart.beat(self.health)
        try:
            version = self._policy.version
            expired = self._next_expiry is not None and time.time() >= self._next_expiry
            if version != self._version or expired:
                self._reconsider()
        except sqlite3.Error:
            log.exception("the indicator list cannot be read")
        if self._canary_pid and os.waitpid(self._canary_pid, os.WNOHANG)[0]:
            self._canary_pid = 0
        now = time.monotonic()
        self._reported = {what: when for what, when in self._reported.items() if now - when < _REPEAT_SECONDS}

    # Questions

    def _handle(self, event: PermissionEvent) -> None:
        if event.fd < 0:
            self.health["lost"] += 1
            return
        answered = False
        try:
            if event.asks:
                self.health["asked"] += 1
                if event.pid == self._canary_pid:
                    self.health["canary"] = "answered"
                answered = self._consider(event)
            else:
                self._written(event.fd)
                os.close(event.fd)
                return
        except Exception:
            log.exception("a decision failed; allowed")
        if not answered:
            self._answer(event, True)

    def _consider(self, event: PermissionEvent) -> bool:
        """True when the event is answered or waits for its hash."""
        key = FileKey.of(os.fstat(event.fd))
        if event.pid == self._pid or event.pid in self._server.trusted or key.place in self._protected:
            return False
        if not self._kinds:
            return False
        known = self._known.get(key.place)
        if known and known.key == key and all(kind in known.hashes for kind in self._kinds):
            self._known.move_to_end(key.place)
            self._decide(event, known)
            return True
        waiting = self._waiting.get(key.place)
        if waiting is None or waiting.key != key:
            waiting = self._start_hashing(event.fd, key)
            if waiting is None:
                return False
        waiting.events.append(event)
        until = time.monotonic() + self._deadline
        heapq.heappush(self._deadlines, (until, event.fd, key.place, event))
        return True

    def _decide(self, event: PermissionEvent, known: _Known) -> None:
        rule = self._policy.file_rule(known.hashes)
        if rule is None or rule.action == "Allowed":
            if event.mask & FAN_OPEN_EXEC_PERM and known.key.settled:
                self._clear(event.fd, known)
            self._answer(event, True)
            return
        try:
            if rule.denies:
                self.health["denied"] += 1
                self._deny_from_now(event.fd, known)
            self._report(rule, known, event.pid)
            if rule.action == "BlockAndRemediate":
                self._tell_found(rule, known, late=False)
        except Exception:
            log.exception("a decision could not be reported")
        self._answer(event, not rule.denies)

    def _answer(self, event: PermissionEvent, allow: bool) -> None:
        try:
            self._group.answer(event, allow)
        except OSError:
            pass  # the asker was killed meanwhile
        finally:
            os.close(event.fd)

    def _let_pass_late(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, place, event = heapq.heappop(self._deadlines)
            waiting = self._waiting.get(place)
            if waiting is None or not any(event is other for other in waiting.events):
                continue
            waiting.events = [other for other in waiting.events if other is not event]
            waiting.late.append(event.pid)
            self.health["late"] += 1
            self._answer(event, True)

    # Hashes

    def _start_hashing(self, fd: int, key: FileKey) -> _Waiting | None:
        def done(hashes: Hashes | None) -> None:
            self._finished.append((key, hashes))
            self._results_in.send(b"!")

        if not self._hashing.submit(fd, self._kinds, done):
            self.health["lost"] += 1
            return None
        replaced = self._waiting.get(key.place)
        waiting = _Waiting(key, os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)"))
        if replaced:  # the file changed under its hash; whoever waits gets the verdict on what it is now
            waiting.events, waiting.late = replaced.events, replaced.late
        self._waiting[key.place] = waiting
        return waiting

    def _hashed(self, key: FileKey, hashes: Hashes | None) -> None:
        waiting = self._waiting.get(key.place)
        if waiting is None or waiting.key != key:
            return
        if hashes is not None and any(kind not in hashes for kind in self._kinds) and waiting.events:
            del self._waiting[key.place]  # the list asks for another kind since then
            again = self._start_hashing(waiting.events[0].fd, key)
            if again is not None:
                again.events, again.late = waiting.events, waiting.late
                return
        self._waiting.pop(key.place, None)
        if hashes is None:
            self.health["lost"] += 1
            for event in waiting.events:
                self._answer(event, True)
            return
        known = _Known(key, waiting.path, hashes)
        self._remember(known)
        for event in waiting.events:
            try:
                self._decide(event, known)
            except sqlite3.Error:
                log.exception("the indicator list cannot be read; allowed")
                self._answer(event, True)
        if waiting.late or not waiting.events:
            self._find(known, waiting.late)

    def _remember(self, known: _Known) -> None:
        self._known[known.key.place] = known
        self._known.move_to_end(known.key.place)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _find(self, known: _Known, late: Sequence[int] = ()) -> None:
        """A file that nobody waits for: guard it when it is bad, and tell when it may be running."""
        rule = self._policy.file_rule(known.hashes)
        if rule is None or not rule.denies or known.key.place in self._protected:
            return
        try:
            with _opened(known) as fd:
                self._deny_from_now(fd, known)
        except OSError:
            if not late:
                self._known.pop(known.key.place, None)
                return
        for pid in late:
            self._report(rule, known, pid, executing=True)
        if late or rule.action == "BlockAndRemediate":
            self._tell_found(rule, known, late=bool(late))

    def _written(self, fd: int) -> None:
        """A cleared or guarded file was written to: hash what it is now."""
        key = FileKey.of(os.fstat(fd))
        known = self._known.get(key.place)
        if known is None or known.key == key:
            return
        del self._known[key.place]
        self._group.unclear(fd)
        self._start_hashing(fd, key)

    def _clear(self, fd: int, known: _Known) -> None:
        try:
            self._group.clear(fd)
            if FileKey.of(os.fstat(fd)) != known.key:
                self._group.unclear(fd)
        except OSError:
            pass  # asked again next time

    def _deny_from_now(self, fd: int, known: _Known) -> None:
        known.denied = True
        self._group.unclear(fd)
        self._group.guard(fd)

    # The list

    def _reconsider(self) -> None:
        """After a change of the list every file is asked about again; the bad ones are guarded at once."""
        self._version = self._policy.version
        asked = set(self._policy.file_kinds())
        self._kinds = tuple(k for k in KINDS if k in asked | _EVIDENCE) if asked else ()
        self._next_expiry = self._policy.next_expiry()
        if self._next_expiry is not None and self._next_expiry <= time.time():
            self._next_expiry = None  # the responder deletes it and thereby changes the version
        self._group.forget_inodes()
        self._watch_filesystems()
        for known in list(self._known.values()):
            known.denied = False
            self._find(known)

    def _watch_filesystems(self) -> None:
        if not self._kinds:
            if self._watched:
                self._group.unwatch_filesystems()
                self._watched.clear()
        else:
            if self._roots is None:
                places = list(self._mounts.mounts())
            else:
                places = [(os.stat(root).st_dev, str(root)) for root in self._roots]
            current: set[int] = set()
            for device, path in places:
                try:
                    if device not in self._watched:
                        self._group.watch_filesystem(path)
                    current.add(device)
                except OSError as error:
                    log.warning("executions on %s are not gated: %s", path, error)
            if current and not self._watched and self._roots is None:
                self._release_canary()
            self._watched = current
        self.health["filesystems"] = len(self._watched)

    def _release_canary(self) -> None:
        """Execute something harmless: only if we are asked about it does the kernel ask us at all."""
        self.health["canary"] = "silent"
        if not self._canary_pid:
            self._canary_pid = os.fork()  # posix_spawn would wait for the very answer that we give
            if not self._canary_pid:
                try:
                    os.execv(CANARY, [CANARY])  # noqa: S606
                finally:
                    os._exit(1)

    # The responder

    def _hear(self, fd: int) -> None:
        try:
            with self._server.hear(fd) as (message, files):
                for file in files:
                    self._inspect(file)
                if "changed" in message:
                    self._reconsider()
                    self._server.answer(fd, {"applied": message["changed"]})
        except (ValueError, TypeError, OSError, sqlite3.Error):
            log.exception("a request failed")

    def _inspect(self, fd: int) -> None:
        """Hash a file that a sensor saw written, so that it is known before anybody executes it.

        The sensor opens it: we would have to answer our own question."""
        key = FileKey.of(os.fstat(fd))
        known = self._known.get(key.place)
        if self._kinds and key.place not in self._waiting and not (known and known.key == key):
            self._start_hashing(fd, key)

    def _tell_found(self, rule: Indicator, known: _Known, late: bool) -> None:
        news = {
            "path": known.path, "device": known.key.device, "inode": known.key.inode, "hashes": known.hashes,
            "indicator": rule.id, "late": late,
        }  # fmt: skip
        self._server.tell({"found": news})

    def _report(self, rule: Indicator, known: _Known, pid: int, executing: bool = False) -> None:
        what = (pid, known.key.inode, rule.id)
        now = time.monotonic()
        if now - self._reported.get(what, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        self._reported[what] = now
        event = file_event(rule, known.path, known.hashes, known.key.size, pid, executing=executing)
        if self._reports.qsize() < MOST_REPORTS:
            self._reports.put(event)
        else:
            self.health["lost"] += 1

    def _send_reports(self) -> None:
        """In a thread: naming the account opens files, which the loop itself must not."""
        while True:
            self._sink.emit(name_account(self._reports.get()))


@contextlib.contextmanager
def _opened(known: _Known) -> Iterator[int]:
    """The file by its path without opening it for real (which we would have to allow ourselves)."""
    fd = os.open(known.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if FileKey.of(os.fstat(fd)).place != known.key.place:
            raise FileNotFoundError(known.path)
        yield fd
    finally:
        os.close(fd)


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
