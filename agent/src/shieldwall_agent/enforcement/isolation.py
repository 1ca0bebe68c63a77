"""Cutting the device off from everything but its server, by one nftables table of its own.

Only loopback, the pinned server addresses, DHCP and IPv6's neighbour discovery pass; a `Selective`
isolation also lets the destinations through that the server names. The order is kept on disk first,
re-applied at each start, and the table is put back when somebody deletes or changes it. Release deletes
the table, and nothing else on the device is touched.
"""

import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shieldwall_agent.enforcement import nft
from shieldwall_agent.enforcement.reports import state_event
from shieldwall_agent.enforcement.table_watch import TableWatch
from shieldwall_agent.events import Sink, timestamp
from shieldwall_agent.spool_format import sync_folder, write_atomically

TABLE = "shieldwall_isolation"
FILE_NAME = "isolation.json"
MOST_EXTRAS = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    address: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """From `ip:port` or `[ip]:port`; raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit():
            raise ValueError(f"not ip:port: {text[:100]!r}")
        return cls.of(host.removeprefix("[").removesuffix("]"), int(port))

    @classmethod
    def of(cls, host: str, port: int) -> "Endpoint":
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id:
                raise ValueError("an address with a zone")
            address = address.ipv4_mapped or address
        if not 0 < port < 65536 or address.is_unspecified or address.is_multicast:
            raise ValueError(f"no destination: {host[:60]}:{port}")
        return cls(str(address), port)


class IsolationError(RuntimeError):
    """The device was not isolated, and is as it was."""


class Isolation:
    """`server` is (host, port) as enrolled; a name is resolved when the device is isolated, then pinned."""

    def __init__(self, folder: Path, server: tuple[str, int], sink: Sink, netns: str | None = None) -> None:
        self._path = folder / FILE_NAME
        self._server = server
        self._sink = sink
        self._netns = netns
        self._lock = threading.RLock()
        self._expected: str | None = None
        self._watcher: TableWatch | None = None

    def isolated(self) -> bool:
        return self._path.exists()

    def start(self) -> None:
        """Re-apply what was ordered before a restart, and watch over it."""
        with self._lock:
            if script := self._kept():
                self._apply(script)
                self._watch()

    def stop(self) -> None:
        """Stop watching. The device stays as it is."""
        if self._watcher is not None:
            self._watcher.stop()

    def isolate(self, scope: str = "Full", allow: Iterable[str] = ()) -> None:
        """Raises IsolationError, with the device as it was."""
        try:
            extras = [Endpoint.parse(text) for text in list(allow)[: MOST_EXTRAS + 1]]
        except ValueError as error:
            raise IsolationError(str(error)) from error
        if len(extras) > MOST_EXTRAS:
            raise IsolationError(f"more than {MOST_EXTRAS} exceptions")
        if scope not in ("Full", "Selective"):
            raise IsolationError(f"unknown scope {scope[:40]!r}")
        script = ruleset(self._servers(), extras if scope == "Selective" else [])
        with self._lock:
            before = self._kept()
            write_atomically(self._path, json.dumps({"script": script, "since": timestamp()}).encode())
            try:
                self._apply(script)
            except nft.NftError as error:
                self._keep(before)
                raise IsolationError(str(error)) from error
            self._watch()
        self._report("IsolationApplied", scope)

    def release(self, by: str = "server") -> bool:
        """Whether it was isolated."""
        with self._lock:
            was = self.isolated()
            # First the order, then the table: a watcher in another process must not put it back.
            self._path.unlink(missing_ok=True)
            sync_folder(self._path.parent)
            nft.delete(TABLE, self._netns)
            self._expected = None
        if was:
            self._report("IsolationReleased", by)
        return was

    def check(self) -> bool:
        """Put the table back if it is not as applied; whether it had to be."""
        with self._lock:
            script = self._kept()
            if script is None:
                if self._expected is not None:  # released by the local command in another process
                    self._expected = None
                return False
            if nft.listing(TABLE, self._netns) == self._expected and self._expected is not None:
                return False
            self._apply(script)
            if not self.isolated():  # released while we looked
                nft.delete(TABLE, self._netns)
                self._expected = None
                return False
        log.error("the isolation was changed from outside; it is applied again")
        self._report("IsolationTampered", "applied again")
        return True

    def _apply(self, script: str) -> None:
        nft.load(script, self._netns)
        self._expected = nft.listing(TABLE, self._netns)

    def _kept(self) -> str | None:
        try:
            return str(json.loads(self._path.read_bytes())["script"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            # An unreadable order is still an order: with the server let through, it can be corrected from
            # there.
            return ruleset(self._servers(), [])

    def _keep(self, script: str | None) -> None:
        if script is None:
            self._path.unlink(missing_ok=True)
        else:
            write_atomically(self._path, json.dumps({"script": script, "since": timestamp()}).encode())

    def _servers(self) -> list[Endpoint]:
        host, port = self._server
        try:
            found = nft.inside(self._netns, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            servers = sorted({Endpoint.of(str(entry[4][0]), port) for entry in found})
        except (OSError, ValueError) as error:
            raise IsolationError(f"the server's address is not known: {error}") from error
        if not servers:
            raise IsolationError("the server's address is not known")
        return servers

    def _watch(self) -> None:
        if self._watcher is None:
            self._watcher = TableWatch(TABLE, lambda _: self.check(), self._netns)

    def _report(self, action: str, detail: str) -> None:
        self._sink.emit(state_event(action, detail))


def release_local(folder: Path, sink: Sink, netns: str | None = None) -> bool:
    """The break-glass way, without server or running agent; for root. Whether the device was isolated."""
    return Isolation(folder, ("", 0), sink, netns).release(by="local administrator")


def ruleset(servers: Iterable[Endpoint], extras: Iterable[Endpoint]) -> str:
    """One nft file that replaces the table. Everything in it has been parsed as address and number."""
    outgoing, incoming = [], []
    for endpoint, protocols in (*((s, ("tcp",)) for s in servers), *((e, ("tcp", "udp")) for e in extras)):
        family = "ip6" if ":" in endpoint.address else "ip"
        for protocol in protocols:
            # No state is asked for, so that connections from before the isolation live on; nobody gets in by
            # a connection from the server's port, as the first packet of one is a SYN without ACK.
            opening = "tcp flags & (syn | ack) != syn " if protocol == "tcp" else ""
            place = f"{endpoint.address} {protocol}"
            outgoing.append(f"{family} daddr {place} dport {endpoint.port} accept")
            incoming.append(f"{family} saddr {place} sport {endpoint.port} {opening}accept")
    neighbours = (
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept"
    )
    outgoing += ["udp sport 68 udp dport 67 accept", "udp sport 546 udp dport 547 accept", neighbours]
    incoming += ["udp sport 67 udp dport 68 accept", "udp sport 547 udp dport 546 accept", neighbours]

    def chain(hook: str, rules: list[str]) -> str:
        body = "".join(f"    {rule}\n" for rule in rules)
        return f"  chain {hook} {{\n    type filter hook {hook} priority -310; policy drop;\n{body}  }}\n"

    return (
        f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
        + chain("input", ['iif "lo" accept', *incoming])
        + chain("forward", [])
        + chain("output", ['oif "lo" accept', *outgoing])
        + "}\n"
    )
