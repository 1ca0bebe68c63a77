"""What a detection says of an alert that is to be raised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shieldwall.alerts.links import Link

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_BASE = int((datetime(2026, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000


@dataclass(frozen=True)
class EvidenceDraft:
    """One entity; names follow the columns of ``Evidence``."""

    entity_type: str
    sha1: str | None = None
    sha256: str | None = None
    md5: str | None = None
    file_name: str | None = None
    file_path: str | None = None
    process_id: int | None = None
    process_command_line: str | None = None
    process_creation_time: datetime | None = None
    parent_process_id: int | None = None
    parent_process_creation_time: datetime | None = None
    parent_process_file_name: str | None = None
    parent_process_file_path: str | None = None
    ip_address: str | None = None
    url: str | None = None
    registry_key: str | None = None
    registry_hive: str | None = None
    registry_value_type: str | None = None
    registry_value: str | None = None
    account_name: str | None = None
    domain_name: str | None = None
    user_sid: str | None = None
    detection_status: str | None = None
    """Detected, Prevented or Blocked."""
    verdict: str | None = None
    """Malicious, Suspicious, NoThreatsFound or Unknown; None follows from the detection."""
    remediation_status: str | None = None
    """None, Remediated, Prevented, Blocked or NotFound; None follows from the detection."""

    def digest(self) -> str:
        """The same for the same entity, whatever became of it."""
        known = [each for each in zip(_ENTITY, _entity(self), strict=True) if each[1] is not None]
        return hashlib.sha1(repr(known).encode(), usedforsecurity=False).hexdigest()


EVIDENCE_COLUMNS = tuple(item.name for item in fields(EvidenceDraft))
_ENTITY = tuple(sorted({*EVIDENCE_COLUMNS} - {"detection_status", "verdict", "remediation_status"}))
"""What makes an entity the one that it is, rather than what became of it."""
_entity = attrgetter(*_ENTITY)


@dataclass(frozen=True)
class AlertDraft:
    """A detection on one device. ``key`` names it: drafts with the same key are one alert."""

    tenant_id: str
    device_id: str | None
    """None where nobody knows yet which device it is about."""
    key: str
    title: str
    description: str
    severity: str
    category: str
    detection_source: str
    first_event_time: datetime
    last_event_time: datetime
    evidence: tuple[EvidenceDraft, ...]
    links: frozenset[Link] = field(default_factory=frozenset)
    """What correlation joins on besides the evidence and the device, as ``alerts.links`` makes it."""
    detector_id: str | None = None
    threat_name: str | None = None
    recommended_action: str | None = None
    mitre_techniques: tuple[str, ...] = ()
    events: int = 1


def alert_id(draft: AlertDraft, again: int = 0) -> str:
    """In the service's form, ``da<ticks>_<signed 32-bit number>``, and always the same for the same key.

    ``again`` counts the alerts of this key that were resolved before the draft's events happened.
    """
    text = f"{draft.tenant_id}\n{draft.device_id or ''}\n{draft.key}\n{again}"
    digest = hashlib.sha256(text.encode()).digest()
    # The ticks carry half of the digest, so that they do not depend on which event came first.
    ticks = _BASE + int.from_bytes(digest[:7], "big") % (1 << 50)
    return f"da{ticks}_{int.from_bytes(digest[8:12], 'big', signed=True)}"
