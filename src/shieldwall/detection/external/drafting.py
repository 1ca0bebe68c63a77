"""An external alert, with what was found for it, as one of our alerts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.detection.external.flows import bare
from shieldwall.detection.external.models import SOURCE
from shieldwall.detection.external.resolution import Resolution
from shieldwall.detection.external.schema import ExternalAlert, FileHint, ProcessHint
from shieldwall.detection.references import Event, shown

STATUS = "Detected"


def draft(tenant_id: str, identity: str, alert: ExternalAlert, found: Resolution, skew: float) -> AlertDraft:
    """Times are by our clocks: ``skew`` is how many seconds the sensor's is ahead."""
    ahead = timedelta(seconds=skew)
    evidence = tuple(_evidence(alert, found))
    matches = [match for match in (found.match, *found.others) if match is not None]
    around = (shown(Event(match.table, match.row))[1] for match in matches)
    return AlertDraft(
        tenant_id=tenant_id,
        device_id=found.device_id,
        key=f"external {identity}",
        title=alert.title,
        description=_description(alert),
        severity=alert.severity,
        category=alert.category,
        detection_source=SOURCE,
        first_event_time=alert.time - ahead,
        last_event_time=max(alert.time, alert.last_time or alert.time) - ahead,
        evidence=evidence,
        links=frozenset(link for each in around for link in each),
        detector_id=alert.rule_id or None,
        threat_name=alert.threat_name or None,
        recommended_action=alert.recommended_action or None,
        mitre_techniques=tuple(alert.techniques),
        events=alert.event_count,
    )


def other_end(alert: ExternalAlert, found: Resolution) -> list[str]:
    """The addresses of the alert that are not its device's own; all of them while no device is known."""
    network = alert.network
    source = [network.source_address, network.translated_source_address]
    ends = {"source": source, "destination": [network.destination_address]}
    own: set[str | None] = set(alert.device.addresses)
    if found.match is not None and found.match.table == "DeviceNetworkEvents":
        own |= {*ends[found.match.side], bare(str(found.match.row.get("LocalIP") or ""))}
    elif found.device_id is not None:
        own |= set(ends["destination" if network.direction == "Inbound" else "source"])
    addresses = (*source, network.destination_address)
    return list(dict.fromkeys(address for address in addresses if address and address not in own))


def _description(alert: ExternalAlert) -> str:
    sensor = f", sensor {alert.sensor}" if alert.sensor else ""
    said = f"Reported by {alert.source}{sensor}."
    return f"{alert.description}\n{said}" if alert.description else said


def _evidence(alert: ExternalAlert, found: Resolution) -> Iterator[EvidenceDraft]:
    """What our own event shows comes first: it has the process and the user."""
    own: list[EvidenceDraft] = []
    if found.match is not None:
        event, far = Event(found.match.table, found.match.row), other_end(alert, found)
        # Our events write an address of IPv4 as the product does.
        own = [
            item
            for item in shown(event, STATUS)[0]
            if item.entity_type != "Ip" or bare(item.ip_address or "") not in far
        ]
        yield from own
    for address in other_end(alert, found):
        yield EvidenceDraft("Ip", ip_address=address, detection_status=STATUS)
    network = alert.network
    for url in dict.fromkeys((network.url, network.domain, network.sni)):
        if url:
            yield EvidenceDraft("Url", url=url, detection_status=STATUS)
    for file in alert.files:
        if file.name or file.path or file.sha1 or file.sha256 or file.md5:
            yield _file(file)
    has_process = any(item.entity_type == "Process" for item in own)
    for process in alert.processes:
        if not has_process and (process.process_id or process.name or process.command_line):
            yield _process(process)
    has_user = any(item.entity_type == "User" for item in own)
    for user in alert.users:
        if not has_user or all(item.account_name != user.name for item in own):
            yield EvidenceDraft("User", account_name=user.name, domain_name=user.domain, user_sid=user.sid)


def _file(hint: FileHint) -> EvidenceDraft:
    folder, name = _split(hint.path)
    hashed = hint.sha1 or hint.sha256 or hint.md5
    return EvidenceDraft(
        "File",
        sha1=hint.sha1,
        sha256=hint.sha256,
        md5=hint.md5,
        file_name=hint.name or name,
        file_path=folder,
        detection_status=STATUS if hint.malicious else None,
        verdict="Malicious" if hint.malicious and hashed else None,
    )


def _process(hint: ProcessHint) -> EvidenceDraft:
    folder, name = _split(hint.path)
    return EvidenceDraft(
        "Process",
        sha1=hint.sha1,
        sha256=hint.sha256,
        file_name=hint.name or name,
        file_path=folder,
        process_id=hint.process_id,
        process_command_line=hint.command_line,
        process_creation_time=hint.creation_time,
        parent_process_id=hint.parent_process_id,
        parent_process_file_name=hint.parent_name,
        detection_status=STATUS,
    )


def _split(path: str | None) -> tuple[str | None, str | None]:
    """Folder and name of a path of either system."""
    if not path:
        return None, None
    mark = "\\" if "\\" in path else "/"
    folder, _, name = path.rpartition(mark)
    return folder or (mark if path.startswith(mark) else None), name[:500] or None
