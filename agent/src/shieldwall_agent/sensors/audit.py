"""Processes, outgoing connections and logons by the kernel's audit, over netlink."""

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable

from shieldwall_agent.clock import TICKS, boot_seconds
from shieldwall_agent.events import events_lost
from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import audit_connections as connections
from shieldwall_agent.sensors import audit_records as records
from shieldwall_agent.sensors import canaries
from shieldwall_agent.sensors.audit_rules import RULES
from shieldwall_agent.sensors.base import Surroundings, Unavailable, Worker
from shieldwall_agent.sensors.execution import executed
from shieldwall_agent.sensors.own import Own

BACKLOG = 8192
MOST_OPEN = 4096
LOOK_SECONDS = 30.0

_NETLINK_AUDIT, _ADD_MEMBERSHIP, _SOL_NETLINK, _RCVBUFFORCE = 9, 1, 270, 33
_ERROR, _GET, _SET, _ADD_RULE, _DEL_RULE = 2, 1000, 1001, 1011, 1012
_HEADER = struct.Struct("=IHHII")
_STATUS = struct.Struct("=10I")  # mask, enabled, failure, pid, rate, backlog limit, lost, backlog, -, wait
_OLD = "32-bit programs, and until they fork processes older than audit"


class AuditNetlink:
    """Takes the records as audit's daemon, or beside one from the group that it leaves to readers."""

    name = "audit netlink"
    covers: tuple[str, ...] = ("processes", "network", "logons")
    misses = {
        "processes": _OLD,
        "network": f"inbound connections, how those end that are not waited for, {_OLD}",
        "logons": "programs that tell audit nothing",
    }

    def __init__(
        self, around: Surroundings, own: Own, active: set[str], rules: Iterable[str] = tuple(RULES)
    ) -> None:
        """`rules` names the sensors that audit is to be given rules for."""
        self._around = around
        self._own = own
        self._active = active
        self._wanted = [name for name in RULES if name in rules]
        self.refused: dict[str, str] = {}
        self._seen = dict.fromkeys(self.covers, 0)
        self._open: dict[int, dict[int, dict[str, str]]] = {}
        self._lost = 0
        self._looked = time.monotonic()
        self._before: tuple[int, ...] | None = None
        self._owner = False
        self._rules: list[bytes] = []
        self._sockets: list[socket.socket] = []
        self._worker = Worker("audit", self._step)

    def start(self) -> None:
        if os.uname().machine != "x86_64":
            raise Unavailable("no rule is known for this machine")
        try:
            control = self._socket()
            status = _STATUS.unpack_from(self._ask(control, _GET, b"").ljust(_STATUS.size, b"\0"))
            if status[1] == 2:
                raise Unavailable("audit is locked")
            self._before = status
            self._owner = status[3] == 0
            reader = control if self._owner else self._socket()
            reader.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 8 << 20)
            if not self._owner:
                reader.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, 1)
            for sensor in self._wanted:
                self._add_rules(control, sensor)
            if self._owner:
                # Bits 1 to 32: enabled, failure, pid, backlog limit and wait.
                self._set(control, 0x37, 1, 0, os.getpid(), BACKLOG)
        except OSError as error:
            self.stop()
            raise Unavailable(f"audit cannot be used: {error}") from error
        self._around.processes.seed()
        self._worker.start()

    def stop(self) -> None:
        self._worker.stop()
        try:
            if self._sockets:
                control = self._sockets[0]
                for rule in self._rules:
                    self._ask(control, _DEL_RULE, rule)
                if self._owner and self._before:
                    old = self._before
                    self._set(control, 0x37, old[1], old[2], 0, old[5], old[9])
        except OSError:
            pass
        for opened in self._sockets:
            opened.close()
        self._sockets, self._rules, self._owner = [], [], False

    def alive(self) -> bool:
        return self._worker.alive()

    def seen(self, sensor: str) -> int:
        return self._seen[sensor]

    def lost(self) -> int:
        return self._lost

    def _add_rules(self, control: socket.socket, sensor: str) -> None:
        for rule in RULES[sensor]:
            try:
                self._ask(control, _ADD_RULE, rule)
            except OSError as error:
                if error.errno != errno.EEXIST:  # left by an agent that was killed
                    self.refused[sensor] = f"the rule is refused: {error.strerror}"
                    return
            self._rules.append(rule)

    def _socket(self) -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_AUDIT)
        self._sockets.append(opened)
        opened.settimeout(0.5)
        opened.bind((0, 0))
        return opened

    def _set(
        self,
        control: socket.socket,
        mask: int,
        enabled: int,
        failure: int,
        pid: int,
        backlog: int,
        wait: int = 0,
    ) -> None:
        self._ask(control, _SET, _STATUS.pack(mask, enabled, failure, pid, 0, backlog, 0, 0, 0, wait))

    def _ask(self, control: socket.socket, kind: int, body: bytes) -> bytes:
        """Send a request and wait for its answer; records that come between are dropped."""
        control.send(_HEADER.pack(_HEADER.size + len(body), kind, 5, 1, 0) + body)
        answer = b""
        for _ in range(20_000):
            data = control.recv(65_536)
            _, found, _, _, _ = _HEADER.unpack_from(data)
            if found == _GET:
                answer = data[_HEADER.size :]
            elif found == _ERROR:
                (code,) = struct.unpack_from("=i", data, _HEADER.size)
                if code:
                    raise OSError(-code, os.strerror(-code))
                if kind != _GET or answer:
                    return answer
            if kind == _GET and answer:
                return answer
        raise OSError("audit does not answer")

    def _step(self) -> None:
        if "processes" in self._active and time.monotonic() - self._looked > LOOK_SECONDS:
            self._forget_ended()
        try:
            data = self._sockets[-1].recv(65_536)
        except TimeoutError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # the kernel does not say how many
                raise
            self._lost += 1
            self._around.sink.emit(events_lost("audit netlink", 1, "at least one: the socket was full"))
            return
        _, kind, _, _, _ = _HEADER.unpack_from(data)
        found = records.record(data[_HEADER.size :].rstrip(b"\0\n").decode("utf-8", "replace"))
        if found:
            self._take(kind, *found)

    def _take(self, kind: int, serial: int, when: float, fields: dict[str, str]) -> None:
        if kind == records.EOE:
            self._told(when, self._open.pop(serial, {}))
        elif kind in (records.SYSCALL, records.EXECVE, records.SOCKADDR):
            self._open.setdefault(serial, {}).setdefault(kind, {}).update(fields)
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
        elif kind == canaries.AUDIT_TEST:
            self._seen["logons"] += fields.get("op") == canaries.NAME
        elif event := records.logon(kind, when, fields):
            self._seen["logons"] += 1
            if "logons" in self._active:
                self._around.sink.emit(event)

    def _forget_ended(self) -> None:
        """Audit tells of no exits, and pids come round again."""
        self._looked = time.monotonic()
        processes = self._around.processes
        believed = [process.pid for process in processes.live()]
        alive = set(os.listdir("/proc"))
        for pid in believed:
            if str(pid) not in alive:
                processes.exit(pid)

    def _told(self, when: float, parts: dict[int, dict[str, str]]) -> None:
        call = parts.get(records.SYSCALL)
        if call and (line := parts.get(records.EXECVE)):
            self._execution(when, call, line)
        elif call and (end := parts.get(records.SOCKADDR)) and (remote := connections.remote_end(end)):
            self._connection(when, call, remote)

    def _execution(self, when: float, call: dict[str, str], line: dict[str, str]) -> None:
        self._seen["processes"] += 1
        process = self._process(when, call)
        event = executed(
            self._around,
            process,
            when=when,
            name=records.plain(call.get("exe", "")),
            command_line=records.arguments(line),
        )
        if "processes" in self._active and not self._own.is_own(process):
            self._around.sink.emit(event)

    def _connection(self, when: float, call: dict[str, str], remote: tuple[str, int]) -> None:
        self._seen["network"] += 1
        if "network" not in self._active:
            return
        process = self._caller(when, call)
        if not self._own.is_own(process) and (event := connections.connection(call, remote, process, when)):
            self._around.sink.emit(event)

    def _caller(self, when: float, call: dict[str, str]) -> Process:
        """Who made a call; by its image no other that got its pid, nor what it has become since."""
        pid, image = records.number(call, "pid"), records.plain(call.get("exe", ""))
        image = image.removesuffix(" (deleted)")
        processes = self._around.processes
        found = processes.known(pid)
        if found is None or found.path != image:
            found = processes.look(pid)
        if found is not None and found.path == image:
            return found
        ppid, uid = records.number(call, "ppid"), records.number(call, "uid")
        ticks = int((when - boot_seconds()) * TICKS)
        return Process(pid, ticks, ppid, uid, image, parent=processes.find(ppid))

    def _process(self, when: float, call: dict[str, str]) -> Process:
        pid, ppid, uid = (records.number(call, name) for name in ("pid", "ppid", "uid"))
        # One that is gone is dated by its execution.
        ticks = int((when - boot_seconds()) * TICKS)
        return self._around.processes.look(pid) or self._around.processes.fork(pid, ticks, ppid, uid)
