"""Processes, TCP connections, DNS and modules by BPF programs in the kernel: complete, with their owners."""

import os
import struct

from shieldwall_agent.bpf.loader import BpfError, BpfObject, Ring
from shieldwall_agent.cgroups import unified_hierarchy
from shieldwall_agent.clock import boot_to_unix, ticks_of
from shieldwall_agent.events import events_lost
from shieldwall_agent.processes import Process, joined
from shieldwall_agent.sensors import addresses, modules
from shieldwall_agent.sensors.base import Surroundings, Unavailable, Worker
from shieldwall_agent.sensors.dns_lookups import Lookups
from shieldwall_agent.sensors.execution import executed
from shieldwall_agent.sensors.own import Own

POLL_MILLISECONDS = 150
"""The kernel wakes us early when half a megabyte waits, so this delays events and loses none."""

_KIND = struct.Struct("=II")  # kind, pid: how each sample begins
_HEADER = struct.Struct("=IIQQIIQ")  # kind, pid, time, start, ppid, uid, parent's start
_EXEC = struct.Struct("=QQIIIIII16s")  # inode, cgroup, device, loginuid, session, name, argv, total, comm
_SOCKET = struct.Struct("=HHHHH6x16s16s16s")  # family, old, new, local port, remote port, addresses, comm
_DNS = struct.Struct("=QIIHHBB2x16s")  # socket, sequence, length, family, size, protocol, received, server

_MODULE = struct.Struct("=QI4x64s")  # taints, loaded, name

_EXECUTED, _FORKED, _EXITED, _SOCKET_STATE, _LOOKUP, _MODULE_CHANGE = 1, 2, 3, 4, 5, 6
_ESTABLISHED, _SYN_SENT, _LISTEN = 1, 2, 10
_NOBODY = 0xFFFFFFFF

_PROGRAMS = {
    "processes": ("on_exec", "on_fork", "on_exit"),
    "network": ("on_socket_state",),
    "dns": ("on_sent", "on_received"),
    "modules": ("on_module_load", "on_module_free"),
}
_OF_CGROUP = _PROGRAMS["dns"]


class Ebpf:
    """One object in the kernel, one ring, one thread that reads it.

    Without the programs of processes there is nothing; the others are refused each for itself.
    """

    name = "eBPF"
    covers: tuple[str, ...] = tuple(_PROGRAMS)
    misses = {
        "network": "UDP; which worker of a server accepts",
        "dns": "names asked for over HTTPS, TLS and QUIC; answers later than 2 s",
        "modules": "the file of a module",
    }

    def __init__(self, around: Surroundings, own: Own, active: set[str]) -> None:
        self._around = around
        self._own = own
        self._active = active
        self._seen = dict.fromkeys(self.covers, 0)
        self._waiting: list[bytes] = []
        self._ends: dict[int, int] = {}  # by pid, the place of its end among the samples being taken
        self._lost = 0
        self._offset = 0.0
        self._lookups = Lookups(around.sink.emit, own)
        self.refused: dict[str, str] = {}
        self._object: BpfObject | None = None
        self._ring: Ring | None = None
        self._worker = Worker("ebpf", self._step)

    def start(self) -> None:
        try:
            self._object = self._load()
            for sensor in _PROGRAMS.keys() - self.refused.keys():
                self._attach(self._object, sensor)
            self._ring = self._object.ring("events", self._waiting.append)
        except BpfError as error:
            self.stop()
            raise Unavailable(str(error)) from error
        # Attached first and looked around then, so that no process falls in between.
        self._around.processes.seed()
        self._worker.start()

    def _load(self) -> BpfObject:
        try:
            return BpfObject("sensors")
        except BpfError as error:
            self.refused["dns"] = str(error)  # of another type, so perhaps only these
            return BpfObject("sensors", without=_OF_CGROUP)

    def _attach(self, loaded: BpfObject, sensor: str) -> None:
        try:
            if sensor != "dns":
                for program in _PROGRAMS[sensor]:
                    loaded.attach(program)
                return
            root = os.open(unified_hierarchy(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for program in _OF_CGROUP:
                    loaded.attach(program, root)
            finally:
                os.close(root)
        except OSError as error:
            if sensor == "processes":
                raise
            self.refused[sensor] = str(error)

    def stop(self) -> None:
        self._worker.stop()
        self._lookups.expire(everything=True)
        if self._object is not None and not self._worker.alive():
            self._object.close()
            self._object = self._ring = None

    def alive(self) -> bool:
        return self._worker.alive()

    def seen(self, sensor: str) -> int:
        return self._seen[sensor]

    def lost(self) -> int:
        return self._lost

    def _step(self) -> None:
        assert self._ring is not None
        self._ring.poll(POLL_MILLISECONDS)
        self._lookups.expire()
        if not self._waiting:
            return
        self._offset = boot_to_unix()
        samples, self._waiting[:] = self._waiting[:], []
        self._ends = {
            pid: place for place, (kind, pid) in enumerate(map(_KIND.unpack_from, samples)) if kind == _EXITED
        }
        for place, sample in enumerate(samples):
            self._take(place, sample)
        self._count_losses()

    def _count_losses(self) -> None:
        assert self._object is not None
        lost = self._object.number("dropped")
        if lost > self._lost:
            self._around.sink.emit(events_lost("eBPF", lost - self._lost, "the kernel's ring was full"))
            self._lost = lost

    def _take(self, place: int, sample: bytes) -> None:
        kind, pid, moment, start, ppid, uid, _ = _HEADER.unpack_from(sample)
        when = self._offset + moment / 1e9
        if kind == _FORKED:
            self._around.processes.fork(pid, ticks_of(start), ppid, uid)
        elif kind == _EXITED:
            self._around.processes.exit(pid)
        elif kind == _EXECUTED:
            self._seen["processes"] += 1
            self._execution(
                sample, when, self._process(pid, start, ppid, uid), ended=self._ends.get(pid, -1) > place
            )
        elif kind == _SOCKET_STATE:
            self._seen["network"] += 1
            if "network" in self._active:
                self._connection(sample, when, self._process(pid, start, ppid, uid) if pid else None)
        elif kind == _LOOKUP:
            self._seen["dns"] += 1
            if "dns" in self._active:
                self._lookup(sample, when, self._process(pid, start, ppid, uid))
        elif kind == _MODULE_CHANGE:
            self._seen["modules"] += 1
            if "modules" in self._active:
                taints, loaded, name = _MODULE.unpack_from(sample, _HEADER.size)
                process = self._process(pid, start, ppid, uid)
                self._around.sink.emit(modules.changed(bool(loaded), name, when, process, taints))

    def _process(self, pid: int, start: int, ppid: int, uid: int) -> Process:
        process = self._around.processes.fork(pid, ticks_of(start), ppid, uid)
        process.uid = uid
        return process

    def _execution(self, sample: bytes, when: float, process: Process, ended: bool) -> None:
        (inode, _cgroup, _device, login, session, name_size, argv_size, total, _comm) = _EXEC.unpack_from(
            sample, _HEADER.size
        )
        begin = _HEADER.size + _EXEC.size
        name = sample[begin : begin + name_size].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        line = joined(sample[begin + name_size : begin + name_size + argv_size])
        extra: dict[str, object] = {}
        if login != _NOBODY:
            extra |= {"LoginUid": login, "SessionId": session}
        if total > argv_size:
            extra["CommandLineBytes"] = total
        event = executed(
            self._around,
            process,
            when=when,
            name=name,
            inode=inode,
            command_line=line,
            ended=ended,
            extra=extra,
        )
        if "processes" in self._active and not self._own.is_own(process):
            self._around.sink.emit(event)

    def _connection(self, sample: bytes, when: float, process: Process | None) -> None:
        if process is not None and self._own.is_own(process):
            return
        family, old, new, local_port, remote_port, local, remote, _comm = _SOCKET.unpack_from(
            sample, _HEADER.size
        )
        if new == _LISTEN:
            action = "ListeningConnectionCreated"
        elif old == _SYN_SENT:
            action = "ConnectionSuccess" if new == _ESTABLISHED else "ConnectionFailed"
        else:
            action = "InboundConnectionAccepted"
        self._around.sink.emit(
            addresses.connection(
                action,
                process,
                when,
                (addresses.text(family, local), local_port),
                (addresses.text(family, remote), remote_port),
            )
        )

    def _lookup(self, sample: bytes, when: float, process: Process) -> None:
        flow, sequence, length, family, size, protocol, received, server = _DNS.unpack_from(
            sample, _HEADER.size
        )
        begin = _HEADER.size + _DNS.size
        payload = sample[begin : begin + size]
        if received:
            self._lookups.received(flow, protocol, sequence, payload, length)
        else:
            self._lookups.sent(
                flow,
                protocol,
                sequence,
                payload,
                length,
                when=when,
                server=addresses.text(family, server),
                who=lambda: process,
            )
