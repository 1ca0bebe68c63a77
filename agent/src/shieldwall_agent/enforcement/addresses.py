"""Refusing connections with listed addresses by nftables, in a table of its own that each change replaces
as a whole, and that is put back when somebody takes it away."""

import ipaddress
import re
import time
from collections.abc import Mapping

from shieldwall_agent.enforcement import nft
from shieldwall_agent.enforcement.policy import Indicator

TABLE = "shieldwall_block"
MOST_COMPARED = 10_000  # addresses; listing more costs too much to do it now and then
_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)
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
        self._expected: str | None = None

    def apply(self, rules: Mapping[str, Indicator]) -> None:
        """Refuse exactly these addresses from now on. Raises NftError, with what was refused before still
        refused."""
        wanted = {address: rule.expires for address, rule in rules.items() if rule.denies}
        if wanted == self._applied and self._present == bool(wanted):
            return
        if wanted:
            self._load(wanted)
        else:
            nft.delete(TABLE, self._netns)
        self._applied, self._present = wanted, bool(wanted)

    def check(self, thorough: bool) -> bool:
        """Put the table back if it is not as applied; whether it had to be. Raises NftError.

        Whether each address is still in it is only looked at when `thorough`.
        """
        if not self._present or (self._is_whole() and not (thorough and self._lacks())):
            return False
        self._load(_unexpired(self._applied))
        return True

    def remove(self) -> None:
        nft.delete(TABLE, self._netns)
        self._applied, self._present = {}, False

    def _load(self, wanted: Mapping[str, float | None]) -> None:
        nft.load(ruleset(wanted), self._netns)
        self._expected = nft.listing(TABLE, self._netns, elements=False)

    def _is_whole(self) -> bool:
        return self._expected is not None and self._expected == nft.listing(
            TABLE, self._netns, elements=False
        )

    def _lacks(self) -> bool:
        """Whether an address is missing that is wanted for some seconds yet."""
        wanted = {ipaddress.ip_address(text) for text in _unexpired(self._applied, 5)}
        if not wanted or len(wanted) > MOST_COMPARED:
            return False
        listed = nft.listing(TABLE, self._netns) or ""
        return not wanted <= {
            ipaddress.ip_address(element.split()[0])
            for elements in _ELEMENTS.findall(listed)
            for element in elements.split(",")
        }


def _unexpired(wanted: Mapping[str, float | None], seconds: float = 0) -> dict[str, float | None]:
    """The addresses that are still wanted after so many seconds."""
    moment = time.time() + seconds
    return {address: expires for address, expires in wanted.items() if expires is None or expires > moment}


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
