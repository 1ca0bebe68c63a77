"""DNS queries as events, from the packet's payload."""

import struct

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import Process, as_actor

_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
          64: "SVCB", 65: "HTTPS", 255: "ANY"}  # fmt: skip
_LONGEST_NAME = 255


def question(payload: bytes) -> tuple[str, str] | None:
    """Name and type that a query asks for; None for anything that is no well-formed query."""
    if len(payload) < 17 or payload[2] & 0x80 or struct.unpack_from("!H", payload, 4)[0] != 1:
        return None
    labels = []
    offset = 12
    length = 0
    while offset < len(payload) and (size := payload[offset]):
        if size > 63 or offset + 1 + size > len(payload):
            return None
        labels.append(payload[offset + 1 : offset + 1 + size].decode("ascii", "backslashreplace"))
        offset += 1 + size
        length += 1 + size
        if length > _LONGEST_NAME:
            return None
    if offset + 5 > len(payload) or not labels:
        return None
    (number,) = struct.unpack_from("!H", payload, offset + 1)
    return ".".join(labels).lower(), _TYPES.get(number, str(number))


def query(name: str, kind: str, process: Process | None, when: float, server: str) -> Event:
    """A row of DeviceEvents for a name that was asked for."""
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(when),
        "ActionType": "DnsQueryResponse",
        "RemoteUrl": name,
        "RemoteIP": server,
        "RemotePort": 53,
        **as_actor(process),
        "AdditionalFields": {"DnsQueryString": name, "DnsQueryType": kind},
    }
