"""Values that are never offered as indicators: to block them would harm whoever blocks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sqlalchemy import String, cast, func, or_, select
from sqlalchemy.orm import Session

from shieldwall.detection.external.batches import parts
from shieldwall.detection.models import Indicator
from shieldwall.detection.values import parent_domains
from shieldwall.devices.models import Device

RESOLVERS = frozenset(
    ip_address(text)
    for text in (
        *("1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3", "1.0.0.3"),
        *("2606:4700:4700::1111", "2606:4700:4700::1001", "8.8.8.8", "8.8.4.4"),
        *("2001:4860:4860::8888", "2001:4860:4860::8844", "9.9.9.9", "9.9.9.10", "149.112.112.112"),
        *("2620:fe::fe", "2620:fe::9", "208.67.222.222", "208.67.220.220", "2620:119:35::35"),
        *("2620:119:53::53", "94.140.14.14", "94.140.15.15", "76.76.2.0", "76.76.10.0", "185.228.168.9"),
        *("185.228.169.9", "64.6.64.6", "64.6.65.6", "168.63.129.16"),
    )
)


ROWS = 1_000
FEW = 5
"""Values up to which the devices are asked for each; for more of them all devices' are read once."""


class Harmless:
    """Knows which of some values are not offered, and why; each comes with its indicator type and in its
    comparable form."""

    def __init__(self, session: Session, allowed: Sequence[str], values: Iterable[tuple[str, str]]) -> None:
        self._session = session
        self._allowed = {each.lower().strip(".") for each in allowed}
        self._networks = list(_networks(allowed))
        hosts = {host for kind, value in values if (host := _host(kind, value))}
        addresses = {host for host in hosts if _address(host)}
        public = {host for host in addresses if _is_public(host)}
        names = hosts - addresses
        self._own_addresses = self._addresses_of_devices(public) if public else set()
        self._own_names, self._own_domains = self._names_of_devices(names) if names else (set(), set())
        parents = {parent for name in names for parent in parent_domains(name)}
        self._listed = {
            kind: self._listed_as_allowed(kind, wanted)
            for kind, wanted in (("IpAddress", public), ("DomainName", parents))
        }

    def why(self, kind: str, value: str) -> str | None:
        """Why a value is not offered; None where nothing speaks against it."""
        host = _host(kind, value)
        if host is None:
            return "allowed by the policy" if value in self._allowed else None
        address = _address(host)
        return self._name(host) if address is None else self._why_address(host, address)

    def _why_address(self, value: str, address: IPv4Address | IPv6Address) -> str | None:
        if not _is_public(value):
            return "no public address"
        if address in RESOLVERS:
            return "a well-known resolver"
        if any(address in each for each in self._networks):
            return "allowed by the policy"
        if value in self._own_addresses:
            return "an address of an own device"
        return "allowed by an indicator" if value in self._listed["IpAddress"] else None

    def _name(self, name: str) -> str | None:
        """An own device's name, or the domain that one is in, and all below that, are harmless."""
        parents = parent_domains(name)
        if not self._allowed.isdisjoint(parents):
            return "allowed by the policy"
        if name in self._own_names or not self._own_domains.isdisjoint(parents):
            return "a name of an own device's domain"
        return "allowed by an indicator" if not self._listed["DomainName"].isdisjoint(parents) else None

    def _addresses_of_devices(self, wanted: set[str]) -> set[str]:
        adapters = cast(Device.ip_addresses, String)
        told = select(Device.last_external_ip_address, Device.last_ip_address, adapters)
        if len(wanted) <= FEW:
            last = Device.last_external_ip_address.in_(wanted) | Device.last_ip_address.in_(wanted)
            told = told.where(or_(last, *(adapters.contains(f'"{value}"') for value in wanted)))
        found: set[str] = set()
        for external, local, text in self._session.execute(told.execution_options(yield_per=ROWS)):
            found |= wanted.intersection((external, local, *(text or "").split('"')))
        return found

    def _names_of_devices(self, wanted: set[str]) -> tuple[set[str], set[str]]:
        column = func.lower(Device.computer_dns_name)
        told = select(column).distinct()
        if len(wanted) <= FEW:
            parents = {parent for name in wanted for parent in parent_domains(name)}
            below = (column.endswith(f".{parent}", autoescape=True) for parent in sorted(parents))
            told = told.where(or_(column.in_(wanted), *below))
        names = set(self._session.scalars(told.execution_options(yield_per=ROWS)))
        return names, {domain for name in names if (domain := name.partition(".")[2])}

    def _listed_as_allowed(self, kind: str, values: set[str]) -> set[str]:
        found: set[str] = set()
        for part in parts(sorted(values), ROWS):
            listed = select(Indicator.match_value).where(
                Indicator.indicator_type == kind,
                Indicator.match_value.in_(part),
                Indicator.action == "Allowed",
            )
            found.update(self._session.scalars(listed))
        return found


def _host(kind: str, value: str) -> str | None:
    """The address or name in a value; None where it has none."""
    if kind == "IpAddress":
        return value
    if kind not in ("DomainName", "Url"):
        return None
    host = value.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_public(text: str) -> bool:
    address = ip_address(text)
    return address.is_global and not address.is_multicast


def _networks(allowed: Sequence[str]) -> Iterator[IPv4Network | IPv6Network]:
    for each in allowed:
        try:
            yield ip_network(each, strict=False)
        except ValueError:
            continue
