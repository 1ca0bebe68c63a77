"""The client for asyncio."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import httpx

from shieldwall.client.calls import Call, Listing
from shieldwall.client.protocol import Credentials, Retries, Session, Steps

T = TypeVar("T")


class AsyncClient:
    """Calls the API at ``url``; to be closed, or used as a context.

    ValueError for an address without TLS that is not of this machine.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        verify: ssl.SSLContext | bool = True,
        timeout: float = 60,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = Session(url, credentials, retries)
        self._http = httpx.AsyncClient(verify=verify, timeout=timeout, transport=transport)
        self._sleep = sleep

    async def send(self, call: Call[T]) -> T:
        """The body of the answer to a call; of a list, its first page as it comes."""
        return await self._run(self._session.perform(call))

    async def each(self, listing: Listing[T]) -> AsyncIterator[T]:
        """Every item of a list, page after page."""
        link: str | None = None
        while True:
            items, link = await self._run(self._session.page(listing, link))
            for item in items:
                yield item
            if link is None:
                return

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        given: httpx.Response | httpx.TransportError | None = None
        while True:
            try:
                step = steps.send(given)
            except StopIteration as end:
                found: T = end.value
                return found
            given = None
            if isinstance(step, httpx.Request):
                step.extensions.setdefault("timeout", self._http.timeout.as_dict())
                try:
                    given = await self._http.send(step)
                except httpx.TransportError as error:
                    given = error
            else:
                await self._sleep(step)
