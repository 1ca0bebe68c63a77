"""Signed HTTPS requests to the one server whose CA is pinned. A client belongs to one thread."""

import contextlib
import hashlib
import http.client
import json
import random
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

from shieldwall_agent import __version__
from shieldwall_agent.config import Enrolment, State
from shieldwall_agent.identity import Clock, Signer, load_or_make_key

LARGEST_ANSWER = 64 * 1024 * 1024  # bytes; the whole indicator list at most
LONGEST_PAUSE = 300.0  # seconds, between tries
_COPY_BYTES = 256 * 1024
_TIME_TOLERANCE = 3.0  # seconds; a Date header has whole ones


class Unreachable(Exception):
    """No answer came: the request may or may not have reached the server."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.retry_after = retry_after  # seconds


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Pause:
    """Jittered exponential pauses between tries: half to all of 1, 2, 4 ... LONGEST_PAUSE seconds."""

    def __init__(self, first: float = 1.0) -> None:
        self._first = first
        self._tries = 0

    def next(self, retry_after: float | None = None) -> float:
        longest: float = min(LONGEST_PAUSE, self._first * 2 ** min(self._tries, 20))
        self._tries += 1
        if retry_after is not None:
            return min(max(retry_after, 0.1), LONGEST_PAUSE) * random.uniform(1, 1.2)  # noqa: S311
        return longest * random.uniform(0.5, 1)  # noqa: S311

    def reset(self) -> None:
        self._tries = 0


def tls_context(authority: str, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later to a server of the CA `authority` (PEM) only, with our certificate if we have it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=authority)
    if certificate is not None and certificate.exists():
        context.load_cert_chain(certificate, key)
    return context


def connect(
    address: tuple[str, int], context: ssl.SSLContext, proxy: str, timeout: float
) -> http.client.HTTPSConnection:
    if not proxy:
        return http.client.HTTPSConnection(*address, context=context, timeout=timeout)
    host, _, port = proxy.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=timeout)
    connection.set_tunnel(*address)
    return connection


class Client:
    def __init__(self, enrolment: Enrolment, signer: Signer, context: ssl.SSLContext, clock: Clock) -> None:
        self._enrolment = enrolment
        self._signer = signer
        self._context = context
        self._clock = clock
        self._connection: http.client.HTTPSConnection | None = None

    @classmethod
    def open(cls, state: State, enrolment: Enrolment, clock: Clock) -> "Client":
        signer = Signer(enrolment.device_id, load_or_make_key(state.key))
        context = tls_context(state.authority.read_text(), state.certificate, state.key)
        return cls(enrolment, signer, context, clock)

    def another(self) -> "Client":
        """A client with a connection of its own, for another thread."""
        return Client(self._enrolment, self._signer, self._context, self._clock)

    def request(
        self,
        method: str,
        target: str,
        body: bytes | BinaryIO = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """One request. Raises Unreachable or Refused; sends again only when refused for the clock."""
        try:
            return self._once(method, target, body, headers or {}, timeout)
        except Refused as refusal:
            if refusal.code != "ClockSkew":
                raise
            return self._once(method, target, body, headers or {}, timeout)

    def upload(self, target: str, file: BinaryIO, timeout: float) -> Answer:
        """PUT a zip file, streamed. Raises Unreachable or Refused."""
        digest, _ = _measure(file)
        headers = {"X-Shieldwall-SHA256": digest, "Content-Type": "application/zip"}
        return self.request("PUT", target, file, headers, timeout)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(
        self, method: str, target: str, body: bytes | BinaryIO, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        digest, length = _measure(body)
        try:
            connection = self._connection
            if connection is not None and _closed_by_server(connection):
                self.close()
                connection = None
            if connection is None:
                connection = connect(self._enrolment.address, self._context, self._enrolment.proxy, timeout)
                self._connection = connection
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.putrequest(method, target, skip_accept_encoding=True)
            signature = self._signer.authorization(method, target, digest, self._clock.now())
            for name, value in {
                "User-Agent": f"shieldwall-agent/{__version__}",
                "Authorization": signature,
                "Content-Length": str(length),
                **headers,
            }.items():
                connection.putheader(name, value)
            connection.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _send(connection, body)  # a server may answer, and close, before it has read all of it
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER + 1)
            if len(content) > LARGEST_ANSWER:
                raise http.client.HTTPException("the answer is too large")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise
        self._learn_time(response)
        if response.will_close:
            self.close()
        if response.status >= 300:
            raise self._refusal(response, content)
        return Answer(response.status, content)

    def _learn_time(self, response: http.client.HTTPResponse) -> None:
        """Expiries are to the second, so a clock that is only a little off matters too."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            told = parsedate_to_datetime(response.headers["Date"]).timestamp()
            if abs(told - self._clock.now()) > _TIME_TOLERANCE:
                self._clock.correct(told)

    def _refusal(self, response: http.client.HTTPResponse, content: bytes) -> Refused:
        code, message = "", ""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            error = json.loads(content)["error"]
            code, message = str(error["code"]), str(error["message"])[:300]
        wait = response.headers.get("Retry-After", "")
        return Refused(response.status, code, message, float(wait) if wait.isdigit() else None)


def _closed_by_server(connection: http.client.HTTPSConnection) -> bool:
    """Whether a kept connection has ended meanwhile: between requests nothing else makes it readable."""
    sock: socket.socket | None = connection.sock
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _measure(body: bytes | BinaryIO) -> tuple[str, int]:
    """Hex SHA-256 and length; of a file without holding it."""
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest(), len(body)
    body.seek(0)
    digest = hashlib.sha256()
    while chunk := body.read(_COPY_BYTES):
        digest.update(chunk)
    return digest.hexdigest(), body.tell()


def _send(connection: http.client.HTTPSConnection, body: bytes | BinaryIO) -> None:
    if isinstance(body, bytes):
        if body:
            connection.send(body)
        return
    body.seek(0)
    while chunk := body.read(_COPY_BYTES):
        connection.send(chunk)
