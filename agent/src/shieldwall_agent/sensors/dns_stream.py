"""DNS messages out of TCP segments: each stands behind its length, wherever segments begin and end."""

import collections
from collections.abc import Hashable

MOST_STREAMS = 256
LONGEST_KEPT = 4096
"""So much of a message is kept; what it answers first is there."""

_SHORTEST = 12
_FARTHEST = 1 << 24
_ALL = 1 << 32


class Streams:
    """Many directions of many connections; the ones that were silent longest are forgotten."""

    def __init__(self) -> None:
        self._streams: collections.OrderedDict[Hashable, _Stream] = collections.OrderedDict()

    def messages(self, key: Hashable, sequence: int, payload: bytes, length: int) -> list[bytes]:
        """What a segment completes; `length` is its real one when the end of `payload` is missing."""
        stream = self._streams.pop(key, None) or _Stream(sequence)
        self._streams[key] = stream
        if len(self._streams) > MOST_STREAMS:
            self._streams.popitem(last=False)
        return stream.take(sequence, payload, length)


class _Stream:
    __slots__ = ("_buffer", "_expected", "_skip")

    def __init__(self, sequence: int) -> None:
        self._buffer = bytearray()
        self._begin(sequence)

    def _begin(self, sequence: int) -> None:
        self._expected = sequence
        self._skip = 0  # bytes that end a message which was told already
        self._buffer.clear()

    def take(self, sequence: int, payload: bytes, length: int) -> list[bytes]:
        ahead = (sequence - self._expected + _ALL // 2) % _ALL - _ALL // 2
        if abs(ahead) > _FARTHEST:  # another connection between the same ends
            self._begin(sequence)
            ahead = 0
        found: list[bytes] = []
        if ahead > 0:
            self._lose(ahead, found)
        elif ahead < 0:  # sent again, as a whole or in part
            payload, length = payload[-ahead:], length + ahead
            if length <= 0:
                return []
            sequence -= ahead
        self._expected = (sequence + length) % _ALL
        self._add(payload, found)
        if length > len(payload):
            self._lose(length - len(payload), found)
        return found

    def _add(self, payload: bytes, found: list[bytes]) -> None:
        skipped = min(self._skip, len(payload))
        self._skip -= skipped
        self._buffer += payload[skipped:]
        while len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2])
            if size < _SHORTEST:
                self._buffer.clear()  # no DNS, or out of step: begin anew at the next segment
                return
            kept = min(size, LONGEST_KEPT)
            if len(self._buffer) < 2 + kept:
                return
            found.append(bytes(self._buffer[2 : 2 + kept]))
            self._skip = max(0, 2 + size - len(self._buffer))
            del self._buffer[: 2 + size]

    def _lose(self, count: int, found: list[bytes]) -> None:
        """Go on after bytes that were not seen: in the same message, else with the segment that follows."""
        if len(self._buffer) >= 2:
            self._skip = 2 + int.from_bytes(self._buffer[:2]) - len(self._buffer)
            found.append(bytes(self._buffer[2:]))
        self._buffer.clear()
        self._skip = max(0, self._skip - count)
