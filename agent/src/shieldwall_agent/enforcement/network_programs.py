"""The BPF programs that refuse connections and names for one cgroup: loaded, attached, filled, proved by a
canary.

Attached they are as long as this process holds the links: when it ends, everything passes.
"""

import ctypes
import ipaddress
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement.policy import Indicator

OBJECT = Path(__file__).parents[1] / "bpf" / "enforce.bpf.o"
MOST_RULES = 131_072

_PROGRAMS = ("connect4", "connect6", "sendmsg4", "sendmsg6", "egress")
_RULE = struct.Struct("=QII")  # expires (ns since boot), number of the rule, action
_EVENT = struct.Struct("=IIII16s256s")
_CONNECTION = 1
_ALLOW, _AUDIT, _DENY = 0, 1, 2
_MASK = 2**64 - 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_CANARY_NAME = "canary.shieldwall.invalid"
_CANARY_ADDRESS = "198.51.100.253"  # TEST-NET-2: nobody's

Seen = Callable[[Indicator, int, dict[str, Any]], None]


class ProgramError(OSError):
    """The kernel or the machine does not take the programs."""


class NetworkPrograms:
    """`seen` is called, in a thread of this object, with each refused or audited attempt: rule, pid and
    event columns."""

    def __init__(self, cgroup: Path, seen: Seen) -> None:
        self._seen = seen
        self._lib = _library()
        self._links: list[int] = []
        self._buffer: int | None = None
        self._object: int | None = self._load()
        self._lock = threading.Lock()
        self._rules: dict[int, Indicator] = {}
        self._installed: dict[str, dict[bytes, bytes]] = {"addresses4": {}, "addresses6": {}, "domains": {}}
        self._numbers = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        try:
            self._maps = {name: self._map(name) for name in (*self._installed, "events", "lost")}
            self._attach(cgroup)
            self._prove(cgroup)
            self._callback = _CALLBACK(self._event)
            self._buffer = self._lib.ring_buffer__new(self._maps["events"], self._callback, None, None)
            if not self._buffer:
                raise ProgramError(ctypes.get_errno(), "no ring buffer")
            self._thread = threading.Thread(target=self._poll, name="network-events", daemon=True)
            self._thread.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stopping = True
        if self._thread is not None:
            self._thread.join(5)
        if self._buffer:
            self._lib.ring_buffer__free(self._buffer)
            self._buffer = None
        for link in self._links:
            self._lib.bpf_link__destroy(link)
        self._links = []
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None

    def apply(self, addresses: Mapping[str, Indicator], domains: Mapping[str, Indicator]) -> None:
        """Refuse exactly these from now on; new rules come before old ones go."""
        wanted: dict[str, dict[bytes, Indicator]] = {"addresses4": {}, "addresses6": {}, "domains": {}}
        for text, rule in addresses.items():
            address = ipaddress.ip_address(text)
            wanted[f"addresses{address.version}"][address.packed] = rule
        for name, rule in domains.items():
            wanted["domains"][suffix_key(name)] = rule
        with self._lock:
            rules: dict[int, Indicator] = {}
            for table, entries in wanted.items():
                if len(entries) > MOST_RULES:
                    raise ProgramError(f"more than {MOST_RULES} rules in {table}")
                installed = self._installed[table]
                current: dict[bytes, bytes] = {}
                for key, rule in entries.items():
                    self._numbers = (self._numbers + 1) & 0xFFFFFFFF
                    rules[self._numbers] = rule
                    current[key] = _RULE.pack(_since_boot(rule.expires), self._numbers, _action(rule))
                self._rules.update(rules)
                for key, value in current.items():
                    self._update(table, key, value)
                for key in installed.keys() - current.keys():
                    self._lib.bpf_map_delete_elem(self._maps[table], key)
                self._installed[table] = current
            self._rules = rules

    def lost(self) -> int:
        """Events for which the ring had no room."""
        value = ctypes.create_string_buffer(8)
        self._lib.bpf_map_lookup_elem(self._maps["lost"], struct.pack("=I", 0), value)
        return int.from_bytes(value.raw, sys.byteorder)

    def _load(self) -> int:
        opened = self._lib.bpf_object__open_file(os.fsencode(OBJECT), None)
        if not opened:
            raise ProgramError(ctypes.get_errno(), f"{OBJECT} cannot be opened")
        if error := self._lib.bpf_object__load(opened):
            self._lib.bpf_object__close(opened)
            raise ProgramError(-error, "the kernel refused the programs")
        return int(opened)

    def _attach(self, cgroup: Path) -> None:
        fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in _PROGRAMS:
                program = self._lib.bpf_object__find_program_by_name(self._object, name.encode())
                link = self._lib.bpf_program__attach_cgroup(program, fd)
                if not link:
                    raise ProgramError(ctypes.get_errno(), f"{name} cannot be attached to {cgroup}")
                self._links.append(link)
        finally:
            os.close(fd)

    def _prove(self, cgroup: Path) -> None:
        """A verifier can accept programs that then do nothing: let a process of the cgroup try two
        forbidden things."""
        rule = _RULE.pack(0, 0, _DENY)
        address = socket.inet_aton(_CANARY_ADDRESS)
        name = suffix_key(_CANARY_NAME.partition(".")[2])
        self._update("addresses4", address, rule)
        self._update("domains", name, rule)
        try:
            done = subprocess.run(
                [sys.executable, "-IS", "-c", _CANARY, str(cgroup), _CANARY_ADDRESS,
                _wire(_CANARY_NAME).hex()], capture_output=True, text=True, timeout=10, check=False,
            )  # fmt: skip
        except subprocess.SubprocessError as error:
            raise ProgramError(f"the canary did not end: {error}") from error
        finally:
            self._lib.bpf_map_delete_elem(self._maps["addresses4"], address)
            self._lib.bpf_map_delete_elem(self._maps["domains"], name)
        if done.stdout.split() != ["refused", "refused", "sent"]:
            raise ProgramError(f"the canary was not refused: {done.stdout} {done.stderr[-200:]}")

    def _map(self, name: str) -> int:
        fd = self._lib.bpf_object__find_map_fd_by_name(self._object, name.encode())
        if fd < 0:
            raise ProgramError(-fd, f"the object has no map {name}")
        return int(fd)

    def _update(self, table: str, key: bytes, value: bytes) -> None:
        if self._lib.bpf_map_update_elem(self._maps[table], key, value, 0):
            raise ProgramError(ctypes.get_errno(), f"a rule does not fit into {table}")

    def _poll(self) -> None:
        while not self._stopping:
            self._lib.ring_buffer__poll(self._buffer, 200)

    def _event(self, _: Any, data: int, size: int) -> int:
        try:
            kind, number, pid, port, address, name = _EVENT.unpack(ctypes.string_at(data, _EVENT.size))
            rule = self._rules.get(number)
            if rule is not None:
                if kind == _CONNECTION:
                    ip = ipaddress.IPv6Address(address)
                    columns = {"RemoteIP": str(ip.ipv4_mapped or ip), "RemotePort": port}
                else:
                    columns = {"RemoteUrl": _name(name), "RemotePort": port}
                self._seen(rule, pid, columns)
        except Exception:  # noqa: S110 - nothing may be raised through C
            pass
        return 0


_CANARY = """
import os, socket, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
def attempt(action):
    try:
        action(); print("sent")
    except PermissionError:
        print("refused")
    except OSError as error:
        print("sent" if error.errno in (101, 111, 113) else error)
tcp = socket.socket(); tcp.setblocking(False)
attempt(lambda: tcp.connect((sys.argv[2], 9)))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
query = b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + bytes.fromhex(sys.argv[3]) + b"\\0\\1\\0\\1"
attempt(lambda: udp.sendto(query, ("127.0.0.1", 53)))
attempt(lambda: udp.sendto(query.replace(b"shieldwall", b"shieldwalk"), ("127.0.0.1", 53)))
"""


def suffix_key(name: str) -> bytes:
    """The key of a domain, as `match` of enforce.bpf.c computes it from the end of a query's name."""
    first, second = 0xCBF29CE484222325, 0
    for byte in reversed(_wire(name)[:-1]):
        first = ((first ^ byte) * 0x100000001B3) & _MASK
        second = ((second + byte) * 0x9E3779B97F4A7C15) & _MASK
        second ^= second >> 29
    return struct.pack("=QQ", first, second)


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.lower().split(".")) + b"\0"


def _name(wire: bytes) -> str:
    labels, place = [], 0
    while place < len(wire) and (length := wire[place]):
        labels.append(wire[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    return ".".join(labels)


def _action(rule: Indicator) -> int:
    return _DENY if rule.denies else _AUDIT if rule.action == "Audit" else _ALLOW


def _since_boot(expires: float | None) -> int:
    """Unix seconds as nanoseconds since boot; 0 for never."""
    if expires is None:
        return 0
    return max(1, int((expires - time.time() + time.clock_gettime(time.CLOCK_BOOTTIME)) * 1e9))


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise ProgramError(f"libbpf is not installed: {error}") from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("bpf_object__open_file", pointer, [text, pointer]),
        ("bpf_object__load", number, [pointer]),
        ("bpf_object__close", None, [pointer]),
        ("bpf_object__find_program_by_name", pointer, [pointer, text]),
        ("bpf_object__find_map_fd_by_name", number, [pointer, text]),
        ("bpf_program__attach_cgroup", pointer, [pointer, number]),
        ("bpf_link__destroy", number, [pointer]),
        ("bpf_map_update_elem", number, [number, text, text, ctypes.c_uint64]),
        ("bpf_map_delete_elem", number, [number, text]),
        ("bpf_map_lookup_elem", number, [number, text, pointer]),
        ("ring_buffer__new", pointer, [number, _CALLBACK, pointer, pointer]),
        ("ring_buffer__poll", number, [pointer, number]),
        ("ring_buffer__free", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
