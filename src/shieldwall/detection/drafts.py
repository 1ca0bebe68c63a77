"""A hit as an alert: its title, what it says, and the entities of the event as evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shieldwall.alerts.links import entity_link, process_link
from shieldwall.alerts.raising import AlertDraft, EvidenceDraft
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
        links=frozenset(_links(row, evidence)),
    )


def combined(drafts: Sequence[AlertDraft]) -> list[AlertDraft]:
    """Drafts with the same key made one, so that a burst of events is one write."""
    by_key: dict[tuple[str, str, str], list[AlertDraft]] = {}
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
    if kind in _FILE_KINDS:
        yield _file(row, verdict.compared.of_actor, status)
    elif verdict.compared.kind == "IpAddress":
        yield EvidenceDraft("Ip", ip_address=row[verdict.compared.column], detection_status=status)
    else:
        yield EvidenceDraft("Url", url=row[verdict.compared.column], detection_status=status)
    created = table == "DeviceProcessEvents" and not verdict.compared.of_actor
    process = _created_process(row, status) if created else _actor(row, status)
    if process is not None:
        yield process
    prefix = "" if created else "InitiatingProcess"
    if account := row.get(f"{prefix}AccountName"):
        yield EvidenceDraft(
            "User", account_name=account, domain_name=row.get(f"{prefix}AccountDomain") or None
        )


def _file(row: Mapping[str, Any], of_actor: bool, status: str) -> EvidenceDraft:
    prefix = "InitiatingProcess" if of_actor else ""
    return EvidenceDraft(
        "File",
        sha1=row.get(f"{prefix}SHA1") or None,
        sha256=row.get(f"{prefix}SHA256") or None,
        md5=row.get(f"{prefix}MD5") or None,
        file_name=row.get(f"{prefix}FileName") or None,
        file_path=_folder(row.get(f"{prefix}FolderPath")),
        detection_status=status,
    )


def _created_process(row: Mapping[str, Any], status: str) -> EvidenceDraft | None:
    if row.get("ProcessId") is None:
        return None
    return EvidenceDraft(
        "Process",
        sha1=row.get("SHA1") or None,
        sha256=row.get("SHA256") or None,
        file_name=row["FileName"] or None,
        file_path=_folder(row["FolderPath"]),
        process_id=row["ProcessId"],
        process_command_line=row["ProcessCommandLine"],
        process_creation_time=row["ProcessCreationTime"],
        parent_process_id=row.get("InitiatingProcessId"),
        parent_process_creation_time=row.get("InitiatingProcessCreationTime"),
        parent_process_file_name=row.get("InitiatingProcessFileName") or None,
        parent_process_file_path=_folder(row.get("InitiatingProcessFolderPath")),
        detection_status=status,
    )


def _actor(row: Mapping[str, Any], status: str) -> EvidenceDraft | None:
    if row.get("InitiatingProcessId") is None:
        return None
    return EvidenceDraft(
        "Process",
        sha1=row.get("InitiatingProcessSHA1") or None,
        sha256=row.get("InitiatingProcessSHA256") or None,
        file_name=row.get("InitiatingProcessFileName") or None,
        file_path=_folder(row.get("InitiatingProcessFolderPath")),
        process_id=row["InitiatingProcessId"],
        process_command_line=row.get("InitiatingProcessCommandLine") or None,
        process_creation_time=row.get("InitiatingProcessCreationTime"),
        parent_process_id=row.get("InitiatingProcessParentId"),
        parent_process_creation_time=row.get("InitiatingProcessParentCreationTime"),
        parent_process_file_name=row.get("InitiatingProcessParentFileName") or None,
        detection_status=status,
    )


def _links(row: Mapping[str, Any], evidence: Sequence[EvidenceDraft]) -> Iterator[str]:
    """What the alert can be joined by: the processes around the event and the entities themselves."""
    device = row["DeviceId"]
    around = [
        (item.process_id, item.process_creation_time, item.file_name or "")
        for item in evidence
        if item.entity_type == "Process"
    ]
    around += [
        (
            row.get("InitiatingProcessId"),
            row.get("InitiatingProcessCreationTime"),
            row.get("InitiatingProcessFileName") or "",
        ),
        (
            row.get("InitiatingProcessParentId"),
            row.get("InitiatingProcessParentCreationTime"),
            row.get("InitiatingProcessParentFileName") or "",
        ),
    ]
    for process_id, started, name in around:
        if link := process_link(device, process_id, started, name):
            yield link
    for item in evidence:
        for kind, value in (("file", item.sha256 or item.sha1), ("ip", item.ip_address), ("url", item.url)):
            if item.entity_type != "Process" and (link := entity_link(device, kind, value)):
                yield link


def _folder(path: str | None) -> str | None:
    """The folder of a path that hunting tables give with the file's name."""
    return path.rpartition("/")[0] or "/" if path and "/" in path else path or None
