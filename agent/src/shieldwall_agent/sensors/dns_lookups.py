"""Queries and their answers brought together, so that each lookup is one event."""

import collections
import time
from collections.abc import Callable, Hashable

from shieldwall_agent.events import Event
from shieldwall_agent.processes import Process
from shieldwall_agent.sensors import canaries, dns
from shieldwall_agent.sensors.dns_stream import Streams
from shieldwall_agent.sensors.own import Own

ANSWER_SECONDS = 2.0
"""So long an answer is awaited. A query without one is told then, as a query."""
MOST_WAITING = 4096

_UDP = 17
_PROTOCOLS = {6: "Tcp", _UDP: "Udp"}
Who = Callable[[], Process | None]


class Lookups:
    """`tell` gets an event for each lookup that is not the agent's own. For one thread.

    `flow` is what tells one conversation of a socket with a server from others.
    """

    def __init__(self, tell: Callable[[Event], None], own: Own) -> None:
        self._tell = tell
        self._own = own
        self._streams = Streams()
        # By conversation, id, name and type, the oldest first: until when, and the query's event.
        self._waiting: collections.OrderedDict[Hashable, tuple[float, Event]] = collections.OrderedDict()

    def sent(
        self, flow: Hashable, protocol: int, sequence: int, payload: bytes, length: int,
        *, when: float, server: str, who: Who,
    ) -> None:  # fmt: skip
        """A packet to a server; `length` is that of its payload, of which the end may be missing here.

        `who` sent it is asked once for each new query.
        """
        for key, message in self._messages(flow, protocol, sequence, payload, length, received=False):
            if message.answered or key in self._waiting:
                continue  # not a query, or one that is sent again
            if message.name == canaries.NAME:
                continue
            process = who()
            if process and self._own.is_own(process):
                continue
            event = dns.query(message.name, message.kind, process, when, server, _PROTOCOLS[protocol])
            self._waiting[key] = time.monotonic() + ANSWER_SECONDS, event
            if len(self._waiting) > MOST_WAITING:
                self._tell(self._waiting.popitem(last=False)[1][1])

    def received(self, flow: Hashable, protocol: int, sequence: int, payload: bytes, length: int) -> None:
        """A packet from a server. Answers that nobody waits for are not told."""
        for key, message in self._messages(flow, protocol, sequence, payload, length, received=True):
            if message.answered and (waiting := self._waiting.pop(key, None)):
                self._tell(dns.answer(waiting[1], message))

    def expire(self, everything: bool = False) -> None:
        """Tell the queries that have waited long enough."""
        now = time.monotonic()
        while self._waiting:
            key = next(iter(self._waiting))
            until, event = self._waiting[key]
            if until > now and not everything:
                return
            del self._waiting[key]
            self._tell(event)

    def _messages(
        self, flow: Hashable, protocol: int, sequence: int, payload: bytes, length: int, received: bool
    ) -> list[tuple[Hashable, dns.Message]]:
        if protocol == _UDP:
            payloads = [payload]
        else:
            payloads = self._streams.messages((flow, received), sequence, payload, length)
        found = [message for message in map(dns.parse, payloads) if message]
        return [((flow, message.id, message.name, message.kind), message) for message in found]
