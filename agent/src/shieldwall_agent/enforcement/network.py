"""Enforcement of listed addresses and domains: BPF programs where they prove to work, else nftables for
addresses.

Known limits: names asked for over TCP, TLS or HTTPS and names resolved before are not refused; without the
programs domains are only detected; one that may create cgroups outside `cgroup` escapes it.
"""

import logging
import threading
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement.addresses import AddressBlock
from shieldwall_agent.enforcement.network_programs import NetworkPrograms
from shieldwall_agent.enforcement.policy import HASH_LENGTHS, Changes, Indicator, PolicyStore
from shieldwall_agent.enforcement.reports import name_account, network_event
from shieldwall_agent.events import Sink

log = logging.getLogger(__name__)


class NetworkEnforcement:
    """`netns` and `cgroup` keep it inside those; by default it is for the whole machine."""

    def __init__(
        self, policy: PolicyStore, sink: Sink, netns: str | None = None, cgroup: Path | None = None
    ) -> None:
        self._policy = policy
        self._sink = sink
        self._cgroup = cgroup
        self._tables = AddressBlock(netns)
        self._programs: NetworkPrograms | None = None
        self._problem = ""
        self._refused = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Enforce what is kept, and follow the list from now on. Never raises: see `health`."""
        try:
            self._programs = NetworkPrograms(self._cgroup or unified_hierarchy(), self._seen)
        except (OSError, ValueError) as error:
            self._problem = f"no BPF programs: {error}"
            log.warning("addresses are refused by nftables, domains not at all: %s", error)
        self._policy.listen(self._changed)
        self._enforce()

    def stop(self) -> None:
        """Let everything pass again."""
        with self._lock:
            if self._programs is not None:
                self._programs.close()
                self._programs = None
            try:
                self._tables.remove()
            except (OSError, RuntimeError):
                log.exception("the table of listed addresses could not be removed")

    def health(self) -> dict[str, Any]:
        programs = self._programs
        return {
            "addresses": "cgroup BPF" if programs else self._tables.mechanism,
            "domains": "cgroup BPF" if programs else "none",
            "reported": self._refused,
            "lost": programs.lost() if programs else 0,
            "problem": self._problem,
        }

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
            except (OSError, RuntimeError) as error:
                self._problem = str(error)
                log.exception("the list of addresses and domains could not be enforced")

    def _seen(self, rule: Indicator, pid: int, columns: dict[str, Any]) -> None:
        self._refused += 1
        self._sink.emit(name_account(network_event(rule, pid, **columns)))


def unified_hierarchy() -> Path:
    """The root of cgroup v2. Raises FileNotFoundError."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split(" ")[4])
    raise FileNotFoundError("cgroup v2 is not mounted")
