"""Calls of connect, as audit records tell them, to connections.

The records hold the remote end only. The rest is asked of the socket itself, by a copy of its descriptor,
when its process still has it.
"""

import ctypes
import errno
import os
import socket
import struct

from shieldwall_agent.events import Event
from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import addresses
from shieldwall_agent.sensors import audit_records as records

_PIDFD_GETFD = 438
_ESTABLISHED = b"\1"
_RESTARTED = 512  # the kernel's own ERESTARTSYS: a signal came, the call is made again
_UNDER_WAY = {errno.EINPROGRESS, errno.EINTR, _RESTARTED}
_FAILURES = {
    errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM, errno.EACCES,
    errno.EADDRNOTAVAIL, errno.ECONNRESET, errno.EHOSTDOWN, errno.ENETDOWN,
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)
Place = tuple[str, int]


def remote_end(fields: dict[str, str]) -> Place | None:
    """Address and port in a SOCKADDR record; None for other families than IP."""
    try:
        raw = bytes.fromhex(fields.get("saddr", ""))
        family, port = struct.unpack_from("=H", raw)[0], struct.unpack_from("!H", raw, 2)[0]
    except (ValueError, struct.error):
        return None
    if family == socket.AF_INET and len(raw) >= 8:
        return addresses.plain_text(raw[4:8]), port
    if family == socket.AF_INET6 and len(raw) >= 24:
        return addresses.plain_text(raw[8:24]), port
    return None


def connection(call: dict[str, str], remote: Place, process: Process | None, when: float) -> Event | None:
    """A row of DeviceNetworkEvents; None for what is no TCP connection, or was told before."""
    code = _errno(call)
    if code and code not in _UNDER_WAY | _FAILURES:
        return None
    action = "ConnectionFailed" if code in _FAILURES else "ConnectionRequest"
    opened = _copy(records.number(call, "pid"), call.get("a0", ""))
    if opened is None:
        # Nobody knows any more whether it was TCP: connect says yes to all UDP.
        event = addresses.connection(action, process, when, ("", 0), remote)
        for name in ("LocalIP", "LocalPort", "LocalIPType", "Protocol"):
            del event[name]
        return event
    with opened:
        if opened.type != socket.SOCK_STREAM:
            return None
        local = _end(opened.getsockname())
        if not code or _is_established(opened):
            action = "ConnectionSuccess"
    return addresses.connection(action, process, when, local, remote)


def _errno(call: dict[str, str]) -> int:
    """Why a call failed; 0 when it did not."""
    text = call.get("exit", "")
    return int(text[1:]) if text.startswith("-") and text[1:].isdecimal() else 0


def _copy(pid: int, descriptor: str) -> socket.socket | None:
    """The IP socket that a process has under a number (in hexadecimal); to be closed at once."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        found = _libc.syscall(_PIDFD_GETFD, process, int(descriptor, 16) & 0x7FFFFFFF, 0)
    except ValueError:
        return None
    finally:
        os.close(process)
    if found < 0:
        return None
    try:
        opened = socket.socket(fileno=found)
    except OSError:  # another file has its number now
        os.close(found)
        return None
    if opened.family not in (socket.AF_INET, socket.AF_INET6):
        opened.close()
        return None
    return opened


def _is_established(opened: socket.socket) -> bool:
    try:
        return opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED
    except OSError:
        return False


def _end(name: tuple[str, int]) -> Place:
    return addresses.plain(name[0]), name[1]
