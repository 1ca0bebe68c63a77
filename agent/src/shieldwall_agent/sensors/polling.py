"""Processes and connections by looking into /proc: for users without privileges. Short ones are missed."""

import os
import time

from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import addresses
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable
from shieldwall_agent.sensors.execution import executed
from shieldwall_agent.sensors.own import Own

PROCESS_SECONDS = 0.5
CONNECTION_SECONDS = 2.0


class ProcessPolling(OneThread):
    """New processes by comparing two looks."""

    name = "/proc polling"
    covers: tuple[str, ...] = ("processes",)
    misses = {"processes": f"most that run for less than {PROCESS_SECONDS} s"}

    def __init__(self, around: Surroundings, own: Own, active: set[str]) -> None:
        super().__init__("process-polling", self._step)
        self._around = around
        self._own = own
        self._active = active
        self._known: set[int] = set()

    def start(self) -> None:
        if not os.path.isdir("/proc/self"):
            raise Unavailable("/proc is not mounted")
        self._around.processes.seed()
        self._known = _pids()
        self._worker.start()

    def _step(self) -> None:
        now = _pids()
        for pid in sorted(now - self._known):
            process = self._around.processes.look(pid)
            if process is None:
                continue
            self._seen += 1
            if "processes" in self._active and not self._own.is_own(process):
                self._around.sink.emit(executed(self._around, process, when=time.time()))
        for pid in self._known - now:
            self._around.processes.exit(pid)
        self._known = now
        self._worker.wait(PROCESS_SECONDS)


class ConnectionPolling(OneThread):
    """New connections by comparing two looks at the tables of sockets."""

    name = "/proc/net polling"
    covers: tuple[str, ...] = ("network",)
    misses = {
        "network": f"connections shorter than {CONNECTION_SECONDS:.0f} s, failed ones, other namespaces"
    }

    def __init__(self, around: Surroundings, own: Own, active: set[str]) -> None:
        super().__init__("connection-polling", self._step)
        self._around = around
        self._own = own
        self._active = active
        self._known: set[tuple[object, ...]] = set()

    def start(self) -> None:
        import psutil

        try:
            self._known = set(_connections())
        except (OSError, psutil.Error) as error:
            raise Unavailable(str(error)) from error
        self._worker.start()

    def _step(self) -> None:
        now = _connections()
        for key, (pid, action, local, remote) in now.items():
            if key in self._known:
                continue
            self._seen += 1
            process: Process | None = self._around.processes.find(pid) if pid else None
            if "network" in self._active and not (process and self._own.is_own(process)):
                self._around.sink.emit(addresses.connection(action, process, time.time(), local, remote))
        self._known = set(now)
        self._worker.wait(CONNECTION_SECONDS)


_Place = tuple[str, int]


def _connections() -> dict[tuple[object, ...], tuple[int, str, _Place, _Place]]:
    import psutil  # only where nothing better runs: it takes a megabyte

    found: dict[tuple[object, ...], tuple[int, str, _Place, _Place]] = {}
    listening = set()
    rows = psutil.net_connections("tcp")
    for row in rows:
        if row.laddr and row.status == psutil.CONN_LISTEN:
            listening.add(row.laddr.port)
    for row in rows:
        if not row.laddr:
            continue
        local = (addresses.plain(row.laddr.ip), int(row.laddr.port))
        remote = (addresses.plain(row.raddr.ip), int(row.raddr.port)) if row.raddr else ("", 0)
        if row.status == psutil.CONN_LISTEN:
            action = "ListeningConnectionCreated"
        elif row.status == psutil.CONN_ESTABLISHED:
            action = "InboundConnectionAccepted" if row.laddr.port in listening else "ConnectionSuccess"
        else:
            continue
        found[(action, local, remote)] = (row.pid or 0, action, local, remote)
    return found


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}
