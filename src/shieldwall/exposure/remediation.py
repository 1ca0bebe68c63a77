"""Remediation tasks: made of a recommendation, done when no device of theirs has the weakness any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from shieldwall.errors import bad_request, not_found
from shieldwall.exposure.configurations import CHECKED, FAILED, RECOMMENDATIONS
from shieldwall.exposure.labels import read_labels
from shieldwall.exposure.models import RemediationDevice, RemediationTask
from shieldwall.exposure.weaknesses import AFFECTED
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state import scope
from shieldwall.state.engine import Database, unscoped
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

DEVICES_LIMIT = 50_000
"""Most devices of a task."""
TASKS_LIMIT = 500
"""Most active tasks of a tenant."""
CHUNK = 500
AUTOMATIC = "Automatic"

_OPEN = f"""
SELECT device FROM (
SELECT DISTINCT concat('va-_-', SoftwareVendor, '-_-', SoftwareName) AS reference, DeviceId AS device
FROM {AFFECTED}
UNION ALL
SELECT DISTINCT concat('sca-_-', ConfigurationId), DeviceId FROM {CHECKED} WHERE {FAILED})
WHERE reference = {{reference:String}} ORDER BY device LIMIT {DEVICES_LIMIT + 1}"""


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
    devices = _still_open(store, tenant_id, reference)
    if len(devices) > DEVICES_LIMIT:
        raise bad_request(f"The recommendation is for more than {DEVICES_LIMIT} devices.", "InvalidInput")
    configuration = reference.removeprefix("sca-_-") if reference.startswith("sca-_-") else None
    name = actor.actor if isinstance(actor, Principal) else actor
    with database.session(tenant_id) as session:
        if _active(session) >= TASKS_LIMIT:
            raise bad_request(f"At most {TASKS_LIMIT} remediation tasks are active.", "InvalidInput")
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
    """Bring active tasks up to what the newest snapshots say; those with nothing left to do are completed.

    Of all devices, whoever asks: one who sees some only must not take the rest for fixed.
    """
    scope.unlimited(_review, database, store, tenant_id)


def _review(database: Database, store: TelemetryStore, tenant_id: str) -> None:
    with database.read(tenant_id) as session:
        active = select(RemediationTask.id, RemediationTask.recommendation_reference)
        tasks = session.execute(active.where(RemediationTask.status == "Active").limit(TASKS_LIMIT)).all()
    by_reference: dict[str, list[str]] = {}
    for task_id, reference in tasks:
        by_reference.setdefault(reference, []).append(task_id)
    # One recommendation after another, so that memory holds the devices of one alone.
    for reference, task_ids in by_reference.items():
        still = set(_still_open(store, tenant_id, reference))
        for task_id in task_ids:
            with database.read(tenant_id) as session:
                waiting = session.scalars(_devices(task_id).where(~RemediationDevice.fixed)).all()
            if fixed := [device for device in waiting if device not in still]:
                with database.session(tenant_id) as session:
                    _note_fixed(session, task_id, fixed)


def _note_fixed(session: Session, task_id: str, devices: Sequence[str]) -> None:
    wanted = select(RemediationTask).where(RemediationTask.id == task_id).with_for_update()
    task = session.scalar(wanted)
    if task is None:
        return
    for start in range(0, len(devices), CHUNK):
        changed = session.execute(
            update(RemediationDevice)
            .where(
                RemediationDevice.task_id == task_id,
                RemediationDevice.device_id.in_(devices[start : start + CHUNK]),
                ~RemediationDevice.fixed,
            )
            .values(fixed=True)
        )
        task.fixed_devices += changed.rowcount  # type: ignore[attr-defined]
    if task.fixed_devices >= task.target_devices and task.status == "Active":
        task.status, task.completion_method = "Completed", AUTOMATIC
        task.status_last_modified_on = now()
        audit.record(session, "system", "remediation.complete", task.id)


def _active(session: Session) -> int:
    with unscoped(session):
        active = select(func.count()).select_from(RemediationTask).where(RemediationTask.status == "Active")
        return session.scalar(active) or 0


def _devices(task_id: str) -> Select[str]:
    return select(RemediationDevice.device_id).where(RemediationDevice.task_id == task_id)


def _still_open(store: TelemetryStore, tenant_id: str, reference: str) -> Sequence[str]:
    """The devices that a recommendation is for; as many as a task may have, and one more."""
    parameters = {"until": now().strftime("%Y-%m-%d %H:%M:%S.%f"), "reference": reference}
    return [row["device"] for row in store.query(tenant_id, _OPEN, parameters)]
