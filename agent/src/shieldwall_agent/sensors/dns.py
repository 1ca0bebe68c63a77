"""DNS messages from payloads that anyone may have sent, and lookups as events.

A message is read as far as it is whole and well formed; nothing in it can make reading it long or its text
misleading: sizes and counts are bounded, compression may only point backwards, odd bytes are escaped.
"""

import struct
from typing import NamedTuple

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import Process, as_actor
from shieldwall_agent.sensors import addresses

PORT = 53
MOST_ANSWERS = 32
LONGEST_TEXT = 255

_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
          64: "SVCB", 65: "HTTPS", 255: "ANY"}  # fmt: skip
_CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_HEADER = struct.Struct("!6H")  # id, flags, questions, answers, authorities, additional
_RECORD = struct.Struct("!HHIH")  # type, class, time to live, size
_ANSWERED, _OPCODE, _CODE = 0x8000, 0x7800, 0x000F
_LONGEST_NAME = 255
_MOST_POINTERS = 16


class Message(NamedTuple):
    """A question, and what an answer tells: its code and the data of its records."""

    id: int
    answered: bool
    name: str
    kind: str
    code: str
    answers: tuple[str, ...]


class _Malformed(Exception):
    """What was to be read is not there, or is not what may be there."""


def parse(payload: bytes) -> Message | None:
    """A query or the answer to one; None for what is neither."""
    try:
        number, flags, questions, answers, _, _ = _HEADER.unpack_from(payload)
        if questions != 1 or flags & _OPCODE:
            return None
        name, offset = _name(payload, _HEADER.size)
        if not name:
            return None
        kind, _ = struct.unpack_from("!HH", payload, offset)
    except (_Malformed, struct.error):
        return None
    answered = bool(flags & _ANSWERED)
    found = _answers(payload, offset + 4, min(answers, MOST_ANSWERS)) if answered else ()
    code = flags & _CODE
    return Message(
        number, answered, name, _TYPES.get(kind, str(kind)), _CODES.get(code, str(code)), tuple(found)
    )


def question(payload: bytes) -> tuple[str, str] | None:
    """Name and type that a query asks for; None for anything that is no well-formed query."""
    message = parse(payload)
    return (message.name, message.kind) if message and not message.answered else None


def _answers(payload: bytes, offset: int, count: int) -> list[str]:
    """The data of the first records, up to one that is cut or malformed."""
    found = []
    try:
        for _ in range(count):
            _, offset = _name(payload, offset)
            kind, _, _, size = _RECORD.unpack_from(payload, offset)
            offset += _RECORD.size
            if offset + size > len(payload):
                break
            if text := _data(payload, _TYPES.get(kind, ""), offset, size):
                found.append(text[:LONGEST_TEXT])
            offset += size
    except (_Malformed, struct.error):
        pass
    return found


def _data(payload: bytes, kind: str, offset: int, size: int) -> str:
    """One record's data as zone files write it; empty for types that say nothing of use."""
    data = payload[offset : offset + size]
    if (kind == "A" and size == 4) or (kind == "AAAA" and size == 16):
        return addresses.plain_text(data)
    if kind in ("CNAME", "NS", "PTR"):
        return _name(payload, offset)[0]
    if kind == "MX" and size > 2:
        return f"{int.from_bytes(data[:2])} {_name(payload, offset + 2)[0]}"
    if kind == "SRV" and size > 6:
        priority, weight, port = struct.unpack_from("!HHH", data)
        return f"{priority} {weight} {port} {_name(payload, offset + 6)[0]}"
    if kind == "TXT":
        text, place = "", 0
        while place < size and place < LONGEST_TEXT and len(text) < LONGEST_TEXT:
            text += _escaped(data[place + 1 : place + 1 + data[place]], b"\\")
            place += 1 + data[place]
        return text
    return ""


def _name(payload: bytes, offset: int) -> tuple[str, int]:
    """A name in lower case, and where what follows it begins. Raises _Malformed."""
    labels: list[str] = []
    length = pointers = 0
    first = offset
    end: int | None = None
    while True:
        if offset >= len(payload):
            raise _Malformed
        size = payload[offset]
        if size >= 0xC0:
            # Only to what stands before all that was read so far, and so never round in a circle.
            if offset + 1 >= len(payload):
                raise _Malformed
            target = (size & 0x3F) << 8 | payload[offset + 1]
            pointers += 1
            if not _HEADER.size <= target < first or pointers > _MOST_POINTERS:
                raise _Malformed
            end = offset + 2 if end is None else end
            first = offset = target
            continue
        offset += 1
        if size == 0:
            return ".".join(labels), offset if end is None else end
        length += 1 + size
        if size > 63 or length >= _LONGEST_NAME or offset + size > len(payload):
            raise _Malformed
        labels.append(_escaped(payload[offset : offset + size], b"\\.").lower())
        offset += size


def _escaped(raw: bytes, special: bytes) -> str:
    """Bytes as zone files write them: what is not printable, or has a meaning, by its decimal number."""
    if raw.isalnum():
        return raw.decode("ascii")
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte not in special else f"\\{byte:03}" for byte in raw
    )


def query(
    name: str, kind: str, process: Process | None, when: float | None, server: str, protocol: str = "Udp"
) -> Event:
    """A row of DeviceEvents for a name that was asked for."""
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(when),
        "ActionType": "DnsQueryRequest",
        "RemoteUrl": name,
        "RemoteIP": server,
        "RemotePort": PORT,
        **as_actor(process),
        "AdditionalFields": {"DnsQueryString": name, "DnsQueryType": kind, "Protocol": protocol},
    }


def answer(asked: Event, message: Message) -> Event:
    """The row of a query together with its answer."""
    fields = {
        **asked["AdditionalFields"],
        "DnsResponseCode": message.code,
        "DnsQueryResult": list(message.answers),
    }
    return {**asked, "ActionType": "DnsQueryResponse", "AdditionalFields": fields}
