"""Values that are never offered as indicators: to block them would harm whoever blocks them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from sqlalchemy import String, cast, func, or_, select
from sqlalchemy.orm import Session

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


def why_harmless(session: Session, kind: str, value: str, allowed: Sequence[str]) -> str | None:
    """Why a comparable value of this indicator type is not offered; None where nothing speaks against it."""
    if kind == "IpAddress":
        return _address(session, value, allowed)
    if kind in ("DomainName", "Url"):
        host = value.partition("/")[0].partition("?")[0].rpartition("@")[2]
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ip_address(host)
        except ValueError:
            return _domain(session, host, allowed)
        return _address(session, host, allowed)
    return "allowed by the policy" if value in {each.lower() for each in allowed} else None


def _address(session: Session, value: str, allowed: Sequence[str]) -> str | None:
    address = ip_address(value)
    if not address.is_global or address.is_multicast:
        return "no public address"
    if address in RESOLVERS:
        return "a well-known resolver"
    for each in allowed:
        try:
            if address in ip_network(each, strict=False):
                return "allowed by the policy"
        except ValueError:
            continue
    own = or_(
        Device.last_external_ip_address == value,
        Device.last_ip_address == value,
        cast(Device.ip_addresses, String).contains(f'"{value}"'),
    )
    if session.scalar(select(Device.id).where(own).limit(1)):
        return "an address of an own device"
    return _listed_as_allowed(session, "IpAddress", [value])


def _domain(session: Session, name: str, allowed: Sequence[str]) -> str | None:
    parents = parent_domains(name)
    known = {each.lower().strip(".") for each in allowed}
    if any(parent in known for parent in parents):
        return "allowed by the policy"
    column = func.lower(Device.computer_dns_name)
    # An own device's name, or the domain that one is in, and all below that.
    own = or_(column == name, *(column.endswith(f".{parent}", autoescape=True) for parent in parents))
    for device in session.scalars(select(column).where(own).limit(100)):
        if device == name or device.partition(".")[2] in parents:
            return "a name of an own device's domain"
    return _listed_as_allowed(session, "DomainName", parents)


def _listed_as_allowed(session: Session, kind: str, values: Sequence[str]) -> str | None:
    listed = select(Indicator.id).where(
        Indicator.indicator_type == kind,
        Indicator.match_value.in_(values),
        Indicator.action == "Allowed",
    )
    return "allowed by an indicator" if session.scalar(listed.limit(1)) else None
