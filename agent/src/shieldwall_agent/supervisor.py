"""The parent of the agent's processes: starts them, restarts them, kills one that no longer answers.

It stays small and has one thread: it only forks, waits and answers `status`. Each child is joined to it by a
socket pair on which it beats; one that misses its deadline is killed (a stuck gate would hang every exec).
"""

import contextlib
import ctypes
import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shieldwall_agent import ipc
from shieldwall_agent.systemd_notify import Notifier

FIRST_RESTART = 0.1  # seconds; doubles with each crash
LAST_RESTART = 30.0
STEADY_SECONDS = 60.0  # a child that ran this long starts anew with the first pause
STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8  # of mallopt(3)
_TICK = 0.5

log = logging.getLogger(__name__)

Run = Callable[[ipc.Heart], None]
"""What a child does: return to end well, raise to be restarted. SIGTERM asks it to end."""


@dataclass
class Child:
    """A process to keep alive.

    `deadline`: seconds without a beat after which it is killed. `orphaned`: its signal when the parent dies.
    """

    name: str
    run: Run
    deadline: float
    orphaned: signal.Signals = signal.SIGTERM
    pid: int = 0
    pair: socket.socket | None = None
    started: float = 0.0  # monotonic, as all here
    last_beat: float = 0.0
    next_start: float = 0.0
    pause: float = FIRST_RESTART
    restarts: int = 0
    killed_stuck: int = 0
    finished: bool = False
    health: dict[str, Any] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        return {
            "pid": self.pid,
            "running": self.pid > 0,
            "restarts": self.restarts,
            "killed_stuck": self.killed_stuck,
            **self.health,
        }


class Supervisor:
    def __init__(self, folder: Path, children: list[Child]) -> None:
        self._folder = folder
        self._children = children
        self._selector = selectors.DefaultSelector()
        self._notifier = Notifier()
        self._stopping = False
        self._signals: socket.socket
        self._control: socket.socket

    def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when every child has gone."""
        self._catch_signals()
        self._control = ipc.listen(self._folder, ipc.CONTROL)
        self._selector.register(self._control, selectors.EVENT_READ, self._accept)
        with contextlib.suppress(AttributeError):  # a C library without it
            # One heap for all threads of a child: each more would keep what its peak once took.
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
        gc.collect()
        gc.freeze()  # what is loaded by now stays shared with the children
        gc.set_threshold(20_000)  # events make many objects and no cycles
        try:
            while not self._stopping:
                self._start_due()
                self._kill_stuck()
                self._notifier.tick(all(child.pid for child in self._children if not child.finished))
                self._wait(_TICK)
        finally:
            self._notifier.stopping()
            self._stop_all()
            (self._folder / ipc.CONTROL).unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "processes": {child.name: child.state() for child in self._children}}

    def _catch_signals(self) -> None:
        self._signals, write = socket.socketpair()
        for end in (self._signals, write):
            end.setblocking(False)
        self._wakeup = write
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stopping", True))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(self._signals, selectors.EVENT_READ, self._drain_signals)

    def _drain_signals(self, source: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            source.recv(4096)

    def _wait(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data(key.fileobj)
        self._reap()

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and not child.finished and now >= child.next_start:
                self._start(child)

    def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ipc.LARGEST_MESSAGE)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            log.error("%s cannot be started: %s", child.name, error)
            ours.close()
            theirs.close()
            child.next_start = time.monotonic() + LAST_RESTART
            return
        if not pid:
            self._become(child, theirs, parent)
        theirs.close()
        ours.setblocking(False)
        child.pid, child.pair, child.health = pid, ours, {}
        child.started = child.last_beat = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, lambda _: self._hear(child))
        log.info("%s started as %d", child.name, pid)

    def _become(self, child: Child, pair: socket.socket, parent: int) -> None:
        """In the new process; never returns."""
        status = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, child.orphaned)
            if os.getppid() != parent:
                os._exit(0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in self._children:
                if other.pair is not None:
                    other.pair.close()
            self._control.close()
            self._signals.close()
            self._wakeup.close()
            self._selector.close()
            threading.excepthook = _die
            child.run(ipc.Heart(pair))
            status = 0
        except BaseException:
            log.exception("%s crashed", child.name)
        finally:
            with contextlib.suppress(Exception):
                logging.shutdown()
                sys.stderr.flush()
            os._exit(status)

    def _hear(self, child: Child) -> None:
        assert child.pair is not None
        while True:
            try:
                message = child.pair.recv(ipc.LARGEST_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._selector.unregister(child.pair)
                child.pair.close()
                child.pair = None
                return
            child.last_beat = time.monotonic()
            with contextlib.suppress(ValueError):
                if health := json.loads(message):
                    child.health = health

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.pid and now - child.last_beat > child.deadline:
                log.error("%s has not answered for %.1f s; killing it", child.name, now - child.last_beat)
                child.killed_stuck += 1
                child.last_beat = now
                os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        if child.pair is not None:
            self._hear(child)
        if child.pair is not None:
            self._selector.unregister(child.pair)
            child.pair.close()
            child.pair = None
        child.pid = 0
        if code == 0:
            child.finished = True
            log.info("%s ended", child.name)
            return
        now = time.monotonic()
        if now - child.started > STEADY_SECONDS:
            child.pause = FIRST_RESTART
        child.next_start = now + child.pause
        child.restarts += 1
        if not self._stopping:
            log.error("%s ended with %d; starting it again in %.1f s", child.name, code, child.pause)
        child.pause = min(LAST_RESTART, child.pause * 2)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            peer, _ = server.accept()
            with peer:
                peer.settimeout(1.0)
                if not ipc.trusted(peer):
                    return
                json.loads(peer.recv(ipc.LARGEST_MESSAGE))
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ipc.LARGEST_MESSAGE)
                peer.send(json.dumps(self.status()).encode())

    def _stop_all(self) -> None:
        """SIGTERM, then SIGKILL. The sensor process goes last: the others' last events pass through it."""
        for child in reversed(self._children):
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
                self._await_end(child)

    def _await_end(self, child: Child) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while child.pid:
            if time.monotonic() > deadline:
                log.error("%s does not stop; killing it", child.name)
                os.kill(child.pid, signal.SIGKILL)
                deadline += STOP_SECONDS
            self._wait(0.05)


def _die(failure: threading.ExceptHookArgs) -> None:
    """A process that has lost a thread works only in part; it is better started anew."""
    log.critical("thread %s crashed", failure.thread and failure.thread.name, exc_info=failure.exc_value)
    logging.shutdown()
    os._exit(70)
