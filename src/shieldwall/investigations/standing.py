"""Where an investigation stands: its state, what its machine actions make of it, what its alerts show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert
from shieldwall.errors import not_found
from shieldwall.identity import audit
from shieldwall.investigations.judging import final_state
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.planning import WAITING
from shieldwall.response.kinds import OPEN as OPEN_ACTIONS
from shieldwall.response.models import MachineAction
from shieldwall.times import now

OPEN = ("Queued", "Running", "PendingApproval", "PendingResource")
RESOURCE = timedelta(minutes=10)
"""How long a device may take to begin before the investigation says that it waits for it."""
_NOT_FOUND = "no file with this hash is known"


def existing(session: Session, number: int, *, lock: bool = False) -> Investigation:
    """ApiError 404 for an unknown one. Locked, it stays as it is read here until the transaction ends."""
    row = session.get(Investigation, number, with_for_update=lock or None)
    if row is None:
        raise not_found("Investigation", str(number))
    return row


def running_on(session: Session, device_id: str) -> Investigation | None:
    """The open investigation of a device, which began there or took up alerts of it; locked."""
    joined = select(Alert.investigation_id).where(
        Alert.machine_id == device_id, Alert.investigation_id.is_not(None)
    )
    return session.scalar(
        select(Investigation)
        .where(
            or_(Investigation.machine_id == device_id, Investigation.id.in_(joined)),
            Investigation.state.in_(OPEN),
        )
        .order_by(Investigation.id)
        .limit(1)
        .with_for_update()
    )


def mark(row: Investigation, alerts: Sequence[Alert]) -> None:
    """The alerts that an investigation takes up; those of an earlier one go over to it."""
    for alert in alerts:
        alert.investigation_id = row.id
        alert.investigation_state = row.state


def move(session: Session, row: Investigation, state: str, details: str | None = None) -> None:
    """Bring an investigation, and with it its alerts, to a state."""
    if row.state == state and row.status_details == details:
        return
    row.state = state
    row.status_details = details
    row.last_update_time = now()
    if state not in OPEN:
        row.end_time = now().replace(microsecond=0)
        audit.record(session, "system", f"investigation.{state}"[:100], str(row.id), tenant_id=row.tenant_id)
    session.execute(
        update(Alert)
        .where(Alert.tenant_id == row.tenant_id, Alert.investigation_id == row.id)
        .values(investigation_state=state)
    )


def is_unasked(action: dict[str, Any]) -> bool:
    """Approved, and the device was not asked for it yet."""
    return action["status"] == "Approved" and not action["machineActionId"]


def next_standing(session: Session, row: Investigation) -> tuple[list[dict[str, Any]], str, str]:
    """Actions, state and details of an investigation, after what has become of its machine actions."""
    time = now()
    asked = [action["machineActionId"] for action in row.actions if action["machineActionId"]]
    machine = {
        item.id: item for item in session.scalars(select(MachineAction).where(MachineAction.id.in_(asked)))
    }
    lapsed = row.deadline is not None and row.deadline <= time
    actions = [_after(action, machine, lapsed) for action in row.actions]
    status = {action["status"] for action in actions}
    if WAITING in status:
        return actions, "PendingApproval", "Remediation waits for approval."
    if "Approved" in status:
        latest = time - RESOURCE
        if any(item.status == "Pending" and item.creation_time < latest for item in machine.values()):
            return actions, "PendingResource", "The device does not answer."
        return actions, "Running", "Remediation is under way."
    if row.judged < row.wanted:
        return actions, "Running", "Alerts that joined are looked at."
    return actions, *final_state(actions)


def _after(action: dict[str, Any], machine: dict[str, MachineAction], lapsed: bool) -> dict[str, Any]:
    if action["status"] == WAITING and lapsed:
        return {**action, "status": "Expired"}
    done = machine.get(action["machineActionId"] or "")
    if action["status"] != "Approved" or done is None or done.status in OPEN_ACTIONS:
        return action
    if done.status == "Failed" and _NOT_FOUND in (done.troubleshoot_info or ""):
        return {**action, "status": "NotFound"}
    return {**action, "status": done.status if done.status == "Succeeded" else "Failed"}
