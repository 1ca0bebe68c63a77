"""The client for programs that wait."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx

from shieldwall.client.calls import Call, Listing
from shieldwall.client.protocol import Credentials, Retries, Session, Steps

T = TypeVar("T")


class Client:
    """Calls the API at ``url``; to be closed, or used as a context. One thread at a time may use it.

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
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = Session(url, credentials, retries)
        self._http = httpx.Client(verify=verify, timeout=timeout, transport=transport)
        self._sleep = sleep

    def send(self, call: Call[T]) -> T:
        """The body of the answer to a call; of a list, its first page as it comes."""
        return self._run(self._session.perform(call))

    def each(self, listing: Listing[T]) -> Iterator[T]:
        """Every item of a list, page after page."""
        link: str | None = None
        while True:
            items, link = self._run(self._session.page(listing, link))
            yield from items
            if link is None:
                return

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
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
                    given = self._http.send(step)
                except httpx.TransportError as error:
                    given = error
            else:
                self._sleep(step)
