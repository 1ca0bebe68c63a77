"""The entities of a row that a query gave: it may lack columns of its table, and rename others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String

from shieldwall.alerts.drafts import EvidenceDraft
from shieldwall.alerts.models import Evidence
from shieldwall.detection.event_entities import entities
from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.rules.templates import plain
from shieldwall.times import parse

TEXT_LIMIT = 32_000
"""Characters of one property of an entity."""

_TIMES = (
    "Timestamp",
    "ProcessCreationTime",
    "InitiatingProcessCreationTime",
    "InitiatingProcessParentCreationTime",
)
_NUMBERS = ("ProcessId", "InitiatingProcessId", "InitiatingProcessParentId")
_HASHES = {40: "sha1", 64: "sha256", 32: "md5"}
_HASH = re.compile(r"[0-9a-fA-F]+")


class EventRow(dict[str, Any]):
    """A row with times as times, however they came; a column that it lacks is None."""

    def __init__(self, row: Any) -> None:
        super().__init__(row)
        for name in _TIMES:
            if name in self:
                self[name] = _time(self[name])
        for name in _NUMBERS:
            if name in self:
                self[name] = _number(self[name])

    def __missing__(self, name: str) -> None:
        return None

    def time(self, name: str) -> datetime | None:
        found = self.get(name)
        return found if isinstance(found, datetime) else None


def evidence_of(rule: Rule, table: str, row: EventRow) -> tuple[EvidenceDraft, ...]:
    """What the row itself tells as an event of its table, and what the rule says stands in which column."""
    chosen = (
        entity
        for kind, column in rule.entities.items()
        if (entity := _entity(kind, column, plain(row.get(column)))) is not None
    )
    return tuple(dict.fromkeys(_tidy(item) for item in (*chosen, *_of_event(table, row))))


def _of_event(table: str, row: EventRow) -> Iterator[EvidenceDraft]:
    texts = {name: plain(value) for name, value in row.items() if not isinstance(value, datetime | int)}
    known = EventRow({**row, **texts})
    known["ProcessCommandLine"] = known.get("ProcessCommandLine") or None
    yield from entities(table, known)


def _entity(kind: str, column: str, value: str) -> EvidenceDraft | None:
    if not value or kind == "Device":
        return None
    status = "Detected"
    if kind == "Ip":
        return EvidenceDraft("Ip", ip_address=value, detection_status=status)
    if kind in ("Url", "Domain"):
        return EvidenceDraft("Url", url=value, detection_status=status)
    if kind in ("User", "Mailbox"):
        return _user(column, value)
    if kind == "File":
        hashed = _HASHES.get(len(value)) if _HASH.fullmatch(value) else None
        if hashed:
            return replace(EvidenceDraft("File", detection_status=status), **{hashed: value.lower()})  # type: ignore[arg-type]
        folder, _, name = value.replace("\\", "/").rpartition("/")
        return EvidenceDraft(
            "File", file_name=name or value, file_path=folder or None, detection_status=status
        )
    if kind == "Process":
        if value.isdecimal():
            return EvidenceDraft("Process", process_id=_number(value), detection_status=status)
        return EvidenceDraft("Process", process_command_line=value, detection_status=status)
    hive, _, key = value.partition("\\")
    if kind == "RegistryKey":
        return EvidenceDraft("Registry", registry_hive=hive, registry_key=key, detection_status=status)
    return EvidenceDraft("Registry", registry_value=value, detection_status=status)


def _user(column: str, value: str) -> EvidenceDraft:
    if column.lower().endswith("sid"):
        return EvidenceDraft("User", user_sid=value)
    if "\\" in value:
        domain, _, name = value.rpartition("\\")
        return EvidenceDraft("User", account_name=name, domain_name=domain or None)
    name, _, domain = value.partition("@")
    return EvidenceDraft("User", account_name=name, domain_name=domain or None)


def _bounds() -> dict[str, int]:
    columns = Evidence.__table__.c
    lengths = {item.name: columns[item.name].type for item in fields(EvidenceDraft)}
    return {name: kind.length or TEXT_LIMIT for name, kind in lengths.items() if isinstance(kind, String)}


_LIMITS = _bounds()


def _tidy(entity: EvidenceDraft) -> EvidenceDraft:
    """The entity as its table can keep it: no NUL, no more than fits."""
    changed = {
        name: value.replace("\x00", "")[:limit]
        for name, limit in _LIMITS.items()
        if isinstance(value := getattr(entity, name), str) and (len(value) > limit or "\x00" in value)
    }
    return replace(entity, **changed) if changed else entity  # type: ignore[arg-type]


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        value = int(value)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else None
