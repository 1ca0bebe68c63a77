"""What a file is, by its beginning: its format, and whose records it has."""

from __future__ import annotations

import re
from typing import Any

from shieldwall.sources.reading import evtx_file
from shieldwall.sources.reading.json_lines import first_object
from shieldwall.sources.reading.text_logs import AUDIT

HEAD_BYTES = 256 << 10

GENERIC = "json"
"""The form of JSON that is no known sensor's."""


def archive_kind(head: bytes) -> str:
    """``zip``, ``gzip``, ``zstd``, ``tar``, or nothing."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    return "tar" if head[257:262] == b"ustar" else ""


def format_of(head: bytes) -> str:
    """``evtx``, ``json``, ``zeek`` (TSV), ``auditd``, ``xml``, or nothing where it is none of them."""
    if head.startswith(evtx_file.MAGIC):
        return "evtx"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return "json"
    if text.startswith(b"#separator"):
        return "zeek"
    line = text.partition(b"\n")[0]
    if AUDIT.match(line):
        return "auditd"
    return "xml" if re.search(rb"<Events?[ >]", text[:4096]) else ""


def source_of(record: dict[str, Any] | None) -> str:
    """The form of the source that a record of JSON is of."""
    if record is None:
        return GENERIC
    keys = record.keys()
    for form, tell in _TELLS:
        if any(all(key in keys for key in together) for together in tell):
            return form
    return GENERIC


def source_in(head: bytes, name: str = "") -> str:
    """The form of the source that a file of JSON is of, by its first record and by its name."""
    record = first_object(head)
    found = source_of(record)
    # Some of Zeek's logs tell of no connection.
    return "zeek" if found == GENERIC and name.endswith(".log") and record and "ts" in record else found


_TELLS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("windows", (("Event",), ("winlog",), ("EventID", "Channel"), ("EventID", "SourceName"))),
    ("suricata", (("event_type", "timestamp"),)),
    ("zeek", (("_path",), ("ts", "uid"), ("ts", "id.orig_h"))),
    ("falco", (("output_fields", "rule"), ("output", "priority", "rule"))),
    (
        "tetragon",
        (
            ("process_exec",),
            ("process_exit",),
            ("process_kprobe",),
            ("process_tracepoint",),
            ("process_lsm",),
        ),
    ),
    ("osquery", (("hostIdentifier", "name"),)),
    ("auditd", (("type", "serial", "time"),)),
)
"""Keys that records of each source have, any of the groups together."""
