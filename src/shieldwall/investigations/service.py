"""Investigations: started, judged, remediated, followed to their end. Every step may be done twice.

Queued, then Running, then either Benign, or with remediation PendingApproval while somebody has to say yes,
PendingResource while the device does not answer, and at last SuccessfullyRemediated, PartiallyRemediated,
Failed, TerminatedByUser or TerminatedBySystem.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert
from shieldwall.alerts.raising import AlertDraft, raise_alert
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.investigations import evidence
from shieldwall.investigations.judging import CLEAN, final_state, judge, needs_approval
from shieldwall.investigations.models import Investigation
from shieldwall.response.actions import ActionService
from shieldwall.response.kinds import OPEN as OPEN_ACTIONS
from shieldwall.response.kinds import STOP_AND_QUARANTINE
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

OPEN = ("Queued", "Running", "PendingApproval", "PendingResource")
APPROVAL = timedelta(days=7)
"""How long remediation waits for approval."""
RESOURCE = timedelta(minutes=10)
"""How long a device may take to begin before the investigation says that it waits for it."""
COMMENT_LIMIT = 4000
_NAME = "Automated investigation"
_NOT_FOUND = "no file with this hash is known"


class Investigations:
    """Safe to use from any thread."""

    def __init__(
        self, database: Database, telemetry: TelemetryStore, actions: ActionService, settings: Settings
    ) -> None:
        self._database = database
        self._telemetry = telemetry
        self._actions = actions
        self._settings = settings

    def start(self, principal: Principal, device_id: str, comment: str | None) -> Investigation:
        """Start one on a device; where one is under way, that is it. ApiError 404 for an unknown device."""
        if comment is not None and len(comment) > COMMENT_LIMIT:
            raise bad_request(f"Comment is longer than {COMMENT_LIMIT} characters.", "InvalidRequestBody")
        time = now()
        with self._database.session(principal.tenant_id) as session:
            device = session.get(Device, device_id, with_for_update={"of": Device})
            if device is None:
                raise not_found("Machine", device_id)
            running = session.scalar(
                select(Investigation)
                .where(Investigation.machine_id == device_id, Investigation.state.in_(OPEN))
                .limit(1)
            )
            if running is not None:
                return running
            row = Investigation(
                tenant_id=principal.tenant_id,
                state="Queued",
                start_time=time.replace(microsecond=0),
                last_update_time=time,
                machine_id=device_id,
                computer_dns_name=device.computer_dns_name,
                requestor=principal.actor[:200],
                comment=comment,
                findings=[],
                actions=[],
            )
            session.add(row)
            session.flush()
            alert, _ = raise_alert(session, self._alert(row), self._settings.incident_window)
            row.triggering_alert_id = alert.id
            _mark(session, row, [alert, *evidence.open_alerts(session, device_id)])
            audit.record(
                session, principal, "investigation.start", str(row.id), detail={"machine": device_id}
            )
        return row

    def queued(self) -> Sequence[tuple[str, int]]:
        """Tenant and id of investigations that wait to be begun."""
        with self._database.system_read() as session:
            wanted = select(Investigation.tenant_id, Investigation.id).where(Investigation.state == "Queued")
            return [(tenant, number) for tenant, number in session.execute(wanted.limit(1000))]

    def judge(self, tenant_id: str, number: int) -> None:
        """Look at all files around the device's alerts, and keep what is thought of each."""
        with self._database.session(tenant_id) as session:
            row = _existing(session, number, lock=True)
            if row.state not in ("Queued", "Running"):
                return
            _move(session, row, "Running")
        with self._database.read(tenant_id) as session:
            device = session.get(Device, row.machine_id)
            if device is None:
                raise not_found("Machine", row.machine_id)
            findings = []
            for item in evidence.candidates(session, self._telemetry, device.id):
                known = evidence.facts(session, self._telemetry, device, item)
                opinion = judge(known)
                findings.append(
                    {
                        "sha1": item.sha1,
                        "sha256": item.sha256,
                        "path": item.path,
                        "alerts": item.alerts,
                        "verdict": opinion.verdict,
                        "reasons": opinion.reasons,
                    }
                )
        with self._database.session(tenant_id) as session:
            row = _existing(session, number, lock=True)
            if row.state == "Running":
                row.findings = findings
                row.last_update_time = now()

    def remediate(self, tenant_id: str, number: int) -> None:
        """Plan an action for each bad file, and begin those that need nobody's approval."""
        with self._database.session(tenant_id) as session:
            row = _existing(session, number, lock=True)
            if row.state != "Running" or row.actions:
                return
            row.actions = self._plan(row.findings)
            if any(action["status"] == "PendingApproval" for action in row.actions):
                row.deadline = now() + APPROVAL
        self.begin(tenant_id, number)

    def begin(self, tenant_id: str, number: int) -> None:
        """Ask the device for what is approved, then see where the investigation stands."""
        with self._database.read(tenant_id) as session:
            row = _existing(session, number)
        begun = {action["number"]: self._begun(row, action) for action in row.actions if _is_unasked(action)}
        with self._database.session(tenant_id) as session:
            row = _existing(session, number, lock=True)
            row.actions = [{**action, **begun.get(action["number"], {})} for action in row.actions]
            self._follow(session, row)

    def follow(self) -> None:
        """Bring open investigations to where their machine actions are."""
        with self._database.system_read() as session:
            wanted = select(Investigation.tenant_id, Investigation.id).where(
                Investigation.state.in_(("PendingApproval", "PendingResource", "Running"))
            )
            due = session.execute(wanted.order_by(Investigation.last_update_time).limit(1000)).all()
        for tenant_id, number in due:
            # Most of them wait, and must not take the writer's lock for that.
            with self._database.read(tenant_id) as session:
                row = _existing(session, number)
                unasked = any(_is_unasked(action) for action in row.actions)
                moves = bool(row.actions) and _next(session, row) != (
                    row.actions,
                    row.state,
                    row.status_details,
                )
            if unasked or moves:
                self.begin(tenant_id, number)

    def decide(self, principal: Principal, number: int, action: int, approve: bool) -> Investigation:
        """Approve or reject one remediation; ApiError 404 unknown, 400 when it does not wait."""
        with self._database.session(principal.tenant_id) as session:
            row = _existing(session, number, lock=True)
            found = next((item for item in row.actions if item["number"] == action), None)
            if found is None:
                raise not_found("Remediation action", str(action))
            if found["status"] != "PendingApproval":
                raise bad_request(
                    f"The action does not wait for approval: {found['status']}.", "InvalidInput"
                )
            changed = {
                **found,
                "status": "Approved" if approve else "Rejected",
                "decidedBy": principal.actor[:200],
            }
            row.actions = [changed if item["number"] == action else item for item in row.actions]
            name = f"investigation.{'approve' if approve else 'reject'}"
            audit.record(session, principal, name, str(number), detail={"action": action})
        self.begin(principal.tenant_id, number)
        with self._database.read(principal.tenant_id) as session:
            return _existing(session, number)

    def fail(self, tenant_id: str, number: int, reason: str) -> None:
        """An analysis that could not be done."""
        with self._database.session(tenant_id) as session:
            row = _existing(session, number, lock=True)
            if row.state in OPEN:
                _move(session, row, "InnerFailure", reason[:1000])

    def _plan(self, findings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        level = self._settings.automation_level
        bad = [item for item in findings if item["verdict"] != CLEAN and item["sha1"]]
        if level == "none":
            return []
        return [
            {
                "number": number,
                "type": STOP_AND_QUARANTINE,
                "sha1": item["sha1"],
                "sha256": item["sha256"],
                "path": item["path"],
                "verdict": item["verdict"],
                "status": "PendingApproval"
                if needs_approval(level, item["verdict"], item["path"])
                else "Approved",
                "decidedBy": None,
                "machineActionId": None,
            }
            for number, item in enumerate(bad, 1)
        ]

    def _begun(self, row: Investigation, action: dict[str, Any]) -> dict[str, Any]:
        """The machine action of a remediation; one that was asked for before, or by others, is taken."""
        name = f"investigation-{row.id}-{action['number']}"
        with self._database.read(row.tenant_id) as session:
            asked = session.scalar(select(MachineAction.id).where(MachineAction.external_id == name).limit(1))
        if asked:
            return {"machineActionId": asked}
        principal = Principal(row.tenant_id, _NAME, _NAME, frozenset())
        try:
            made = self._actions.create(
                principal,
                row.machine_id,
                STOP_AND_QUARANTINE,
                f"Investigation {row.id}: {action['verdict']}",
                parameters={"sha1": action["sha1"]},
                related_file=("Sha1", action["sha1"]),
                external_id=name,
            )
        except ApiError as error:
            if error.code != "ActiveRequestAlreadyExists":
                return {"status": "Failed", "machineActionId": None}
            return {}  # somebody asks for the same right now; the next look tries again
        return {"machineActionId": made.id}

    def _follow(self, session: Session, row: Investigation) -> None:
        """Bring an investigation to where its machine actions are."""
        if row.state in OPEN and row.state != "Queued":
            row.actions, state, details = _next(session, row)
            _move(session, row, state, details)

    def _alert(self, row: Investigation) -> AlertDraft:
        return AlertDraft(
            tenant_id=row.tenant_id,
            device_id=row.machine_id,
            key=f"investigation:{row.id}",
            title="Automated investigation started manually",
            description=f"{row.requestor} started an automated investigation. {row.comment or ''}".strip(),
            severity="Informational",
            category="SuspiciousActivity",
            detection_source="AutomatedInvestigation",
            first_event_time=row.start_time,
            last_event_time=row.start_time,
            evidence=(),
        )


def _is_unasked(action: dict[str, Any]) -> bool:
    return action["status"] == "Approved" and not action["machineActionId"]


def _next(session: Session, row: Investigation) -> tuple[list[dict[str, Any]], str, str]:
    """Actions, state and details of an investigation, after what has become of its machine actions."""
    time = now()
    asked = [action["machineActionId"] for action in row.actions if action["machineActionId"]]
    machine = {
        item.id: item for item in session.scalars(select(MachineAction).where(MachineAction.id.in_(asked)))
    }
    lapsed = row.deadline is not None and row.deadline <= time
    actions = [_after(action, machine, lapsed) for action in row.actions]
    status = {action["status"] for action in actions}
    if "PendingApproval" in status:
        return actions, "PendingApproval", "Remediation waits for approval."
    if "Approved" not in status:
        return actions, *final_state(actions)
    if any(item.status == "Pending" and item.creation_time < time - RESOURCE for item in machine.values()):
        return actions, "PendingResource", "The device does not answer."
    return actions, "Running", "Remediation is under way."


def _after(action: dict[str, Any], machine: dict[str, MachineAction], lapsed: bool) -> dict[str, Any]:
    if action["status"] == "PendingApproval" and lapsed:
        return {**action, "status": "Expired"}
    done = machine.get(action["machineActionId"] or "")
    if action["status"] != "Approved" or done is None or done.status in OPEN_ACTIONS:
        return action
    if done.status == "Failed" and _NOT_FOUND in (done.troubleshoot_info or ""):
        return {**action, "status": "NotFound"}
    return {**action, "status": done.status if done.status == "Succeeded" else "Failed"}


def _move(session: Session, row: Investigation, state: str, details: str | None = None) -> None:
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


def _mark(session: Session, row: Investigation, alerts: Sequence[Alert]) -> None:
    """The alerts that an investigation takes up; those of an earlier one go over to it."""
    for alert in alerts:
        alert.investigation_id = row.id
        alert.investigation_state = row.state


def _existing(session: Session, number: int, *, lock: bool = False) -> Investigation:
    row = session.get(Investigation, number, with_for_update=lock or None)
    if row is None:
        raise not_found("Investigation", str(number))
    return row
