"""One TCP client of the resolver proxy, and the server that it wanted.

The server is connected to beside waiting for the first message: whoever speaks first is heard, and a
refused name needs no server.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from shieldwall_agent.enforcement import dns_message
from shieldwall_agent.enforcement.conntrack import Flow
from shieldwall_agent.enforcement.name_upstream import outgoing

IDLE_SECONDS = 120.0
CONNECT_SECONDS = 10.0

_PART = 65_535  # bytes

Judge = Callable[[bytes, Flow], Awaitable[bytes | None]]
"""Gives the answer to send instead of passing the message on, or None to pass it on."""


class Relay:
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
        way = outgoing(self._flow)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(way, self._flow.server)
            return await asyncio.open_connection(sock=way)
        except BaseException:
            way.close()
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
        async with asyncio.timeout(IDLE_SECONDS):
            return await self._reader.read(_PART)

    async def _say_last(self, message: bytes) -> None:
        self._writer.write(message)
        self._writer.close()
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._writer.wait_closed()

    async def _pass_answers(self, connecting: "asyncio.Task[Any]") -> None:
        server, _ = await connecting
        while part := await server.read(_PART):
            self._answers += len(part)
            self._writer.write(part)
            await self._writer.drain()
        self._writer.write_eof()
        await self._writer.drain()
