"""The bounded on-disk queue between sensors and server: the reading side, in the transport's process.

A batch is a range of indexes; its sequence number is the last of them. How far a batch reaches is on disk
before it is sent, and a range that was sent is never extended until it is acknowledged. So a resent batch
is the same bytes under the same number, also after a crash, and the server can tell it by the number alone.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from shieldwall_agent.spool_format import CursorFile, Group, groups, segments

BATCH_ROWS = 5_000
BATCH_BYTES = 1_000_000  # before compression


@dataclass(frozen=True)
class Batch:
    stream: str  # 32 hex digits
    sequence: int  # index of the last event
    rows: int
    body: bytes  # NDJSON
    resent: bool  # it may have reached the server before


class SpoolReader:
    """Hands out one batch at a time. Not thread-safe: it belongs to the uploader."""

    def __init__(self, folder: Path, batch_rows: int = BATCH_ROWS, batch_bytes: int = BATCH_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self.batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._file = CursorFile(folder)
        self._place = (0, 0)  # first index of a segment, and the offset in it of the next group to read
        self._batch: Batch | None = None
        self._unreported = 0

    @property
    def acknowledged(self) -> int:
        return self._file.cursor.acknowledged

    @property
    def lost(self) -> int:
        """Events of this spool, over all restarts, that went before the server had them."""
        return self._file.cursor.lost

    def take_lost(self) -> int:
        """Losses found since this was last asked."""
        lost, self._unreported = self._unreported, 0
        return lost

    def take(self) -> Batch | None:
        """The batch to send now, the same until acknowledged or halved; None when the spool is empty."""
        if self._batch is None:
            self._batch = self._form()
            return self._batch
        self._batch = replace(self._batch, resent=True)
        return self._batch

    def acknowledge(self) -> None:
        """The server has the batch (or has refused it for good): go on behind it, delete what is done."""
        assert self._batch is not None
        self._file.set(replace(self._file.cursor, acknowledged=self._batch.sequence), durable=False)
        self._batch = None
        found = segments(self._folder)
        for segment, following in itertools.pairwise(found):
            if following.first <= self.acknowledged + 1:
                segment.path.unlink(missing_ok=True)

    def halve(self) -> bool:
        """The batch was refused, so nothing of it was stored: send its first half. False for one row."""
        assert self._batch is not None
        if self._batch.rows == 1:
            return False
        self._batch_bytes = max(1, min(self._batch_bytes, len(self._batch.body) // 2))
        attempted = self._batch.sequence - self._batch.rows // 2
        self._file.set(replace(self._file.cursor, attempted=attempted), durable=True)
        self._batch = None
        return True

    def renew_stream(self) -> None:
        """The server knows this stream with higher numbers (a copied or restored disk): take a new one."""
        assert self._batch is not None
        self._file.set(replace(self._file.cursor, stream=os.urandom(16).hex()), durable=True)
        self._batch = replace(self._batch, stream=self._file.cursor.stream)

    def _form(self) -> Batch | None:
        cursor = self._file.cursor
        acknowledged, lost = cursor.acknowledged, 0
        fixed = cursor.attempted if cursor.attempted > acknowledged else None
        first = last = size = 0
        parts: list[bytes] = []
        for place, group in self._groups():
            if not parts:
                self._place = place
            if group.last <= acknowledged:
                continue
            if not parts:
                lost = max(0, group.first - acknowledged - 1)
                acknowledged += lost
                first, last = acknowledged + 1, acknowledged
                if fixed is not None and first > fixed:
                    fixed = None  # all of what was sent has gone from the spool
            elif group.first != last + 1 or last == fixed:
                break
            rows, payload = self._fitting(group, last + 1, fixed, last + 1 - first, size)
            if not rows:
                break
            parts.append(payload)
            last += rows
            size += len(payload)
            if last < group.last:
                break
        if not parts:
            return None
        self._unreported += lost
        self._file.set(
            replace(cursor, acknowledged=acknowledged, attempted=last, lost=cursor.lost + lost), durable=True
        )
        return Batch(cursor.stream, last, last + 1 - first, b"".join(parts), resent=fixed is not None)

    def _fitting(
        self, group: Group, start: int, fixed: int | None, rows: int, size: int
    ) -> tuple[int, bytes]:
        """Rows and bytes of the group from index `start` on that still go into a batch of `rows` and `size`.

        An empty batch takes one row at the least, a fixed one all up to its end.
        """
        if fixed is None and start == group.first:
            if rows + group.rows <= self.batch_rows and size + len(group.payload) <= self._batch_bytes:
                return group.rows, group.payload
            if rows:
                return 0, b""
        lines = group.payload.splitlines(keepends=True)[start - group.first :]
        if fixed is not None:
            lines = lines[: fixed + 1 - start]
            return len(lines), b"".join(lines)
        count = room = 0
        for line in lines[: self.batch_rows]:
            if count and room + len(line) > self._batch_bytes:
                break
            count += 1
            room += len(line)
        return count, b"".join(lines[:count])

    def _groups(self) -> Iterator[tuple[tuple[int, int], Group]]:
        """Groups from the kept place on, each with its place."""
        at, start = self._place
        for segment in segments(self._folder):
            if segment.first < at:
                continue
            base = start if segment.first == at else 0
            for offset, group in groups(segment.read(base)):
                yield (segment.first, base + offset), group
