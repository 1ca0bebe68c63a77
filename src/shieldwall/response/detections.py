"""What a scan found by its rules, as alerts. Finds of listed hashes are alerts by their events already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.raising import raise_alert
from shieldwall.response.models import MachineAction

DETECTIONS = 100
TEXT_LIMIT = 1000

_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def raise_detections(session: Session, action: MachineAction, time: datetime, incident_window: int) -> None:
    """One alert for each rule that matched on the device, with the files that it matched as evidence."""
    found: dict[str, list[EvidenceDraft]] = {}
    for rule, entity in _detections(action.result.get("detections")):
        found.setdefault(rule, []).append(entity)
    for rule, entities in found.items():
        draft = AlertDraft(
            tenant_id=action.tenant_id,
            device_id=action.machine_id,
            key=f"scan {rule} {time:%Y-%m-%d}",
            title=f"'{rule}' was found by an antivirus scan",
            description=f"The YARA rule {rule} of the live response library matches files on this device.",
            severity="Medium",
            category="Malware",
            detection_source="WindowsDefenderAv",
            detector_id=rule[:64],
            threat_name=f"YARA:Linux/{rule}"[:300],
            first_event_time=action.creation_time,
            last_event_time=time,
            evidence=tuple(dict.fromkeys(entities)),
            events=len(entities),
        )
        raise_alert(session, draft, incident_window)


def _detections(told: Any) -> Iterator[tuple[str, EvidenceDraft]]:
    """Rule and file of each detection; the agent's words are checked, as they come from a device."""
    for item in told[:DETECTIONS] if isinstance(told, list) else ():
        if not isinstance(item, dict) or not isinstance(item.get("rule"), str):
            continue
        sha1, sha256, path = (str(item.get(name) or "") for name in ("sha1", "sha256", "path"))
        if not (_SHA1.fullmatch(sha1) and _SHA256.fullmatch(sha256)):
            continue
        folder, _, name = path[:TEXT_LIMIT].replace("\x00", "").rpartition("/")
        yield (
            item["rule"].replace("\x00", "")[:100] or "unnamed",
            EvidenceDraft(
                "File",
                sha1=sha1,
                sha256=sha256,
                file_name=name[:255],
                file_path=folder,
                detection_status="Prevented" if item.get("remediated") is True else "Detected",
                verdict="Malicious",
            ),
        )
