"""The entities of a stored event: what an alert shows as evidence, and what it is joined to others by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shieldwall.alerts.drafts import EvidenceDraft
from shieldwall.alerts.links import Link, logon_links, process_link, session_link

_SESSIONS = ("LogonId", "LogonID", "InitiatingProcessLogonId")


def entities(table: str, row: Mapping[str, Any], status: str = "Detected") -> Iterator[EvidenceDraft]:
    """All that one event of ``table`` names: its file, address, URL, registry value, process and user."""
    created = table == "DeviceProcessEvents"
    if not created and row.get("FileName"):
        yield file(row, False, status)
    if row.get("RemoteIP"):
        yield EvidenceDraft("Ip", ip_address=row["RemoteIP"], detection_status=status)
    if row.get("RemoteUrl"):
        yield EvidenceDraft("Url", url=row["RemoteUrl"], detection_status=status)
    if row.get("RegistryKey"):
        yield registry(row, status)
    process = created_process(row, status) if created else actor(row, status)
    if process is not None:
        yield process
    who = user(row, of_actor=False) or user(row, of_actor=True)
    if who is not None:
        yield who


def registry(row: Mapping[str, Any], status: str) -> EvidenceDraft:
    hive, _, key = row["RegistryKey"].partition("\\")
    return EvidenceDraft(
        "Registry",
        registry_hive=hive,
        registry_key=key,
        registry_value_type=row.get("RegistryValueType") or None,
        registry_value=row.get("RegistryValueData") or None,
        detection_status=status,
    )


def file(row: Mapping[str, Any], of_actor: bool, status: str) -> EvidenceDraft:
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


def user(row: Mapping[str, Any], *, of_actor: bool) -> EvidenceDraft | None:
    prefix = "InitiatingProcess" if of_actor else ""
    if not row.get(f"{prefix}AccountName"):
        return None
    return EvidenceDraft(
        "User",
        account_name=row[f"{prefix}AccountName"],
        domain_name=row.get(f"{prefix}AccountDomain") or None,
        user_sid=row.get(f"{prefix}AccountSid") or None,
    )


def created_process(row: Mapping[str, Any], status: str) -> EvidenceDraft | None:
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


def actor(row: Mapping[str, Any], status: str) -> EvidenceDraft | None:
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


def links(row: Mapping[str, Any], evidence: Sequence[EvidenceDraft]) -> Iterator[Link]:
    """What the alert can be joined by besides its evidence: the processes and the session around the event,
    and where somebody logged on from."""
    device = row["DeviceId"]
    for prefix in ("InitiatingProcess", "InitiatingProcessParent"):
        name = row.get(f"{prefix}FileName") or ""
        process_id, started = row.get(f"{prefix}Id"), row.get(f"{prefix}CreationTime")
        if device and (link := process_link(device, process_id, started, name)):
            yield link
    for column in _SESSIONS:
        if device and (session := session_link(device, row.get(column))):
            yield session
    yield from logon_links(
        row.get("InitiatingProcessRemoteSessionIP"), row.get("InitiatingProcessRemoteSessionDeviceName")
    )
    if "LogonType" in row:
        yield from logon_links(row.get("RemoteIP"), row.get("RemoteDeviceName"))


def _folder(path: str | None) -> str | None:
    """The folder of a path that hunting tables give with the file's name."""
    return path.rpartition("/")[0] or "/" if path and "/" in path else path or None
