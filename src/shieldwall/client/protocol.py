"""What both clients do, without doing it: which requests to send, when to wait, and what an answer means.

``Session.perform`` is a generator. It yields a request to send or seconds to wait, and is given the response;
the clients differ only in how they send and wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from shieldwall.client.calls import Call, Listing
from shieldwall.client.errors import ClientError, RequestFailed, SignInFailed

T = TypeVar("T")
Steps = Generator[httpx.Request | float, httpx.Response | httpx.TransportError | None, T]

EARLY = 120
"""Seconds before its end from which a token is not used any more."""


@dataclass(frozen=True)
class Credentials:
    """An application's. ``authority`` is where tokens come from: by default the API's own host."""

    tenant: str
    client_id: str
    client_secret: str = field(repr=False)
    authority: str = ""
    scope: str = "https://api.securitycenter.microsoft.com/.default"


@dataclass(frozen=True)
class Retries:
    """How often to try again, and the longest wait between two tries, in seconds."""

    tries: int = 5
    longest: float = 60

    def pause(self, attempt: int, response: httpx.Response | None) -> float:
        """As long as the server says, else twice as long each time, not all clients at once."""
        asked = _seconds(response.headers.get("retry-after")) if response is not None else None
        wait = asked if asked is not None else 0.5 * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
        return min(wait, self.longest)


class Session:
    """One application's calls to one server. ``clock`` gives seconds."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        retries: Retries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = _safe(url)
        self._authority = _safe(credentials.authority or url)
        self._credentials = credentials
        self._retries = retries or Retries()
        self._clock = clock
        self._token = ""
        self._ends = 0.0

    def perform(self, call: Call[T]) -> Steps[T]:
        """Make a call. ClientError when it cannot be made, RequestFailed when the server refuses it."""
        response = yield from self._signed(call.method, call.path, call.query, call.body)
        if not response.content:
            return None  # type: ignore[return-value]
        try:
            body: T = response.json()
        except ValueError:
            raise ClientError(f"{call.method} {call.path} answered no JSON") from None
        return body

    def page(self, listing: Listing[T], link: str | None) -> Steps[tuple[list[T], str | None]]:
        """The first page of a list or the one at ``link``: its items, and the link of the next one."""
        if link is None:
            body = yield from self.perform(
                Call[Any](listing.method, listing.path, listing.query, listing.body)
            )
        else:
            # The token goes to our own server only, wherever the link points.
            parts = urlsplit(link)
            body = yield from self.perform(Call[Any]("GET", f"{parts.path}?{parts.query}"))
        if not isinstance(body, Mapping) or not isinstance(body.get("value"), list):
            raise ClientError(f"{listing.path} answered no list")
        return body["value"], body.get("@odata.nextLink")

    def _signed(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Steps[httpx.Response]:
        """A good response; a token that the server no longer takes is replaced once."""
        # Anything else would be read as a part of the host's name, and the token would go to another.
        if not path.startswith("/"):
            raise ClientError(f"not a path of the server: {path[:100]}")
        for fresh in (False, True):
            token = yield from self._access_token(fresh)
            response = yield from self._sent(
                httpx.Request(
                    method,
                    self.url + path,
                    params=query or None,
                    json=body,
                    headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                )
            )
            if response.is_success:
                return response
            if response.status_code != 401 or fresh:
                break
        raise _failure(response)

    def _access_token(self, fresh: bool) -> Steps[str]:
        if self._token and not fresh and self._clock() < self._ends:
            return self._token
        mine = self._credentials
        response = yield from self._sent(
            httpx.Request(
                "POST",
                f"{self._authority}/{quote(mine.tenant, safe='')}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": mine.client_id,
                    "client_secret": mine.client_secret,
                    "scope": mine.scope,
                },
            )
        )
        try:
            answer = response.json()
            if not response.is_success:
                raise SignInFailed(str(answer["error_description"]))
            self._token = str(answer["access_token"])
            self._ends = self._clock() + float(answer["expires_in"]) - EARLY
        except (ValueError, KeyError, TypeError):
            raise SignInFailed(f"the token endpoint answered {response.status_code}") from None
        return self._token

    def _sent(self, request: httpx.Request) -> Steps[httpx.Response]:
        """The response to a request, tried again where that cannot do anything twice."""
        attempt = 0
        while True:
            outcome = yield request
            response = outcome if isinstance(outcome, httpx.Response) else None
            attempt += 1
            if not _worth_trying(request.method, response) or attempt >= self._retries.tries:
                if response is None:
                    raise ClientError(f"{request.url.host} does not answer: {outcome}")
                return response
            yield self._retries.pause(attempt, response)


def _safe(url: str) -> str:
    """An address that secrets may be sent to: encrypted, or on this machine. ValueError for any other."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(host)):
        raise ValueError(f"secrets are sent over https only, not to {parts.scheme}://{host}")
    if not host or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the address has to be that of a server alone, such as https://edr.example.org")
    return url.rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _worth_trying(method: str, response: httpx.Response | None) -> bool:
    """Reading may always be repeated; what changes something only when the server says it did nothing."""
    if response is not None and response.status_code in (429, 503):
        return True
    return method == "GET" and (response is None or response.status_code >= 500)


def _failure(response: httpx.Response) -> RequestFailed:
    try:
        error = response.json()["error"]
        return RequestFailed(response.status_code, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return RequestFailed(response.status_code, response.reason_phrase, response.text[:300])


def _seconds(text: str | None) -> float | None:
    """``Retry-After``: seconds or a date."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
