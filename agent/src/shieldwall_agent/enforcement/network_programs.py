"""The BPF programs that refuse connections and names for one cgroup: loaded, attached, filled, proved by a
canary.

Attached they are as long as this process holds the links: when it ends, everything passes.
"""

import ipaddress
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shieldwall_agent.bpf.loader import BpfError, BpfObject
from shieldwall_agent.enforcement.kernel_rules import DENY, MOST_RULES, RULE, packed
from shieldwall_agent.enforcement.policy import Indicator

_PROGRAMS = ("connect4", "connect6", "sendmsg4", "sendmsg6", "egress")
_EVENT = struct.Struct("=IIII16s256s")
_CONNECTION = 1
_MASK = 2**64 - 1
_CANARY_NAME = "canary.shieldwall.invalid"
_CANARY_ADDRESS = "198.51.100.253"  # TEST-NET-2: nobody's

Seen = Callable[[Indicator, int, dict[str, Any]], None]


class NetworkPrograms:
    """`seen` is called, in a thread of this object, with each refused or audited attempt: rule, pid and
    event columns."""

    def __init__(self, cgroup: Path, seen: Seen) -> None:
        self._seen = seen
        self._lock = threading.Lock()
        self._rules: dict[int, Indicator] = {}
        self._installed: dict[str, set[bytes]] = {"addresses4": set(), "addresses6": set(), "domains": set()}
        self._numbers = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._object = BpfObject("enforce")
        try:
            self._attach(cgroup)
            self._prove(cgroup)
            self._ring = self._object.ring("events", self._event)
            self._thread = threading.Thread(target=self._poll, name="network-events", daemon=True)
            self._thread.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stopping = True
        if self._thread is not None:
            self._thread.join(5)
        self._object.close()

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
                    raise BpfError(f"more than {MOST_RULES} rules in {table}")
                current: dict[bytes, bytes] = {}
                for key, rule in entries.items():
                    self._numbers = (self._numbers + 1) & 0xFFFFFFFF
                    rules[self._numbers] = rule
                    current[key] = packed(rule.action, rule.expires, self._numbers)
                self._rules.update(rules)
                for key, value in current.items():
                    self._object.put(table, key, value)
                for key in self._installed[table] - current.keys():
                    self._object.remove(table, key)
                self._installed[table] = set(current)
            self._rules = rules

    def lost(self) -> int:
        """Events for which the ring had no room."""
        return self._object.number("lost")

    def _attach(self, cgroup: Path) -> None:
        fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in _PROGRAMS:
                self._object.attach(name, fd)
        finally:
            os.close(fd)

    def _prove(self, cgroup: Path) -> None:
        """A verifier can accept programs that then do nothing: let a process of the cgroup try two
        forbidden things."""
        rule = RULE.pack(0, 0, DENY)
        address = socket.inet_aton(_CANARY_ADDRESS)
        name = suffix_key(_CANARY_NAME.partition(".")[2])
        self._object.put("addresses4", address, rule)
        self._object.put("domains", name, rule)
        try:
            done = subprocess.run(
                [sys.executable, "-IS", "-c", _CANARY, str(cgroup), _CANARY_ADDRESS,
                _wire(_CANARY_NAME).hex()], capture_output=True, text=True, timeout=10, check=False,
            )  # fmt: skip
        except subprocess.SubprocessError as error:
            raise BpfError(f"the canary did not end: {error}") from error
        finally:
            self._object.remove("addresses4", address)
            self._object.remove("domains", name)
        if done.stdout.split() != ["refused", "refused", "sent"]:
            raise BpfError(f"the canary was not refused: {done.stdout} {done.stderr[-200:]}")

    def _poll(self) -> None:
        while not self._stopping:
            self._ring.poll(1000)  # the kernel wakes it for each event

    def _event(self, data: bytes) -> None:
        try:
            kind, number, pid, port, address, name = _EVENT.unpack_from(data)
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
