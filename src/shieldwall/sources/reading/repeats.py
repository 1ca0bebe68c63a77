"""Lines that a file has more than once: events without a number of their own may well be alike.

A line says of itself the how-manieth it is, from the second on. So each is a record of its own, and is known
again when the file comes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

REMEMBERED = 500_000
"""Lines that are remembered, at least; alike are such of one moment."""
FIELD = b"Occurrence"


def told_apart(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of JSON objects, those that came before with their number."""
    now: dict[int, int] = {}
    before: dict[int, int] = {}
    for line in lines:
        key = hash(line)
        count = (now.get(key) or before.get(key, 0)) + 1
        now[key] = count
        if len(now) >= REMEMBERED:
            now, before = {}, now
        if count > 1 and len(line) > 2 and line.endswith(b"}"):
            line = b'%b,"%b":%d}' % (line[:-1], FIELD, count)
        yield line
