"""A small resolver proxy: it passes redirected DNS traffic on to where it was going, but for what a judge
refuses.

What passes is passed byte for byte, from the client's own address, in both directions; so also what is no
DNS at all. Everything is bounded: the oldest of too many clients gives way to the newest.
"""

import asyncio
import contextlib
import socket
import struct
from collections import OrderedDict, deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from shieldwall_agent.enforcement import dns_message
from shieldwall_agent.enforcement.conntrack import Conntrack, Flow
from shieldwall_agent.enforcement.name_redirect import Listener
from shieldwall_agent.enforcement.name_stream import Judge, Relay
from shieldwall_agent.enforcement.name_upstream import outgoing

MOST_FLOWS = 256  # UDP clients at once, each with a socket
MOST_CONNECTIONS = 64  # TCP clients at once, each with two
MOST_JUDGED = 256  # UDP messages that wait for the judge; more are dropped, as networks do
IDLE_SECONDS = 20.0  # UDP: below the 30 s for which the kernel remembers where answers go

_DATAGRAM = 65_535
_BATCH = 64  # datagrams taken from one socket before others have their turn
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - only redirected packets are taken
_IP_PKTINFO = 8
_CONTROL = socket.CMSG_SPACE(20)
_INFO4, _INFO6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")  # in_pktinfo, in6_pktinfo


@dataclass(frozen=True, slots=True)
class _Client:
    """A UDP client, and the address that its packets were sent on to, which its answers come from."""

    here: socket.socket
    peer: tuple[Any, ...]
    address: bytes

    @classmethod
    def of(
        cls, here: socket.socket, peer: tuple[Any, ...], control: list[tuple[int, int, bytes]]
    ) -> "_Client":
        ((_, _, info),) = control
        return cls(
            here, peer, _INFO4.unpack(info)[2] if here.family == socket.AF_INET else _INFO6.unpack(info)[0]
        )

    @property
    def end(self) -> tuple[str, int]:
        return socket.inet_ntop(self.here.family, self.address), self.here.getsockname()[1]

    def send(self, message: bytes) -> None:
        if self.here.family == socket.AF_INET:
            control = (socket.SOL_IP, _IP_PKTINFO, _INFO4.pack(0, self.address, self.address))
        else:
            control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _INFO6.pack(self.address, 0))
        self.here.sendmsg([message], [control], 0, self.peer)


@dataclass(slots=True)
class _Upstream:
    """The way of one UDP client to its server."""

    way: socket.socket
    client: _Client
    used: float = 0.0
    lately: deque[bytes] = field(default_factory=lambda: deque(maxlen=4))  # what it sent


class NameProxy:
    """Made in the event loop that runs it, in the network namespace of its thread."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        self._conntrack = Conntrack()
        self._datagrams: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._upstreams: OrderedDict[Flow, _Upstream] = OrderedDict()
        self._judging: set[asyncio.Task[None]] = set()
        self._connections: OrderedDict[asyncio.Task[None], None] = OrderedDict()

    async def listen(self) -> list[Listener]:
        """Raises OSError when there is no loopback to listen on."""
        listeners: list[Listener] = []
        for family, address in _LOOPBACK.items():
            try:
                udp = _bound(family, socket.SOCK_DGRAM, _ANY[family])
                tcp = _bound(family, socket.SOCK_STREAM, address)
            except OSError:
                if family == socket.AF_INET:
                    raise
                continue  # without IPv6 there is nothing to redirect
            self._datagrams.append(udp)
            self._loop.add_reader(udp, self._received, udp)
            self._servers.append(await asyncio.start_server(self._accepted, sock=tcp))
            name = "ipv4" if family == socket.AF_INET else "ipv6"
            listeners += [(name, "udp", udp.getsockname()[1]), (name, "tcp", tcp.getsockname()[1])]
        return listeners

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [*self._judging, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for flow in list(self._upstreams):
            self._forget(flow)
        for udp in self._datagrams:
            self._loop.remove_reader(udp)
            udp.close()
        self._conntrack.close()

    def tidy(self) -> None:
        """Close what was idle for too long; to be called now and then."""
        now = self._loop.time()
        while self._upstreams:
            flow, upstream = next(iter(self._upstreams.items()))
            if now - upstream.used < IDLE_SECONDS:
                return
            self._forget(flow)

    def _received(self, here: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                message, control, _, peer = here.recvmsg(_DATAGRAM, _CONTROL)
                if len(self._judging) < MOST_JUDGED:
                    _spawn(self._judging, self._datagram(message, _Client.of(here, peer, control)))

    async def _datagram(self, message: bytes, client: _Client) -> None:
        with contextlib.suppress(OSError):  # a message that cannot be sent is lost, as on any network
            flow = self._conntrack.original(socket.IPPROTO_UDP, client.end, client.peer[:2])
            if flow is None:
                return
            if refusal := await self._judge(message, flow):
                client.send(refusal)
            else:
                upstream = self._upstream(flow, client)
                upstream.lately.append(message)
                try:
                    upstream.way.send(message)
                except ConnectionRefusedError:  # what was sent before
                    _tell_unreachable(upstream)

    def _upstream(self, flow: Flow, client: _Client) -> _Upstream:
        upstream = self._upstreams.get(flow)
        if upstream is None:
            if len(self._upstreams) >= MOST_FLOWS:
                self._forget(next(iter(self._upstreams)))
            way = outgoing(flow)
            try:
                way.connect(flow.server)
            except OSError:
                way.close()
                raise
            upstream = self._upstreams[flow] = _Upstream(way, client)
            self._loop.add_reader(way, self._answered, upstream)
        upstream.used = self._loop.time()
        self._upstreams.move_to_end(flow)
        return upstream

    def _answered(self, upstream: _Upstream) -> None:
        try:
            for _ in range(_BATCH):
                upstream.client.send(upstream.way.recv(_DATAGRAM))
        except BlockingIOError:
            pass
        except OSError:
            _tell_unreachable(upstream)

    def _forget(self, flow: Flow) -> None:
        upstream = self._upstreams.pop(flow)
        self._loop.remove_reader(upstream.way)
        upstream.way.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            oldest, _ = self._connections.popitem(last=False)
            oldest.cancel()
        task = self._loop.create_task(self._connection(reader, writer))
        self._connections[task] = None
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        try:
            flow = peer and self._conntrack.original(socket.IPPROTO_TCP, here[:2], peer[:2])
            if flow:
                await Relay(self._judge, flow, reader, writer).run()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()


def _tell_unreachable(upstream: _Upstream) -> None:
    """Without us the client would have been told at once that nobody listens there, and ask elsewhere."""
    with contextlib.suppress(OSError):
        while upstream.lately:
            query = upstream.lately.popleft()
            if dns_message.asked(query):
                answer = dns_message.answer(query, dns_message.SERVER_FAILURE)
                upstream.client.send(answer)


def _bound(family: int, kind: int, address: str) -> socket.socket:
    bound = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_DGRAM and family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif kind == socket.SOCK_DGRAM:
            bound.setsockopt(socket.SOL_IP, _IP_PKTINFO, 1)
        bound.bind((address, 0))
    except OSError:
        bound.close()
        raise
    return bound


def _spawn(tasks: set["asyncio.Task[None]"], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
