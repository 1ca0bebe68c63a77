"""Enforcement of listed addresses and domains: BPF programs where they prove to work, else nftables, with a
resolver proxy for domains.

Known limits: names asked for over TLS or HTTPS and names resolved before are not refused; by the programs
also those over TCP, and one that may create cgroups outside `cgroup` escapes them; by nftables those that
are asked from other network namespaces (containers), of link-local servers, and by sockets that were in use
before. A socket bound to an interface is routed by its address only, and gets no answer over TCP.
"""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shieldwall_agent.cgroups import unified_hierarchy
from shieldwall_agent.enforcement.addresses import TABLE, AddressBlock
from shieldwall_agent.enforcement.network_programs import NetworkPrograms
from shieldwall_agent.enforcement.policy import HASH_LENGTHS, Changes, Indicator, PolicyStore
from shieldwall_agent.enforcement.reports import name_account, network_event, state_event
from shieldwall_agent.enforcement.table_watch import TableWatch
from shieldwall_agent.events import Sink

if TYPE_CHECKING:
    from shieldwall_agent.enforcement.name_block import NameBlock

log = logging.getLogger(__name__)


class NetworkEnforcement:
    """`netns` and `cgroup` keep it inside those; by default it is for the whole machine."""

    def __init__(
        self, policy: PolicyStore, sink: Sink, netns: str | None = None, cgroup: Path | None = None
    ) -> None:
        self._policy = policy
        self._sink = sink
        self._cgroup = cgroup
        self._netns = netns
        self._tables = AddressBlock(netns)
        self._watch: TableWatch | None = None
        self._programs: NetworkPrograms | None = None
        self._names: NameBlock | None = None
        self._problem = ""
        self._refused = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Enforce what is kept, and follow the list from now on. Never raises: see `health`."""
        try:
            self._programs = NetworkPrograms(self._cgroup or unified_hierarchy(), self._seen)
        except (OSError, ValueError) as error:
            self._problem = f"no BPF programs: {error}"
            log.warning("addresses and domains are refused by nftables: %s", error)
            self._block_names()
        self._policy.listen(self._changed)
        self._enforce()

    def stop(self) -> None:
        """Let everything pass again."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        with self._lock:
            if self._programs is not None:
                self._programs.close()
                self._programs = None
            if self._names is not None:
                self._names.stop()
                self._names = None
            try:
                self._tables.remove()
            except (OSError, RuntimeError):
                log.exception("the table of listed addresses could not be removed")

    def health(self) -> dict[str, Any]:
        programs, names = self._programs, self._names
        if programs is not None:
            domains = "cgroup BPF"
        else:
            domains = names.mechanism if names is not None and names.alive() else "none"
        lost = programs.lost() if programs else names.lost if names else 0
        return {
            "addresses": "cgroup BPF" if programs else self._tables.mechanism,
            "domains": domains,
            "reported": self._refused,
            "lost": lost,
            "problem": self._problem,
        }

    def _block_names(self) -> None:
        # Only where it is needed: asyncio, which it runs on, is a fourteenth of an agent's memory.
        from shieldwall_agent.enforcement.name_block import NameBlock

        names = NameBlock(self._sink, self._seen, self._netns)
        try:
            names.start()
            self._names = names
        except (OSError, RuntimeError) as error:
            self._problem += f"; no resolver proxy: {error}"
            log.warning("domains are only detected: %s", error)

    def _changed(self, changes: Changes) -> None:
        if changes.full or any(i.type not in HASH_LENGTHS for i in (*changes.upserted, *changes.removed)):
            self._enforce()

    def _enforce(self) -> None:
        with self._lock:
            try:
                addresses = self._policy.address_rules()
                if self._programs is not None:
                    self._programs.apply(addresses, self._policy.domain_rules())
                else:
                    self._tables.apply(addresses)
                    if self._watch is None:
                        self._watch = TableWatch(TABLE, self._checked, self._netns)
                    if self._names is not None:
                        self._names.apply(self._policy.domain_rules())
            except (OSError, RuntimeError) as error:
                self._problem = str(error)
                log.exception("the list of addresses and domains could not be enforced")

    def _checked(self, thorough: bool) -> None:
        with self._lock:
            tampered = self._watch is not None and self._tables.check(thorough)
        if tampered:
            log.error("the refused addresses were changed from outside; they are refused again")
            self._sink.emit(state_event("AddressBlockTampered", "applied again"))

    def _seen(self, rule: Indicator, pid: int, columns: dict[str, Any]) -> None:
        self._refused += 1
        self._sink.emit(name_account(network_event(rule, pid, **columns)))
