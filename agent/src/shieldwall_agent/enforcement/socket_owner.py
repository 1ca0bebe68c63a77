"""Whose socket one end of a flow is: the kernel names its inode, /proc the process that holds it.

Only while the client waits for its answer does it surely hold the socket, so ask before answering. New
processes are looked at first, after those that asked lately: most queries are one or the other's.
"""

import collections
import contextlib
import os
import socket
import struct
import time

from shieldwall_agent.enforcement.conntrack import Flow

LONGEST_SEARCH = 0.05  # seconds
MOST_REMEMBERED = 16  # processes

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _REQUEST = 20, 1
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBBI2s2s16s16sIII")
_INODE_AT = 68  # in struct inet_diag_msg
_ANY = 0xFFFFFFFF


class SocketOwners:
    """For the network namespace of the thread that makes it; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._socket.settimeout(1.0)
        self._lately: collections.deque[int] = collections.deque(maxlen=MOST_REMEMBERED)

    def close(self) -> None:
        self._socket.close()

    def find(self, flow: Flow) -> int:
        """The process that holds the client's end; 0 when it is not found in time."""
        inode = self._inode(flow)
        if not inode:
            return 0
        wanted = f"socket:[{inode}]"
        deadline = time.monotonic() + LONGEST_SEARCH
        lately = list(self._lately)
        others = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)
        for pid in (*lately, *others):
            if _holds(pid, wanted):
                if pid in lately:
                    self._lately.remove(pid)
                self._lately.appendleft(pid)
                return pid
            if time.monotonic() > deadline:
                return 0
        return 0

    def _inode(self, flow: Flow) -> int:
        family = flow.family
        local, remote = (socket.inet_pton(family, end[0]) for end in (flow.client, flow.server))
        local_port, remote_port = (struct.pack("!H", end[1]) for end in (flow.client, flow.server))
        if flow.protocol == socket.IPPROTO_UDP:  # the kernel takes UDP's the other way round, historically
            local, remote, local_port, remote_port = remote, local, remote_port, local_port
        question = _QUESTION.pack(
            family, flow.protocol, 0, 0, _ANY, local_port, remote_port, local, remote, 0, _ANY, _ANY
        )
        header = _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 1, 0)
        try:
            self._socket.send(header + question)
            answer = self._socket.recv(8192)
        except OSError:
            return 0
        _, kind, _, _, _ = _HEADER.unpack_from(answer)
        if kind != _BY_FAMILY:
            return 0
        return int(struct.unpack_from("=I", answer, _HEADER.size + _INODE_AT)[0])


def _holds(pid: int, wanted: str) -> bool:
    with contextlib.suppress(OSError):  # it ended, or is closing files while we look
        folder = f"/proc/{pid}/fd"
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == wanted:
                    return True
    return False
