"""Whose socket it is: the kernel names its inode, /proc the process that holds it.

Only while a client waits for its answer does it surely hold the socket, so ask at once. New processes are
looked at first, after this one and those that were found lately: most sockets are one or the other's.
"""

import collections
import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator

MOST_REMEMBERED = 16  # processes
LONGEST_SEARCH = 0.05  # seconds of our thread's own, which a busy machine does not take from us
LONGEST_WAIT = 0.3  # seconds in all, for which the client waits
SHARE = 0.2
"""So much of the time may go into searching, lest short-lived sockets by the thousand keep us busy."""
LONGEST_CREDIT = 0.5  # seconds

_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct(
    "=BBBBI2s2s16s16sIII"
)  # family, protocol, -, -, states, ports, addresses, device, cookie
_INODE_AT = 68  # in struct inet_diag_msg
_ANY = 0xFFFFFFFF

Place = tuple[str, int]


class SocketOwners:
    """For the network namespace of the thread that makes it; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG)
        self._socket.settimeout(0.5)
        self._lately: collections.deque[int] = collections.deque(maxlen=MOST_REMEMBERED)
        self._credit = LONGEST_CREDIT
        self._credited = time.monotonic()

    def close(self) -> None:
        self._socket.close()

    def find(self, protocol: int, local: Place, remote: Place) -> int:
        """The process that holds the local end of a TCP or UDP flow; 0 when it is not found in time."""
        inode = self._inode(protocol, local, remote)
        now = time.monotonic()
        self._credit = min(LONGEST_CREDIT, self._credit + (now - self._credited) * SHARE)
        self._credited = now
        if not inode or self._credit <= 0:
            return 0
        begin = time.thread_time()
        pid = self._search(f"socket:[{inode}]", begin + LONGEST_SEARCH, now + LONGEST_WAIT)
        self._credit -= time.thread_time() - begin
        return pid

    def _search(self, wanted: str, work_until: float, wait_until: float) -> int:
        for pid in _first([os.getpid(), *self._lately]):
            if _holds(pid, wanted):
                with contextlib.suppress(ValueError):
                    self._lately.remove(pid)
                self._lately.appendleft(pid)
                return pid
            if time.thread_time() > work_until or time.monotonic() > wait_until:
                break
        return 0

    def _inode(self, protocol: int, local: Place, remote: Place) -> int:
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        ends = [(struct.pack("!H", end[1]), socket.inet_pton(family, end[0])) for end in (local, remote)]
        if protocol == socket.IPPROTO_UDP:
            ends.reverse()  # the kernel looks UDP up as the packet that would come in
        (port, address), (other_port, other_address) = ends
        question = _QUESTION.pack(
            family, protocol, 0, 0, _ANY, port, other_port, address, other_address, 0, _ANY, _ANY
        )
        header = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 1, 0)
        try:
            self._socket.send(header + question)
            answer = self._socket.recv(8192)
        except OSError:
            return 0
        if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
            return 0
        return int(struct.unpack_from("=I", answer, _HEADER.size + _INODE_AT)[0])


def _first(likely: list[int]) -> Iterator[int]:
    """All processes, these first, then the newest."""
    yield from likely
    yield from sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)


def _holds(pid: int, wanted: str) -> bool:
    with contextlib.suppress(OSError):  # it ended, or is closing files while we look
        folder = f"/proc/{pid}/fd"
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == wanted:
                    return True
    return False
