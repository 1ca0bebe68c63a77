"""Refusing connections with listed addresses by nftables, in a table of its own that each change replaces
as a whole."""

import ipaddress
import time
from collections.abc import Mapping

from shieldwall_agent.enforcement import nft
from shieldwall_agent.enforcement.policy import Indicator

TABLE = "shieldwall_block"
_CHAINS = """
  chain output {
    type filter hook output priority -300; policy accept;
    ip daddr @v4 reject with icmpx type admin-prohibited
    ip6 daddr @v6 reject with icmpx type admin-prohibited
  }
  chain input {
    type filter hook input priority -300; policy accept;
    ip saddr @v4 drop
    ip6 saddr @v6 drop
  }
  chain forward {
    type filter hook forward priority -300; policy accept;
    ip daddr @v4 drop
    ip saddr @v4 drop
    ip6 daddr @v6 drop
    ip6 saddr @v6 drop
  }
"""


class AddressBlock:
    """Enforces Warn and Block, established connections included. Audit is left to the telemetry of
    connections.

    nft cannot say which process it refused; the sensors' connection events do."""

    mechanism = "nftables"

    def __init__(self, netns: str | None = None) -> None:
        self._netns = netns
        self._applied: dict[str, float | None] = {}
        self._present = False

    def apply(self, rules: Mapping[str, Indicator]) -> None:
        """Refuse exactly these addresses from now on. Raises NftError, with what was refused before still
        refused."""
        wanted = {address: rule.expires for address, rule in rules.items() if rule.denies}
        if wanted == self._applied and self._present == bool(wanted):
            return
        if wanted:
            nft.load(ruleset(wanted), self._netns)
        else:
            nft.delete(TABLE, self._netns)
        self._applied, self._present = wanted, bool(wanted)

    def remove(self) -> None:
        nft.delete(TABLE, self._netns)
        self._applied, self._present = {}, False


def ruleset(wanted: Mapping[str, float | None], now: float | None = None) -> str:
    """One nft file. Addresses are parsed once more here, so that nothing else can ever get in."""
    moment = time.time() if now is None else now
    elements: dict[int, list[str]] = {4: [], 6: []}
    for text, expires in wanted.items():
        address = ipaddress.ip_address(text)
        # The kernel forgets it by itself too, should the agent not be there to.
        timeout = "" if expires is None else f" timeout {max(1, int((expires - moment) * 1000))}ms"
        elements[address.version].append(f"{address}{timeout}")

    def named(version: int) -> str:
        listed = f"elements = {{ {', '.join(elements[version])} }}" if elements[version] else ""
        return f"  set v{version} {{ type ipv{version}_addr; flags timeout; {listed} }}\n"

    replace = f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE}"
    return f"{replace} {{\n{named(4)}{named(6)}{_CHAINS}}}\n"
