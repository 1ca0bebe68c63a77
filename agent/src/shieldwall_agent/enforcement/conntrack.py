"""Where a redirected packet was really going, as the kernel's connection tracking remembers it.

SO_ORIGINAL_DST tells that for TCP only. TPROXY would keep it in the packet, but then answers must be sent
from port 53 of the server's address, which a stub resolver on 127.0.0.53 holds already. Asking connection
tracking serves both protocols, and the kernel turns the answers' address back by itself.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_NETLINK_NETFILTER = 12
_GET = (1 << 8) | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_REQUEST, _ERROR, _NESTED = 1, 2, 0x8000
_ORIGINAL, _REPLY = 1, 2
_IP, _PROTOCOL = 1, 2
_SOURCE, _DESTINATION = {4: 1, 16: 3}, {4: 2, 16: 4}  # by the bytes of an address
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Flow:
    """One client's socket and the name server that it speaks to, both as the client sees them."""

    protocol: int  # IPPROTO_UDP or IPPROTO_TCP
    client: tuple[str, int]
    server: tuple[str, int]

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET


class Conntrack:
    """For the network namespace of the thread that makes it. Raises OSError where the kernel has none."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.settimeout(1.0)  # it answers before `send` returns
        self._number = 0

    def close(self) -> None:
        self._socket.close()

    def original(self, protocol: int, here: tuple[str, int], peer: tuple[str, int]) -> Flow | None:
        """The flow that came to our socket `here` from `peer`; None when it was not redirected."""
        family = socket.AF_INET6 if ":" in here[0] else socket.AF_INET
        host, to = socket.inet_pton(family, here[0]), socket.inet_pton(family, peer[0])
        size = len(host)
        addresses = _attribute(_SOURCE[size], host) + _attribute(_DESTINATION[size], to)
        ports = (
            _attribute(1, bytes([protocol]))
            + _attribute(2, struct.pack("!H", here[1]))
            + _attribute(3, struct.pack("!H", peer[1]))
        )
        reply = _attribute(_IP | _NESTED, addresses) + _attribute(_PROTOCOL | _NESTED, ports)
        body = struct.pack("=BBH", family, 0, 0) + _attribute(_REPLY | _NESTED, reply)
        answer = self._ask(body)
        for kind, value in _attributes(answer[4:]) if answer else ():
            if kind == _ORIGINAL:
                client, server = _endpoints(value, size)
                return Flow(protocol, client, server) if server != here else None
        return None

    def _ask(self, body: bytes) -> bytes | None:
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), _GET, _REQUEST, self._number, 0) + body)
        while True:
            message = self._socket.recv(8192)
            length, kind, _, number, _ = _HEADER.unpack_from(message)
            if number == self._number:
                return None if kind == _ERROR else message[_HEADER.size : length]


def _endpoints(tuple_: bytes, size: int) -> tuple[tuple[str, int], tuple[str, int]]:
    """Source and destination of one direction."""
    parts = dict(_attributes(tuple_))
    addresses, ports = dict(_attributes(parts[_IP])), dict(_attributes(parts[_PROTOCOL]))
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    source = socket.inet_ntop(family, addresses[_SOURCE[size]])
    destination = socket.inet_ntop(family, addresses[_DESTINATION[size]])
    return (source, int.from_bytes(ports[2])), (destination, int.from_bytes(ports[3]))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[place + _ATTRIBUTE.size : place + length]
        place += length + -length % 4
