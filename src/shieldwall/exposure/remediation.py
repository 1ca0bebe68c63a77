"""Remediation tasks: made of a recommendation, done when no device of theirs has the weakness any more."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from shieldwall.errors import not_found
from shieldwall.exposure.configurations import CHECKED, FAILED, RECOMMENDATIONS
from shieldwall.exposure.labels import read_labels
from shieldwall.exposure.models import RemediationDevice, RemediationTask
from shieldwall.exposure.weaknesses import AFFECTED
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

DEVICES_LIMIT = 50_000
AUTOMATIC = "Automatic"

_OPEN = f"""
SELECT reference, device FROM (
SELECT DISTINCT concat('va-_-', SoftwareVendor, '-_-', SoftwareName) AS reference, DeviceId AS device
FROM {AFFECTED}
UNION ALL
SELECT DISTINCT concat('sca-_-', ConfigurationId), DeviceId FROM {CHECKED} WHERE {FAILED})
WHERE reference IN {{references:Array(String)}} ORDER BY device LIMIT {DEVICES_LIMIT}"""


def create_task(
    database: Database,
    store: TelemetryStore,
    tenant_id: str,
    actor: Principal | str,
    reference: str,
    *,
    priority: str = "Medium",
    due_on: datetime | None = None,
    notes: str | None = None,
) -> RemediationTask:
    """A task for the devices that a recommendation is for now; ApiError 404 if there is none such."""
    time = now()
    parameters = {"until": time.strftime("%Y-%m-%d %H:%M:%S.%f"), "id": reference}
    found = store.query(tenant_id, f"SELECT * FROM ({RECOMMENDATIONS}) WHERE id = {{id:String}}", parameters)
    if not found:
        raise not_found("Recommendation", reference[:100])
    advice = found[0]
    devices = [device for _, device in _still_open(store, tenant_id, [reference])]
    configuration = reference.removeprefix("sca-_-") if reference.startswith("sca-_-") else None
    name = actor.actor if isinstance(actor, Principal) else actor
    with database.session(tenant_id) as session:
        labels = read_labels(session, devices)
        task = RemediationTask(
            id=str(uuid4()),
            title=advice["recommendationName"],
            created_on=time,
            requester_id=actor.user_id or name if isinstance(actor, Principal) else name,
            requester_email=name if "@" in name else "",
            status_last_modified_on=time,
            related_component=advice["relatedComponent"],
            rbac_group_names=sorted({label.group_name for label in labels.values()}),
            requester_notes=notes,
            due_on=due_on,
            category="SecurityConfiguration" if configuration else "Software",
            productivity_impact=None if configuration else "AllExposedAssets",
            priority=priority,
            scid=configuration,
            type=advice["remediationType"],
            vendor_id=advice["vendor"],
            name_id=advice["productName"],
            recommended_version=advice["recommendedVersion"],
            recommended_vendor=advice["recommendedVendor"],
            recommended_program=advice["recommendedProgram"],
            recommendation_reference=reference,
            target_devices=len(devices),
        )
        session.add(task)
        session.flush()
        session.add_all(RemediationDevice(task_id=task.id, device_id=device) for device in devices)
        audit.record(session, actor, "remediation.create", task.id, detail={"recommendation": reference})
    return task


def review(database: Database, store: TelemetryStore, tenant_id: str) -> None:
    """Bring active tasks up to what the newest snapshots say; those with nothing left to do are completed."""
    with database.read(tenant_id) as session:
        active = session.scalars(select(RemediationTask).where(RemediationTask.status == "Active")).all()
        waiting = {
            (task.id, device)
            for task in active
            for device in session.scalars(_devices(task.id).where(~RemediationDevice.fixed))
        }
    if not waiting:
        return
    references = {task.id: task.recommendation_reference for task in active}
    still = _still_open(store, tenant_id, set(references.values()))
    fixed = [(task, device) for task, device in waiting if (references[task], device) not in still]
    if fixed:
        with database.session(tenant_id) as session:
            for task_id in sorted({task for task, _ in fixed}):
                _note_fixed(session, task_id, [device for task, device in fixed if task == task_id])


def _note_fixed(session: Session, task_id: str, devices: Collection[str]) -> None:
    wanted = select(RemediationTask).where(RemediationTask.id == task_id).with_for_update()
    task = session.scalar(wanted)
    if task is None:
        return
    for device in devices:
        row = session.get(RemediationDevice, (task_id, device))
        if row is not None and not row.fixed:
            row.fixed = True
            task.fixed_devices += 1
    if task.fixed_devices >= task.target_devices and task.status == "Active":
        task.status, task.completion_method = "Completed", AUTOMATIC
        task.status_last_modified_on = now()
        audit.record(session, "system", "remediation.complete", task.id)


def _devices(task_id: str) -> Select[str]:
    return select(RemediationDevice.device_id).where(RemediationDevice.task_id == task_id)


def _still_open(store: TelemetryStore, tenant_id: str, references: Collection[str]) -> set[tuple[str, str]]:
    """Recommendation and device, for each device that one of these recommendations is for."""
    parameters = {"until": now().strftime("%Y-%m-%d %H:%M:%S.%f"), "references": sorted(references)}
    return {(row["reference"], row["device"]) for row in store.query(tenant_id, _OPEN, parameters)}
