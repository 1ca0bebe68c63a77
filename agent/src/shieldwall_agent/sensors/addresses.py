"""Addresses as hunting columns write them, and connections as events."""

import ipaddress
import socket

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import Process, as_actor


def text(family: int, raw: bytes) -> str:
    """An address from its bytes; IPv4 in IPv6 is written as IPv4."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    address = ipaddress.IPv6Address(raw[:16])
    return str(address.ipv4_mapped or address)


def plain_text(raw: bytes) -> str:
    """An address of 4 or 16 bytes."""
    return text(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def plain(address: str) -> str:
    """An address as columns write it; what is none, as it is."""
    try:
        return text(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))
    except OSError:
        return address


def kind(address: str) -> str:
    """The documented type of an address: Loopback, Private, Public and so on."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.is_loopback:
        return "Loopback"
    if parsed.is_multicast or address == "255.255.255.255":
        return "Broadcast"
    if parsed.is_private or parsed.is_link_local:
        return "Private"
    return "Reserved" if parsed.is_reserved or parsed.is_unspecified else "Public"


def connection(
    action: str,
    process: Process | None,
    when: float,
    local: tuple[str, int],
    remote: tuple[str, int],
    protocol: str = "Tcp",
) -> Event:
    """A row of DeviceNetworkEvents."""
    event: Event = {
        "Table": "DeviceNetworkEvents",
        "Timestamp": timestamp(when),
        "ActionType": action,
        "LocalIP": local[0],
        "LocalPort": local[1],
        "LocalIPType": kind(local[0]),
        "Protocol": protocol,
        **as_actor(process),
    }
    if action != "ListeningConnectionCreated":
        event |= {"RemoteIP": remote[0], "RemotePort": remote[1], "RemoteIPType": kind(remote[0])}
    return event
