"""One look of an investigation: every file on each of its devices judged, and where else the bad ones are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert
from shieldwall.devices.models import Device
from shieldwall.errors import not_found
from shieldwall.investigations import evidence
from shieldwall.investigations.evidence import Candidate, Known
from shieldwall.investigations.judging import CLEAN, MALICIOUS, Judgement, judge
from shieldwall.investigations.models import Investigation
from shieldwall.telemetry.store import TelemetryStore

FINDINGS = 1000
"""Most findings that one investigation keeps; of more, the bad ones."""

Finding = dict[str, Any]


def devices_of(session: Session, row: Investigation) -> list[Device]:
    """The device that an investigation began on, then those of the alerts that joined it."""
    joined = select(Alert.machine_id).where(Alert.investigation_id == row.id).distinct()
    devices = session.scalars(select(Device).where(Device.id.in_(joined) | (Device.id == row.machine_id)))
    return sorted(devices, key=lambda device: (device.id != row.machine_id, device.id))


def look(session: Session, store: TelemetryStore, row: Investigation) -> list[Finding]:
    """Judge what the alerts of an investigation touched; ApiError 404 when its device is gone."""
    devices = devices_of(session, row)
    if not devices or devices[0].id != row.machine_id:
        raise not_found("Machine", row.machine_id)
    known: dict[str, Known] = {}
    found: list[Finding] = []
    malicious: dict[str, Candidate] = {}
    for device in devices:
        for item in evidence.candidates(session, store, row.id, device.id):
            name = item.sha256 or item.sha1
            if name not in known:
                known[name] = evidence.known(session, store, row.tenant_id, item)
            opinion = judge(evidence.facts(session, device, item, known[name]))
            found.append(_finding(device, item, opinion))
            if opinion.verdict == MALICIOUS:
                malicious.setdefault(name, item)
    for name, item in malicious.items():
        found += _elsewhere(session, store, row.tenant_id, item, known[name], found)
    return sorted(found, key=lambda finding: finding["verdict"] == CLEAN)[:FINDINGS]


def _elsewhere(
    session: Session,
    store: TelemetryStore,
    tenant_id: str,
    item: Candidate,
    known: Known,
    found: list[Finding],
) -> list[Finding]:
    """The same file on devices that no alert tells of, where it is as bad: indicators differ by group."""
    here = {
        finding["machineId"]
        for finding in found
        if (item.sha256 and finding["sha256"] == item.sha256) or (item.sha1 and finding["sha1"] == item.sha1)
    }
    bare = Candidate(item.sha1, item.sha256, item.path, false_positive=item.false_positive)
    judged = [
        (device, judge(evidence.facts(session, device, bare, known)))
        for device in evidence.devices_with(session, store, tenant_id, item, here)
    ]
    return [
        _finding(device, bare, opinion, elsewhere=True)
        for device, opinion in judged
        if opinion.verdict == MALICIOUS
    ]


def _finding(device: Device, item: Candidate, opinion: Judgement, *, elsewhere: bool = False) -> Finding:
    return {
        "machineId": device.id,
        "sha1": item.sha1,
        "sha256": item.sha256,
        "path": item.path,
        "alerts": item.alerts,
        "verdict": opinion.verdict,
        "reasons": opinion.reasons,
        "elsewhere": elsewhere,
    }
