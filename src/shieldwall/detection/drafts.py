"""A hit as an alert: its title, what it says, and the entities of the event as evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.detection.event_entities import actor, created_process, file, links, user
from shieldwall.detection.hits import Hit
from shieldwall.detection.models import Indicator
from shieldwall.detection.verdicts import Verdict

SOURCE = "CustomerTI"
REFUSED = {"AntivirusDetection", "ExploitGuardNetworkProtectionBlocked"}
"""ActionTypes with which an agent says that it did not let something happen."""

_FILE_KINDS = ("FileSha1", "FileSha256", "FileMd5")


def draft(hit: Hit, verdict: Verdict) -> AlertDraft:
    """The alert of one verdict. All hits of an indicator on a device and a day are one alert."""
    indicator, row = verdict.indicator, hit.row
    time = row["Timestamp"]
    status = "Prevented" if _was_refused(row) else "Detected"
    evidence = tuple(_evidence(hit.table, row, verdict, status))
    return AlertDraft(
        tenant_id=hit.tenant_id,
        device_id=row["DeviceId"],
        key=f"indicator {indicator.id} {time:%Y-%m-%d}",
        title=indicator.title,
        description=_description(indicator, status),
        severity=indicator.severity,
        category="Malware" if indicator.indicator_type in _FILE_KINDS else "CommandAndControl",
        detection_source=SOURCE,
        detector_id=str(indicator.id),
        threat_name=_threat_name(indicator),
        recommended_action=indicator.recommended_actions,
        mitre_techniques=tuple(indicator.mitre_techniques),
        first_event_time=time,
        last_event_time=time,
        evidence=evidence,
        links=frozenset(links(row, evidence)),
    )


def combined(drafts: Sequence[AlertDraft]) -> list[AlertDraft]:
    """Drafts with the same key made one, so that a burst of events is one write."""
    by_key: dict[tuple[str, str | None, str], list[AlertDraft]] = {}
    for item in drafts:
        by_key.setdefault((item.tenant_id, item.device_id, item.key), []).append(item)
    return [_merged(group) for group in by_key.values()]


def _merged(group: list[AlertDraft]) -> AlertDraft:
    first = min(group, key=lambda item: item.first_event_time)
    return replace(
        first,
        last_event_time=max(item.last_event_time for item in group),
        evidence=tuple(dict.fromkeys(entity for item in group for entity in item.evidence)),
        links=frozenset(link for item in group for link in item.links),
        events=len(group),
    )


def _description(indicator: Indicator, status: str) -> str:
    fate = "stopped" if status == "Prevented" else "seen"
    listed = f"{indicator.indicator_type} {indicator.indicator_value} is on the indicator list"
    said = f"{listed} and was {fate} on this device."
    return f"{indicator.description}\n{said}" if indicator.description else said


def _threat_name(indicator: Indicator) -> str | None:
    if indicator.indicator_type in _FILE_KINDS and indicator.action in ("Block", "BlockAndRemediate"):
        return "EUS:Win32/CustomEnterpriseBlock!cl"
    return None


def _was_refused(row: Mapping[str, Any]) -> bool:
    if row["ActionType"] not in REFUSED:
        return False
    try:
        fields = json.loads(row.get("AdditionalFields") or "{}")
    except ValueError:
        return True
    return not (isinstance(fields, dict) and fields.get("WasExecutingWhileDetected") is True)


def _evidence(table: str, row: Mapping[str, Any], verdict: Verdict, status: str) -> Iterator[EvidenceDraft]:
    """The entities of one event: what was found, the process behind it, and its user."""
    kind = verdict.indicator.indicator_type
    # Somebody has said that it is bad; who only wants to hear of it has not.
    told = "Suspicious" if verdict.indicator.action == "Audit" else "Malicious"
    value = row[verdict.compared.column]
    if kind in _FILE_KINDS:
        yield replace(file(row, verdict.compared.of_actor, status), verdict=told)
    elif verdict.compared.kind == "IpAddress":
        yield EvidenceDraft("Ip", ip_address=value, detection_status=status, verdict=told)
    else:
        yield EvidenceDraft("Url", url=value, detection_status=status, verdict=told)
    created = table == "DeviceProcessEvents" and not verdict.compared.of_actor
    process = created_process(row, status) if created else actor(row, status)
    if process is not None:
        yield process
    if (who := user(row, of_actor=not created)) is not None:
        yield who
