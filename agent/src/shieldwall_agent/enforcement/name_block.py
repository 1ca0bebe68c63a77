"""Refusing listed names where BPF programs cannot: DNS is redirected to a small resolver proxy of ours.

A thread of the responder process runs both. Should the process or the thread die or hang, the redirect goes
(`name_redirect`) and every name resolves again. Nothing is redirected while no domain is listed.

As the sensors take redirected queries for the proxy's own, each is told as an event from here.
"""

import asyncio
import concurrent.futures
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

from shieldwall_agent.enforcement import dns_message, nft
from shieldwall_agent.enforcement.conntrack import Flow
from shieldwall_agent.enforcement.name_proxy import NameProxy
from shieldwall_agent.enforcement.name_redirect import BEAT_SECONDS, DNS_PORT, Listener, Redirect
from shieldwall_agent.enforcement.policy import Indicator, longest_match
from shieldwall_agent.enforcement.reports import name_account, name_query
from shieldwall_agent.events import Sink
from shieldwall_agent.socket_owners import SocketOwners

START_SECONDS = 10.0
LISTED_SECONDS = 0.5  # longest time that a listed name waits until its process is known
OTHER_SECONDS = 0.02  # and any other name
MOST_REPORTS = 256  # that wait for their process to be found

_CANARY = "canary.shieldwall.invalid"
_LOOPBACK = {"ipv4": (socket.AF_INET, "127.0.0.1"), "ipv6": (socket.AF_INET6, "::1")}

Seen = Callable[[Indicator, int, dict[str, Any]], None]

log = logging.getLogger(__name__)


class NameBlock:
    """`seen` is called, in a thread of this object, with each refused or audited query: rule, pid and event
    columns."""

    mechanism = "nftables and a resolver proxy"

    def __init__(self, sink: Sink, seen: Seen, netns: str | None = None) -> None:
        self._sink = sink
        self._seen = seen
        self._netns = netns
        self._rules: Mapping[str, Indicator] = {}
        self._wanted = False
        self._started: concurrent.futures.Future[list[Listener]] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="name-proxy", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._turn: asyncio.Event  # something is to be done before the next beat
        self._stopping = False
        self._tasks: concurrent.futures.ThreadPoolExecutor
        self._reports = 0
        self.lost = 0  # events for which there was no room

    def start(self) -> None:
        """Raises OSError or NftError where it does not work; then nothing is left of it."""
        self._thread.start()
        try:
            listeners = self._started.result(START_SECONDS)
            self._redirect(True)
            nft.inside(self._netns, lambda: _prove(listeners))
            self._redirect(False)
        except TimeoutError as error:
            self.stop()
            raise nft.NftError("the resolver proxy does not start") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Let every name resolve again."""
        self._stopping = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._turn.set)
            self._thread.join(10)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def apply(self, rules: Mapping[str, Indicator]) -> None:
        """Refuse exactly these domains from now on. Raises NftError."""
        self._rules = rules
        self._redirect(any(rule.action != "Allowed" for rule in rules.values()))

    def _redirect(self, wanted: bool) -> None:
        self._wanted = wanted
        asyncio.run_coroutine_threadsafe(self._beat(), self._loop).result(START_SECONDS)

    def _run(self) -> None:
        try:
            if self._netns is not None:
                nft.enter(self._netns)
            asyncio.run(self._main())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _main(self) -> None:
        self._loop, self._turn = asyncio.get_running_loop(), asyncio.Event()
        self._owners = SocketOwners()
        self._tasks = concurrent.futures.ThreadPoolExecutor(1, "name-reports")
        proxy = NameProxy(self._judge)
        try:
            listeners = await proxy.listen()
            self._table = Redirect(listeners)
            try:
                self._started.set_result(listeners)
                await self._beat_on(proxy)
                self._table.remove()
            finally:
                self._table.close()
        finally:
            await proxy.close()
            self._tasks.shutdown(cancel_futures=True)
            self._owners.close()

    async def _beat_on(self, proxy: NameProxy) -> None:
        working = True
        while not self._stopping:
            try:
                await self._beat()
                working = True
            except nft.NftError:
                if working:
                    log.exception("names cannot be redirected, and resolve")
                working = False
            proxy.tidy()
            try:
                await asyncio.wait_for(self._turn.wait(), BEAT_SECONDS)
            except TimeoutError:
                continue

    async def _beat(self) -> None:
        if self._wanted:
            self._table.beat()
        else:
            self._table.remove()

    async def _judge(self, message: bytes, flow: Flow) -> bytes | None:
        question = dns_message.asked(message)
        if question is None:
            return None
        if question[0] == _CANARY:
            return dns_message.refusal(message)
        rule = longest_match(question[0], self._rules)
        if rule is not None and rule.action == "Allowed":
            rule = None
        told = self._tell(rule, question, flow)
        if told is not None:  # once it has its answer, the client may be gone
            seconds = LISTED_SECONDS if rule is not None else OTHER_SECONDS
            await asyncio.wait([asyncio.wrap_future(told)], timeout=seconds)
        return dns_message.refusal(message) if rule is not None and rule.denies else None

    def _tell(
        self, rule: Indicator | None, question: tuple[str, int], flow: Flow
    ) -> "concurrent.futures.Future[None] | None":
        if self._reports >= MOST_REPORTS:
            self.lost += 1
            return None
        self._reports += 1
        told = self._tasks.submit(self._report, rule, question, flow)
        told.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._reported))
        return told

    def _reported(self) -> None:
        self._reports -= 1

    def _report(self, rule: Indicator | None, question: tuple[str, int], flow: Flow) -> None:
        try:
            pid = self._owners.find(flow.protocol, flow.client, flow.server)
            protocol = "Udp" if flow.protocol == socket.IPPROTO_UDP else "Tcp"
            if rule is not None:
                self._seen(rule, pid, {"RemoteUrl": question[0], "RemotePort": DNS_PORT})
            if pid != os.getpid() and (rule is None or not rule.denies):
                self._sink.emit(name_account(name_query(*question, flow.server[0], protocol, pid)))
        except Exception:
            log.exception("a query could not be reported")


def _prove(listeners: list[Listener]) -> None:
    """A ruleset can load and then do nothing: ask for a listed name each way. Raises OSError."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in _CANARY.split("."))
    query = os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    for name, protocol, _ in listeners:
        family, address = _LOOPBACK[name]
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        with socket.socket(family, kind) as client:
            client.settimeout(3)
            client.connect((address, DNS_PORT))
            if protocol == "udp":
                client.send(query)
                answer = client.recv(512)
            else:
                client.sendall(struct.pack("!H", len(query)) + query)
                answer = client.recv(514)[2:]
            if answer != dns_message.refusal(query):
                raise OSError(f"the canary was not refused over {name} {protocol}")
