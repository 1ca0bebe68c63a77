"""Stopping processes for good: found by the file they run, frozen as a tree, then killed by pidfd.

A process is its pid and its start time. Never touched: pid 1, kernel threads, and the agent with all it
descends from.
"""

import os
import select
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    started: int  # clock ticks after boot
    parent: int
    kernel: bool


@dataclass(frozen=True, slots=True)
class Image:
    """The file that a process runs; `path` may lead elsewhere by now, the /proc link never does."""

    process: Process
    device: int
    inode: int
    size: int
    path: str

    @property
    def link(self) -> str:
        return f"/proc/{self.process.pid}/exe"


def process(pid: int) -> Process | None:
    """None when there is none (any more)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # Fields after the name: state, parent, ...; flags is the 7th of them, PF_KTHREAD its bit 21; the start
    # time the 20th.
    return Process(pid, int(fields[19]), int(fields[1]), bool(int(fields[6]) & 0x00200000))


def all_processes() -> list[Process]:
    return [p for name in os.listdir("/proc") if name.isdigit() and (p := process(int(name)))]


def images() -> Iterator[Image]:
    """What each process runs."""
    for running in all_processes():
        if running.kernel:
            continue
        link = f"/proc/{running.pid}/exe"
        try:
            status = os.stat(link)
            path = os.readlink(link).removesuffix(" (deleted)")
        except OSError:
            continue
        yield Image(running, status.st_dev, status.st_ino, status.st_size, path)


def protected(processes: Collection[Process]) -> set[int]:
    """Pids that are never stopped: init, kernel threads, this process, its ancestors, and its whole
    process tree."""
    parents = {p.pid: p.parent for p in processes}
    keep = {0, 1, *(p.pid for p in processes if p.kernel)}
    pid = os.getpid()
    while pid > 1 and pid not in keep:
        keep.add(pid)
        pid = parents.get(pid, 0)
    supervisor = parents.get(os.getpid(), 0)
    siblings = {p.pid for p in processes if p.parent == supervisor and _same_program(p.pid)}
    return keep | siblings


def kill_trees(roots: Collection[Process]) -> int:
    """Kill these processes with all their descendants; how many have gone.

    Frozen first, parents before children, so that none of them forks on while the others die."""
    frozen: dict[int, int] = {}  # pid to pidfd
    try:
        found = True
        while found:  # a child born before its parent froze shows in the next round
            found = False
            running = all_processes()
            for member in trees(roots, running, protected(running)):
                if member.pid not in frozen and (fd := _open(member)) is not None:
                    frozen[member.pid] = fd
                    _send(fd, signal.SIGSTOP)
                    found = True
        for fd in frozen.values():
            _send(fd, signal.SIGKILL)
        deadline = time.monotonic() + KILL_SECONDS
        return sum(_gone(fd, deadline) for fd in frozen.values())
    finally:
        for fd in frozen.values():
            os.close(fd)


def trees(roots: Collection[Process], running: Collection[Process], keep: Collection[int]) -> list[Process]:
    """The roots that still run and their descendants, parents first. What is in `keep` stays, with all
    that is below it: were init asked for, everything would be."""
    children: dict[int, list[Process]] = {}
    alive = {(p.pid, p.started) for p in running}
    for member in running:
        children.setdefault(member.parent, []).append(member)
    ordered = [root for root in roots if (root.pid, root.started) in alive and root.pid not in keep]
    seen = {root.pid for root in ordered}
    for member in ordered:
        for child in children.get(member.pid, ()):
            if child.pid not in seen and child.pid not in keep:
                seen.add(child.pid)
                ordered.append(child)
    return ordered


def _open(member: Process) -> int | None:
    """A pidfd for exactly this process; None when it has gone, or its pid is another's by now."""
    try:
        fd = os.pidfd_open(member.pid)
    except OSError:
        return None
    now = process(member.pid)
    if now is None or now.started != member.started:
        os.close(fd)
        return None
    return fd


def _send(fd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass


def _gone(fd: int, deadline: float) -> bool:
    """A pidfd becomes readable when its process has ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _same_program(pid: int) -> bool:
    """Whether a process was forked off the agent's supervisor rather than started by it."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as theirs, open("/proc/self/cmdline", "rb") as ours:
            return theirs.read() == ours.read()
    except OSError:
        return False
