"""Our own schema: a record is a body already."""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.detection.external.formats.base import Format
from shieldwall.detection.external.mapping import Mapped, Record


def read(record: Record) -> Iterator[Mapped]:
    found = Mapped()
    found.body = dict(record)
    yield found


FORMAT = Format(
    name="shieldwall",
    title="Shieldwall's own schema",
    recognises=lambda record: "vendor" in record and "product" in record,
    read=read,
)
