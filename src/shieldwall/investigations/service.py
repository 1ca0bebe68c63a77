"""Investigations: started, judged, remediated, followed to their end. Every step may be done twice.

Queued, then Running, then either Benign, or with remediation PendingApproval while somebody has to say yes,
PendingResource while the device does not answer, and at last SuccessfullyRemediated, PartiallyRemediated,
Failed, TerminatedByUser or TerminatedBySystem. Alerts that join one meanwhile are looked at in another round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from shieldwall.alerts.drafts import AlertDraft
from shieldwall.alerts.raising import raise_alert
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.investigations import evidence, standing
from shieldwall.investigations.levels import automation_level
from shieldwall.investigations.looking import look
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.planning import WAITING, planned
from shieldwall.investigations.standing import existing, is_unasked, move, next_standing
from shieldwall.investigations.telling import tell_outcomes, tell_verdicts
from shieldwall.investigations.triggers import AUTOMATIC
from shieldwall.response.actions import ActionService
from shieldwall.response.kinds import STOP_AND_QUARANTINE
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from shieldwall.state import scope
from shieldwall.state.engine import Database
from shieldwall.state.missing import missing
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

APPROVAL = timedelta(days=7)
"""How long remediation waits for approval."""
PAUSE = timedelta(seconds=10)
"""Between two rounds of one investigation: alerts that come close together are looked at once."""
COMMENT_LIMIT = 4000
FOLLOWED = 1000


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
            # Alerts before the device, as whoever raises them locks them.
            alerts = evidence.open_alerts(session, device_id, lock=True)
            device = session.get(Device, device_id, with_for_update={"of": Device})
            if device is None:
                raise missing(session, "Machine", Device, device_id)
            running = standing.running_on(session, device_id)
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
                wanted=1,
                judged=0,
                findings=[],
                actions=[],
            )
            session.add(row)
            session.flush()
            alert, _ = raise_alert(session, self._alert(row), self._settings.incident_window)
            row.triggering_alert_id = alert.id
            standing.mark(row, [alert, *alerts])
            audit.record(
                session, principal, "investigation.start", str(row.id), detail={"machine": device_id}
            )
        return row

    def queued(self) -> Sequence[tuple[str, int, int]]:
        """Tenant, id and round of investigations that have something to look at."""
        with self._database.system_read() as session:
            due = or_(
                Investigation.state == "Queued",
                (Investigation.judged < Investigation.wanted)
                & (Investigation.last_update_time <= now() - PAUSE),
            )
            wanted = select(Investigation.tenant_id, Investigation.id, Investigation.wanted)
            wanted = wanted.where(Investigation.state.in_(standing.OPEN), due).order_by(Investigation.id)
            return [(tenant, number, turn) for tenant, number, turn in session.execute(wanted.limit(1000))]

    def judge(self, tenant_id: str, number: int, turn: int) -> None:
        """Look at all files around the investigation's alerts, and keep what is thought of each."""
        with self._database.session(tenant_id) as session:
            row = existing(session, number, lock=True)
            if row.state not in standing.OPEN or row.judged >= turn:
                return
            if row.state == "Queued":
                move(session, row, "Running")
        with self._database.read(tenant_id) as session:
            findings = look(session, self._telemetry, existing(session, number))
        with self._database.session(tenant_id) as session:
            row = existing(session, number, lock=True)
            if row.state in standing.OPEN and row.judged < turn:
                row.findings = findings
                tell_verdicts(session, findings)
                row.judged = turn
                row.last_update_time = now()

    def remediate(self, tenant_id: str, number: int) -> None:
        """Plan an action for each bad file, and begin those that need nobody's approval."""
        with self._database.session(tenant_id) as session:
            row = existing(session, number, lock=True)
            if row.state not in standing.OPEN or not row.judged:
                return
            actions = planned(row.findings, row.actions, self._levels(session, row))
            if any(action["status"] == WAITING for action in actions[len(row.actions) :]):
                row.deadline = now() + APPROVAL
            row.actions = actions
        self.begin(tenant_id, number)

    def begin(self, tenant_id: str, number: int) -> None:
        """Ask the devices for what is approved, then see where the investigation stands."""
        with self._database.read(tenant_id) as session:
            row = existing(session, number)
        begun = {action["number"]: self._begun(row, action) for action in row.actions if is_unasked(action)}
        with self._database.session(tenant_id) as session:
            row = existing(session, number, lock=True)
            row.actions = [{**action, **begun.get(action["number"], {})} for action in row.actions]
            if row.state in standing.OPEN and row.state != "Queued":
                before = row.actions
                row.actions, state, details = next_standing(session, row)
                tell_outcomes(session, before, row.actions)
                move(session, row, state, details)

    def follow(self) -> None:
        """Bring open investigations to where their machine actions are."""
        for tenant_id, number in self._open():
            # Most of them wait, and must not take the writer's lock for that.
            with self._database.read(tenant_id) as session:
                row = existing(session, number)
                unasked = any(is_unasked(action) for action in row.actions)
                moves = bool(row.actions) and next_standing(session, row) != (
                    row.actions,
                    row.state,
                    row.status_details,
                )
            if unasked or moves:
                self.begin(tenant_id, number)

    def _open(self) -> Iterator[tuple[str, int]]:
        last = 0
        while True:
            with self._database.system_read() as session:
                wanted = select(Investigation.tenant_id, Investigation.id).where(
                    Investigation.state.in_(("PendingApproval", "PendingResource", "Running")),
                    Investigation.id > last,
                )
                found = session.execute(wanted.order_by(Investigation.id).limit(FOLLOWED)).all()
            yield from ((tenant_id, number) for tenant_id, number in found)
            if len(found) < FOLLOWED:
                return
            last = found[-1].id

    def decide(self, principal: Principal, number: int, action: int, approve: bool) -> Investigation:
        """Approve or reject one remediation; ApiError 404 unknown, 403 hidden, 400 when it does not wait."""
        with self._database.session(principal.tenant_id) as session:
            row = existing(session, number, lock=True)
            found = next((item for item in row.actions if item["number"] == action), None)
            if found is None:
                raise not_found("Remediation action", str(action))
            if session.get(Device, found["machineId"]) is None:
                raise missing(session, "Machine", Device, found["machineId"])
            if found["status"] != WAITING or (row.deadline is not None and row.deadline <= now()):
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
        # What others approved begins as well, also on devices that this caller does not reach.
        scope.unlimited(self.begin, principal.tenant_id, number)
        with self._database.read(principal.tenant_id) as session:
            return existing(session, number)

    def fail(self, tenant_id: str, number: int, reason: str) -> None:
        """An analysis that could not be done."""
        with self._database.session(tenant_id) as session:
            row = existing(session, number, lock=True)
            if row.state in standing.OPEN:
                move(session, row, "InnerFailure", reason[:1000])

    def _levels(self, session: Session, row: Investigation) -> dict[str, str]:
        """The levels of the devices that the findings are of."""
        names = {finding["machineId"] for finding in row.findings}
        return {
            device.id: automation_level(session, device, self._settings.automation_level)
            for device in session.scalars(select(Device).where(Device.id.in_(names)))
        }

    def _begun(self, row: Investigation, action: dict[str, Any]) -> dict[str, Any]:
        """The machine action of a remediation; one that was asked for before, or by others, is taken."""
        name = f"investigation-{row.id}-{action['number']}"
        with self._database.read(row.tenant_id) as session:
            asked = session.scalar(select(MachineAction.id).where(MachineAction.external_id == name).limit(1))
        if asked:
            return {"machineActionId": asked}
        principal = Principal(row.tenant_id, AUTOMATIC, AUTOMATIC, frozenset())
        try:
            made = self._actions.create(
                principal,
                action["machineId"],
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
