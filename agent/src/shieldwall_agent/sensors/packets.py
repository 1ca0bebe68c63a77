"""DNS by a copy of each packet from or to port 53: for kernels that take no BPF programs of ours."""

import ctypes
import socket
import struct
import time

from shieldwall_agent.events import events_lost
from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import addresses
from shieldwall_agent.sensors.base import OneThread, Surroundings, Unavailable
from shieldwall_agent.sensors.dns import PORT
from shieldwall_agent.sensors.dns_lookups import Lookups
from shieldwall_agent.sensors.own import Own
from shieldwall_agent.socket_owners import Place, SocketOwners

POLL_SECONDS = 0.2
BUFFER = 8 << 20

_EVERY_PROTOCOL = 3
_OUTGOING = 4
_ATTACH_FILTER, _RCVBUFFORCE = 26, 33
_SOL_PACKET, _STATISTICS = 263, 6
_LARGEST = 4096
_TCP, _UDP = 6, 17


class DnsPackets(OneThread):
    """A packet socket, which sees the network namespace that it was made in.

    A query counts on its way out, so that one over the loopback, or of another machine to a server here, does
    not count again on its way in.
    """

    name = "AF_PACKET"
    covers: tuple[str, ...] = ("dns",)
    misses = {
        "dns": "who asks and closes the socket at once, other network namespaces, "
        "names asked for over HTTPS, TLS and QUIC"
    }

    def __init__(self, around: Surroundings, own: Own, active: set[str]) -> None:
        super().__init__("dns-packets", self._step)
        self._around = around
        self._active = active
        self._lookups = Lookups(around.sink.emit, own)
        self._socket: socket.socket | None = None
        self._owners: SocketOwners | None = None
        self._counted = 0.0

    def start(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(_EVERY_PROTOCOL)
            )
            self._socket.settimeout(POLL_SECONDS)
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, BUFFER)
            _attach_filter(self._socket)
            self._owners = SocketOwners()
        except OSError as error:
            self.stop()
            raise Unavailable(f"packets cannot be read: {error}") from error
        self._worker.start()

    def stop(self) -> None:
        super().stop()
        self._lookups.expire(everything=True)
        for opened in (self._socket, self._owners):
            if opened is not None:
                opened.close()

    def _step(self) -> None:
        assert self._socket is not None
        try:
            packet, whence = self._socket.recvfrom(_LARGEST)
        except TimeoutError:
            pass
        else:
            self._take(packet, whence[2])
        self._lookups.expire()
        if time.monotonic() - self._counted > 1:
            self._count_losses(self._socket)

    def _count_losses(self, packets: socket.socket) -> None:
        self._counted = time.monotonic()
        _, lost = struct.unpack(
            "=II", packets.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        )  # since it was asked last
        if lost:
            self._lost += lost
            self._around.sink.emit(events_lost(self.name, lost, "the socket was full"))

    def _take(self, packet: bytes, direction: int) -> None:
        found = transport(packet)
        if found is None:
            return
        protocol, source, destination, sequence, payload, length = found
        if direction == _OUTGOING and destination[1] == PORT:
            self._seen += 1
            if "dns" in self._active:
                self._lookups.sent(
                    (protocol, source, destination),
                    protocol,
                    sequence,
                    payload,
                    length,
                    when=time.time(),
                    server=destination[0],
                    who=lambda: self._who(protocol, source, destination),
                )
        elif source[1] == PORT:
            self._lookups.received((protocol, destination, source), protocol, sequence, payload, length)

    def _who(self, protocol: int, local: Place, remote: Place) -> Process | None:
        assert self._owners is not None
        pid = self._owners.find(protocol, local, remote)
        return self._around.processes.look(pid) if pid else None


def transport(packet: bytes) -> tuple[int, Place, Place, int, bytes, int] | None:
    """Protocol, source, destination, TCP's sequence number, payload and its real length, of an IP packet.

    None for what is not TCP or UDP with something in it, whole or the first of its fragments.
    """
    try:
        if packet[0] >> 4 == 4:
            begin, protocol = (packet[0] & 15) * 4, packet[9]
            total, fragment = struct.unpack_from("!H2xH", packet, 2)
            hosts = packet[12:16], packet[16:20]
            if fragment & 0x1FFF:
                return None
        elif packet[0] >> 4 == 6:
            begin, protocol = 40, packet[6]
            total = 40 + struct.unpack_from("!H", packet, 4)[0]
            hosts = packet[8:24], packet[24:40]
        else:
            return None
        ports = struct.unpack_from("!HH", packet, begin)
        sequence = 0
        if protocol == _UDP:
            size = 8
        elif protocol == _TCP:
            (sequence,) = struct.unpack_from("!I", packet, begin + 4)
            size = (packet[begin + 12] >> 4) * 4
        else:
            return None
    except (IndexError, struct.error):
        return None
    length = total - begin - size
    payload = packet[begin + size : total]
    if length <= 0 or not payload:
        return None
    source, destination = (
        (addresses.plain_text(host), port) for host, port in zip(hosts, ports, strict=True)
    )
    return protocol, source, destination, sequence, payload, length


def _attach_filter(packets: socket.socket) -> None:
    """Let the kernel drop all but what goes to port 53 and comes from there.

    What came before is looked at like all the rest.
    """
    code = b"".join(
        struct.pack("=HBBI", operation, yes and yes - place - 1, no and no - place - 1, value)
        for place, (operation, value, yes, no) in enumerate(_FILTER)
    )
    held = ctypes.create_string_buffer(code, len(code))
    packets.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(held))
    )


_BYTE, _HALF, _HALF_X, _WORD, _HEADER_SIZE = 0x30, 0x28, 0x48, 0x20, 0xB1
_SHIFT, _EQUAL, _ANY_BIT, _RETURN = 0x74, 0x15, 0x45, 0x06
_DIRECTION = 0xFFFFF004  # not in the packet but of it
_INBOUND, _OUTBOUND, _ACCEPT, _DROP = 25, 27, 29, 30
# Classic BPF: operation, operand, and where a comparison leads to. A packet begins with its IP header.
_FILTER = (
    (_BYTE, 0, 0, 0),
    (_SHIFT, 4, 0, 0),
    (_EQUAL, 4, 3, 15),
    (_BYTE, 9, 0, 0),  # 3: the protocol of IPv4
    (_EQUAL, _UDP, 6, 5),
    (_EQUAL, _TCP, 6, _DROP),
    (_HALF, 6, 0, 0),  # 6
    (_ANY_BIT, 0x1FFF, _DROP, 8),  # a fragment without ports
    (_HEADER_SIZE, 0, 0, 0),  # 8
    (_HALF_X, 0, 0, 0),
    (_EQUAL, PORT, 11, 13),
    (_HALF_X, 2, 0, 0),  # 11: between servers both ports may be the same
    (_EQUAL, PORT, _ACCEPT, _INBOUND),
    (_HALF_X, 2, 0, 0),  # 13
    (_EQUAL, PORT, _OUTBOUND, _DROP),
    (_EQUAL, 6, 16, _DROP),  # 15
    (_BYTE, 6, 0, 0),  # 16: the protocol of IPv6
    (_EQUAL, _UDP, 19, 18),
    (_EQUAL, _TCP, 19, _DROP),
    (_HALF, 40, 0, 0),  # 19
    (_EQUAL, PORT, 21, 23),
    (_HALF, 42, 0, 0),  # 21
    (_EQUAL, PORT, _ACCEPT, _INBOUND),
    (_HALF, 42, 0, 0),  # 23
    (_EQUAL, PORT, _OUTBOUND, _DROP),
    (_WORD, _DIRECTION, 0, 0),  # 25
    (_EQUAL, _OUTGOING, _DROP, _ACCEPT),
    (_WORD, _DIRECTION, 0, 0),  # 27
    (_EQUAL, _OUTGOING, _ACCEPT, _DROP),
    (_RETURN, _LARGEST, 0, 0),  # 29
    (_RETURN, 0, 0, 0),  # 30
)
