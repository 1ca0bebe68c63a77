"""Rules for the kernel's audit, in the bytes that it takes."""

import socket
import struct

_AT_EXIT, _ALWAYS = 4, 2
_ARCH, _SUCCESS, _SOCKET_FAMILY = 11, 104, 113
_X86_64 = 0xC000003E
_EQUAL = 0x40000000
_CONNECT, _EXECVE, _EXECVEAT = 42, 59, 322


def _when(calls: tuple[int, ...], *conditions: tuple[int, int]) -> bytes:
    """Always tell of these calls of 64-bit programs, when they return, if each field has its value."""
    mask, fields, values, flags = [0] * 64, [0] * 64, [0] * 64, [0] * 64
    for call in calls:
        mask[call // 32] |= 1 << call % 32
    for place, (field, value) in enumerate(((_ARCH, _X86_64), *conditions)):
        fields[place], values[place], flags[place] = field, value, _EQUAL
    count = 1 + len(conditions)
    return struct.pack("=259I", _AT_EXIT, _ALWAYS, count, *mask, *fields, *values, *flags) + struct.pack(
        "=I", 0
    )


RULES = {
    "processes": (_when((_EXECVE, _EXECVEAT), (_SUCCESS, 1)),),
    "network": (
        _when((_CONNECT,), (_SOCKET_FAMILY, socket.AF_INET)),
        _when((_CONNECT,), (_SOCKET_FAMILY, socket.AF_INET6)),
    ),
}
"""By sensor."""
