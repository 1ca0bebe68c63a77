"""As much of a DNS message as refusing a name needs."""

import struct
from collections.abc import Iterator

NAME_ERROR, SERVER_FAILURE = 3, 2
_HEADER_SIZE = 12
_LONGEST_NAME = 255
_OPT = b"\0\0\x29"  # an additional record of the root with type OPT
_BLOCKED = struct.pack("!HHH", 15, 2, 15)  # extended error (RFC 8914) of two bytes: "Blocked"


def asked(message: bytes) -> tuple[str, int] | None:
    """Name (in lower case) and type of the first question; None for anything that is no well-formed query."""
    end = _question_end(message)
    if end is None:
        return None
    labels, place = [], _HEADER_SIZE
    while size := message[place]:
        labels.append(message[place + 1 : place + 1 + size].decode("ascii", "backslashreplace").lower())
        place += 1 + size
    return ".".join(labels), int.from_bytes(message[end - 4 : end - 2])


def _question_end(message: bytes) -> int | None:
    if len(message) <= _HEADER_SIZE or message[2] & 0x80 or message[4:6] == b"\0\0":
        return None
    place = _HEADER_SIZE
    while place < len(message) and (size := message[place]):
        place += 1 + size
        if size > 63 or place - _HEADER_SIZE > _LONGEST_NAME:
            return None
    return place + 5 if place > _HEADER_SIZE and place + 5 <= len(message) else None


def refusal(query: bytes) -> bytes:
    """The answer that a listed name does not exist. The resolver is done with it: of a REFUSED it would ask
    the next server, and hold this one for broken."""
    return answer(query, NAME_ERROR, _BLOCKED)


def answer(query: bytes, code: int, extended: bytes = b"") -> bytes:
    """An answer without records to a query that `asked` could read."""
    end = _question_end(query)
    assert end is not None
    opt = b""
    if query[end : end + 3] == _OPT and query[6:12] == b"\0\0\0\0\0\1":
        opt = _OPT + struct.pack("!HIH", 1232, 0, len(extended)) + extended
    flags = struct.pack("!BB", 0x80 | query[2] & 0x79, 0x80 | code)  # opcode and RD are the query's
    counts = struct.pack("!HHHH", 1, 0, 0, 1 if opt else 0)
    return query[:2] + flags + counts + query[_HEADER_SIZE:end] + opt


class QueryStream:
    """Finds the queries in what a client sends over TCP, where each message follows its length of two bytes.

    A query is held until it is whole. All else, other protocols on this port too, goes on as it comes.
    """

    def __init__(self) -> None:
        self._held = b""
        self._passing = 0  # bytes of a message that is no query

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Parts to pass on in this order, and whether each is one query with its length."""
        self._held += data
        while self._held:
            query = not self._passing
            if query:
                if len(self._held) < 5:
                    return  # not yet to be told apart
                size = 2 + int.from_bytes(self._held[:2])
                if not _begins_query(self._held[2:size]):
                    self._passing = size
                    continue
                if len(self._held) < size:
                    return
            else:
                size = min(self._passing, len(self._held))
                self._passing -= size
            part, self._held = self._held[:size], self._held[size:]
            yield part, query

    def rest(self) -> bytes:
        """What is still held when the client has ended."""
        rest, self._held = self._held, b""
        return rest


def _begins_query(message: bytes) -> bool:
    """By its flags and its count of questions, as far as they are there."""
    return len(message) > 2 and not message[2] & 0xF8 and b"\0\1".startswith(message[4:6])
