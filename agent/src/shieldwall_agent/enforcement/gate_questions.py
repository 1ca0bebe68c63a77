"""What the kernel asks before each execution by fanotify, and the answers.

While a question is open its asker waits: all work that can take long is done in the hash queue, and each
question has a deadline and is then allowed.

Cleared inodes get an ignore mark and cost nothing until they are written to or the list changes. Known bad
inodes get an open mark too, so that `ld.so FILE`, interpreters and readers are refused. A file whose
hashing outlasts the deadline runs this once; when it proves bad, the responder is told to stop it and the
next execution is refused. Known limits: memfd, FUSE and network filesystems are not gated, and a never
seen bad file can be read until it is first executed or inspected.
"""

import collections
import contextlib
import heapq
import logging
import os
import select
import socket
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement.fanotify import FAN_OPEN_EXEC_PERM, Group, PermissionEvent
from shieldwall_agent.enforcement.file_identity import FileKey, protected_files
from shieldwall_agent.enforcement.filesystems import MountWatch
from shieldwall_agent.enforcement.gate_reports import GateReports, ListedFile
from shieldwall_agent.enforcement.hash_queue import Hashes, HashQueue
from shieldwall_agent.enforcement.policy import PolicyStore
from shieldwall_agent.enforcement.restriction import Restriction

CANARY = "/bin/true"
MOST_KNOWN = 20_000  # files whose hashes are kept

log = logging.getLogger(__name__)


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


class Questions:
    """`roots` limits it to the filesystems of these paths (all local ones by default). `trusted` gives the
    processes that may open bad files. Counts into `health`."""

    def __init__(
        self,
        policy: PolicyStore,
        reports: GateReports,
        trusted: Callable[[], Collection[int]],
        health: dict[str, Any],
        roots: Sequence[Path] | None,
        deadline: float,
    ) -> None:
        self._policy = policy
        self._reports = reports
        self._trusted = trusted
        self._health = health
        self._roots = roots
        self._deadline = deadline
        self._group = Group()
        self._mounts = MountWatch()
        self._hashing = HashQueue()
        self._results, self._results_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._results.setblocking(False)
        self._finished: collections.deque[tuple[FileKey, Hashes | None]] = collections.deque()
        self._known: collections.OrderedDict[tuple[int, int], _Known] = collections.OrderedDict()
        self._waiting: dict[tuple[int, int], _Waiting] = {}
        self._deadlines: list[tuple[float, int, tuple[int, int], PermissionEvent]] = []
        self._watched: set[int] = set()
        self._protected = protected_files()
        self._kinds: tuple[str, ...] = ()
        self._watching = False
        self._restriction: Restriction | None = None
        self._pid = os.getpid()
        self._canary_pid = 0

    def close(self) -> None:
        """Releases whoever waits."""
        self._group.close()
        self._mounts.close()

    def register(self, poll: "select.poll") -> None:
        poll.register(self._group.fd, select.POLLIN)
        poll.register(self._mounts.fileno(), self._mounts.events)
        poll.register(self._results.fileno(), select.POLLIN)

    def ready(self, fd: int) -> bool:
        """Handle what is to be read from a descriptor, if it is one of ours."""
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
        else:
            return False
        return True

    def next_deadline(self) -> float | None:
        return self._deadlines[0][0] if self._deadlines else None

    def reap_canary(self) -> None:
        if self._canary_pid and os.waitpid(self._canary_pid, os.WNOHANG)[0]:
            self._canary_pid = 0

    def reconsider(self, kinds: tuple[str, ...], watch: bool, restriction: Restriction | None = None) -> None:
        """After a change of the list every file is asked about again; the bad ones are guarded at once.

        `kinds`: the hashes to make. Without `watch` only known bad files are guarded, as something else
        refuses executions. A `restriction` is asked about each file beside the list."""
        self._kinds = kinds
        self._restriction = restriction
        self._watching = (watch and bool(kinds)) or restriction is not None
        self._group.forget_inodes()
        self._watch_filesystems()
        for known in list(self._known.values()):
            known.denied = False
            self._find(known)

    def inspect(self, fd: int) -> None:
        """Hash a file that a sensor saw written, so that it is known before anybody executes it.

        The sensor opens it: we would have to answer our own question."""
        key = FileKey.of(os.fstat(fd))
        known = self._known.get(key.place)
        if self._kinds and key.place not in self._waiting and not (known and known.key == key):
            self._start_hashing(fd, key)

    def guard(self, file: ListedFile) -> None:
        """Be asked before anybody reads a file that was found bad elsewhere."""
        with contextlib.suppress(OSError), _opened(file.path, (file.device, file.inode)) as fd:
            self._group.guard(fd)

    # Questions

    def _handle(self, event: PermissionEvent) -> None:
        if event.fd < 0:
            self._health["lost"] += 1
            return
        answered = False
        try:
            if event.asks:
                self._health["asked"] += 1
                if event.pid == self._canary_pid:
                    self._health["canary"] = "answered"
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
        if event.pid == self._pid or event.pid in self._trusted() or key.place in self._protected:
            return False
        if self._restriction is not None and event.mask & FAN_OPEN_EXEC_PERM:
            path = os.readlink(f"/proc/self/fd/{event.fd}")
            if not self._restriction.allows(path, os.fstat(event.fd)):
                self._restrict(event, path, key)
                return True
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

    def _restrict(self, event: PermissionEvent, path: str, key: FileKey) -> None:
        try:
            self._health["denied"] += 1
            self._reports.restricted(path, key.inode, key.size, event.pid)
        except Exception:
            log.exception("a refusal could not be reported")
        self._answer(event, False)

    def _decide(self, event: PermissionEvent, known: _Known) -> None:
        rule = self._policy.file_rule(known.hashes)
        if rule is None or rule.action == "Allowed":
            if event.mask & FAN_OPEN_EXEC_PERM and known.key.settled:
                self._clear(event.fd, known)
            self._answer(event, True)
            return
        try:
            if rule.denies:
                self._health["denied"] += 1
                self._deny_from_now(event.fd, known)
            self._reports.tell(rule, _file(known), event.pid)
            if rule.action == "BlockAndRemediate":
                self._reports.found(rule, _file(known), late=False)
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

    def let_pass_late(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, place, event = heapq.heappop(self._deadlines)
            waiting = self._waiting.get(place)
            if waiting is None or not any(event is other for other in waiting.events):
                continue
            waiting.events = [other for other in waiting.events if other is not event]
            waiting.late.append(event.pid)
            self._health["late"] += 1
            self._answer(event, True)

    # Hashes

    def _start_hashing(self, fd: int, key: FileKey) -> _Waiting | None:
        def done(hashes: Hashes | None) -> None:
            self._finished.append((key, hashes))
            self._results_in.send(b"!")

        if not self._hashing.submit(fd, self._kinds, done):
            self._health["lost"] += 1
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
            self._health["lost"] += 1
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
            with _opened(known.path, known.key.place) as fd:
                self._deny_from_now(fd, known)
        except OSError:
            if not late:
                self._known.pop(known.key.place, None)
                return
        for pid in late:
            self._reports.tell(rule, _file(known), pid, executing=True)
        if late or rule.action == "BlockAndRemediate":
            self._reports.found(rule, _file(known), late=bool(late))

    def _written(self, fd: int) -> None:
        """A cleared or guarded file may have been written to: hash what it is now.

        Even if it looks unchanged: on tmpfs a write through a shared mapping does not alter its times."""
        key = FileKey.of(os.fstat(fd))
        if key.place not in self._known:
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

    def _watch_filesystems(self) -> None:
        if not self._watching:
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
        self._health["filesystems"] = len(self._watched)

    def _release_canary(self) -> None:
        """Execute something harmless: only if we are asked about it does the kernel ask us at all."""
        self._health["canary"] = "silent"
        if not self._canary_pid:
            self._canary_pid = os.fork()  # posix_spawn would wait for the very answer that we give
            if not self._canary_pid:
                try:
                    os.execv(CANARY, [CANARY])  # noqa: S606
                finally:
                    os._exit(1)


def _file(known: _Known) -> ListedFile:
    return ListedFile(known.path, known.key.device, known.key.inode, known.key.size, known.hashes)


@contextlib.contextmanager
def _opened(path: str, place: tuple[int, int]) -> Iterator[int]:
    """The file by its path without opening it for real (which we would have to allow ourselves)."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if FileKey.of(os.fstat(fd)).place != place:
            raise FileNotFoundError(path)
        yield fd
    finally:
        os.close(fd)
