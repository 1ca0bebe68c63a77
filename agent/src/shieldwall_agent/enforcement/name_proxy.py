"""A small resolver proxy: it passes redirected DNS traffic on to where it was going, but for what a judge
refuses.

What passes is passed byte for byte, from the client's own address, in both directions; so also what is no
DNS at all. Everything is bounded: the oldest of too many clients gives way to the newest.
"""

import asyncio
import contextlib
import socket
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from shieldwall_agent.enforcement import dns_message
from shieldwall_agent.enforcement.conntrack import Conntrack, Flow
from shieldwall_agent.enforcement.name_redirect import MARK, Listener

MOST_FLOWS = 256  # UDP clients at once, each with a socket
MOST_CONNECTIONS = 64  # TCP clients at once, each with two
MOST_JUDGED = 256  # UDP messages that wait for the judge; more are dropped, as networks do
IDLE_SECONDS = 20.0  # UDP: below the 30 s for which the kernel remembers where answers go
IDLE_CONNECTION_SECONDS = 120.0
CONNECT_SECONDS = 10.0

_DATAGRAM = 65_535
_BATCH = 64  # datagrams taken from one socket before others have their turn
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

Judge = Callable[[bytes, Flow], Awaitable[bytes | None]]
"""Gives the answer to send instead of passing the message on, or None to pass it on."""


@dataclass(slots=True)
class _Upstream:
    """The way of one UDP client to its server."""

    way: socket.socket
    here: socket.socket
    peer: tuple[Any, ...]
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
                udp, tcp = (_bound(family, kind, address) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
            except OSError:
                if family == socket.AF_INET:
                    raise
                continue  # without IPv6 there is nothing to redirect
            self._datagrams.append(udp)
            self._loop.add_reader(udp, self._received, udp)
            self._servers.append(await asyncio.start_server(self._accepted, sock=tcp, limit=_DATAGRAM + 2))
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
                message, peer = here.recvfrom(_DATAGRAM)
                if len(self._judging) < MOST_JUDGED:
                    _spawn(self._judging, self._datagram(message, here, peer))

    async def _datagram(self, message: bytes, here: socket.socket, peer: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):  # a message that cannot be sent is lost, as on any network
            flow = self._conntrack.original(socket.IPPROTO_UDP, here.getsockname()[:2], peer[:2])
            if flow is None:
                return
            if refusal := await self._judge(message, flow):
                here.sendto(refusal, peer)
            else:
                upstream = self._upstream(flow, here, peer)
                upstream.lately.append(message)
                try:
                    upstream.way.send(message)
                except ConnectionRefusedError:  # what was sent before
                    _tell_unreachable(upstream)

    def _upstream(self, flow: Flow, here: socket.socket, peer: tuple[Any, ...]) -> _Upstream:
        upstream = self._upstreams.get(flow)
        if upstream is None:
            if len(self._upstreams) >= MOST_FLOWS:
                self._forget(next(iter(self._upstreams)))
            outgoing = _outgoing(flow)
            try:
                outgoing.connect(flow.server)
            except OSError:
                outgoing.close()
                raise
            upstream = self._upstreams[flow] = _Upstream(outgoing, here, peer)
            self._loop.add_reader(outgoing, self._answered, upstream)
        upstream.used = self._loop.time()
        self._upstreams.move_to_end(flow)
        return upstream

    def _answered(self, upstream: _Upstream) -> None:
        try:
            for _ in range(_BATCH):
                upstream.here.sendto(upstream.way.recv(_DATAGRAM), upstream.peer)
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
                await _Relay(self._judge, flow, reader, writer).run()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()


class _Relay:
    """One TCP client. The server is connected to beside waiting for the first message: whoever speaks
    first is heard, and a refused name needs no server."""

    def __init__(
        self, judge: Judge, flow: Flow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._judge = judge
        self._flow = flow
        self._reader = reader
        self._writer = writer
        self._answers = 0  # bytes

    async def run(self) -> None:
        connecting = asyncio.create_task(self._connect())
        answering = asyncio.create_task(self._pass_answers(connecting))
        try:
            if await self._pass_queries(connecting):
                await answering
        finally:
            for task in (answering, connecting):
                task.cancel()
            await asyncio.gather(answering, connecting, return_exceptions=True)
            if connecting.done() and not connecting.cancelled() and not connecting.exception():
                connecting.result()[1].transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        outgoing = _outgoing(self._flow)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(outgoing, self._flow.server)
            return await asyncio.open_connection(sock=outgoing)
        except BaseException:
            outgoing.close()
            raise

    async def _pass_queries(self, connecting: "asyncio.Task[Any]") -> bool:
        """Whether the client may have more answers."""
        stream = dns_message.QueryStream()
        while data := await self._read():
            for part, query in stream.feed(data):
                if query and (refusal := await self._judge(part[2:], self._flow)):
                    if not self._answers:  # into the middle of another answer it may not go
                        await self._say_last(len(refusal).to_bytes(2) + refusal)
                    return False
                _, server = await connecting
                server.write(part)
                await server.drain()
        _, server = await connecting
        server.write(stream.rest())
        server.write_eof()
        return True

    async def _read(self) -> bytes:
        async with asyncio.timeout(IDLE_CONNECTION_SECONDS):
            return await self._reader.read(_DATAGRAM)

    async def _say_last(self, message: bytes) -> None:
        self._writer.write(message)
        self._writer.close()
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._writer.wait_closed()

    async def _pass_answers(self, connecting: "asyncio.Task[Any]") -> None:
        server, _ = await connecting
        while part := await server.read(_DATAGRAM):
            self._answers += len(part)
            self._writer.write(part)
            await self._writer.drain()
        self._writer.write_eof()
        await self._writer.drain()


def _tell_unreachable(upstream: _Upstream) -> None:
    """Without us the client would have been told at once that nobody listens there, and ask elsewhere."""
    with contextlib.suppress(OSError):
        while upstream.lately:
            query = upstream.lately.popleft()
            if dns_message.asked(query):
                answer = dns_message.answer(query, dns_message.SERVER_FAILURE)
                upstream.here.sendto(answer, upstream.peer)


def _bound(family: int, kind: int, address: str) -> socket.socket:
    bound = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        bound.bind((address, 0))
    except OSError:
        bound.close()
        raise
    return bound


def _outgoing(flow: Flow) -> socket.socket:
    """From the client's own address, so that it is routed as the client's would be, and not redirected."""
    kind = socket.SOCK_DGRAM if flow.protocol == socket.IPPROTO_UDP else socket.SOCK_STREAM
    outgoing = socket.socket(flow.family, kind | socket.SOCK_NONBLOCK)
    try:
        outgoing.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        outgoing.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
        outgoing.bind((flow.client[0], 0))
    except OSError:
        outgoing.close()
        raise
    return outgoing


_BIND_ADDRESS_NO_PORT = 24


def _spawn(tasks: set["asyncio.Task[None]"], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
