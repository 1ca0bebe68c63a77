"""Machine actions: asked for, handed to the agent, followed to their end.

Pending, then InProgress, then one of Succeeded, Failed, TimeOut or Cancelled, which never changes again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall import metrics
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError, bad_request, missing_parameter, not_found, too_many_requests
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.response.detections import raise_detections
from shieldwall.response.kinds import (
    COLLECT_LOGS,
    COLLECT_PACKAGE,
    ISOLATE,
    KINDS,
    LIVE_RESPONSE,
    OFFBOARD,
    OPEN,
    RESTRICT,
    SCAN,
    STOP_AND_QUARANTINE,
    UNISOLATE,
    UNRESTRICT,
)
from shieldwall.response.live_response import followed
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.state.missing import missing
from shieldwall.times import now
from shieldwall.wakeups import Wakeups

ISOLATION_TYPES = ("Full", "Selective")
SCAN_TYPES = ("Quick", "Full")
COMMENT_LIMIT = 4000
RESULT_ITEMS = 200
SESSIONS_LIMIT = 25
"""Most open live responses of a tenant."""

_SHA1 = re.compile(r"[0-9a-fA-F]{40}")


class ActionService:
    """Creates, cancels and follows machine actions. Safe to use from any thread."""

    def __init__(self, database: Database, wakeups: Wakeups, settings: Settings) -> None:
        self._database = database
        self._wakeups = wakeups
        self._settings = settings

    def isolate(
        self, principal: Principal, device_id: str, comment: str | None, isolation_type: str | None
    ) -> MachineAction:
        """Cut a device off from all but this server, by default fully."""
        scope = _one_of("IsolationType", isolation_type or "Full", ISOLATION_TYPES)
        return self.create(principal, device_id, ISOLATE, comment, scope=scope, parameters={"scope": scope})

    def unisolate(self, principal: Principal, device_id: str, comment: str | None) -> MachineAction:
        """Let an isolated device back on its network."""
        return self.create(principal, device_id, UNISOLATE, comment)

    def stop_and_quarantine(
        self, principal: Principal, device_id: str, comment: str | None, sha1: str | None
    ) -> MachineAction:
        """Stop the processes of a file on one device and lock the file away."""
        if not sha1:
            raise missing_parameter("Sha1")
        if not _SHA1.fullmatch(sha1):
            raise ApiError(400, "InvalidHashValue", f"Hash value {sha1[:64]} is invalid.")
        return self.create(
            principal,
            device_id,
            STOP_AND_QUARANTINE,
            comment,
            parameters={"sha1": sha1.lower()},
            related_file=("Sha1", sha1.lower()),
        )

    def collect_package(self, principal: Principal, device_id: str, comment: str | None) -> MachineAction:
        """Collect an investigation package from a device."""
        return self.create(principal, device_id, COLLECT_PACKAGE, comment)

    def collect_logs(self, principal: Principal, device_id: str, comment: str | None) -> MachineAction:
        """Collect what the agent itself has logged."""
        return self.create(principal, device_id, COLLECT_LOGS, comment)

    def restrict(self, principal: Principal, device_id: str, comment: str | None) -> MachineAction:
        """Let only programs of the system's own folders and packages run on a device."""
        return self.create(principal, device_id, RESTRICT, comment)

    def unrestrict(self, principal: Principal, device_id: str, comment: str | None) -> MachineAction:
        return self.create(principal, device_id, UNRESTRICT, comment)

    def scan(
        self,
        principal: Principal,
        device_id: str,
        comment: str | None,
        scan_type: str,
        rules: Sequence[Mapping[str, Any]] = (),
    ) -> MachineAction:
        """Look through a device's files for listed hashes and matches of YARA ``rules`` of the library."""
        scope = _one_of("ScanType", scan_type, SCAN_TYPES)
        parameters = {"scope": scope, "rules": [dict(file) for file in rules]}
        return self.create(principal, device_id, SCAN, comment, scope=scope, parameters=parameters)

    def offboard(self, principal: Principal, device_id: str, comment: str | None) -> MachineAction:
        """Let a device go: its agent removes itself, and the server refuses it from then on."""
        return self.create(principal, device_id, OFFBOARD, comment)

    def run_live_response(
        self, principal: Principal, device_id: str, comment: str | None, plan: Sequence[Mapping[str, Any]]
    ) -> MachineAction:
        """Run the commands of ``live_response.plan`` on a device, in their order."""
        commands = [
            {
                "index": index,
                "startTime": None,
                "endTime": None,
                "commandStatus": "Created",
                "errors": [],
                "command": step["command"],
            }
            for index, step in enumerate(plan)
        ]
        steps = [step["message"] for step in plan]
        return self.create(
            principal, device_id, LIVE_RESPONSE, comment, parameters={"commands": steps}, commands=commands
        )

    def create(
        self,
        principal: Principal,
        device_id: str,
        kind: str,
        comment: str | None,
        *,
        scope: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        related_file: tuple[str, str] | None = None,
        external_id: str | None = None,
        commands: Sequence[Mapping[str, Any]] = (),
        request_source: str = "PublicApi",
    ) -> MachineAction:
        """Ask a device for an action; ApiError 400 while one of the same kind is open there, 404 unknown."""
        if comment is not None and len(comment) > COMMENT_LIMIT:
            raise bad_request(f"Comment is longer than {COMMENT_LIMIT} characters.", "InvalidRequestBody")
        time = now()
        with self._database.session(principal.tenant_id) as session:
            # Whoever asks the same of this device at the same time waits here, and then finds this action.
            device = session.get(Device, device_id, with_for_update={"of": Device})
            if device is None:
                raise missing(session, "Machine", Device, device_id)
            if device.revoked:
                raise bad_request("The device was offboarded.", "InvalidInput")
            if not device.public_key:
                raise bad_request("The device has no agent.", "InvalidInput")
            if kind == LIVE_RESPONSE and _open_sessions(session) >= SESSIONS_LIMIT:
                raise too_many_requests(f"More than {SESSIONS_LIMIT} live response sessions are open.", 60)
            if _is_busy(session, device_id, kind, parameters or {}):
                raise bad_request("Action is already in progress", "ActiveRequestAlreadyExists")
            action = MachineAction(
                id=str(uuid4()),
                type=kind,
                scope=scope,
                parameters=dict(parameters or {}),
                requestor=principal.name or principal.application_id,
                requestor_comment=comment,
                external_id=external_id,
                request_source=request_source,
                status="Pending",
                machine_id=device_id,
                computer_dns_name=device.computer_dns_name,
                creation_time=time,
                last_update_time=time,
                deadline=time + KINDS[kind].time,
                related_file_identifier_type=related_file[0] if related_file else None,
                related_file_identifier=related_file[1] if related_file else None,
                commands=[dict(command) for command in commands],
                result={},
            )
            session.add(action)
            detail = {"machine": device_id, "type": kind, **_told(action)}
            audit.record(session, principal, f"machineaction.{kind}", action.id, detail=detail)
        metrics.actions.labels(kind, "Pending").inc()
        self._wakeups.notify(principal.tenant_id, device_id)
        return action

    def get(self, tenant_id: str, action_id: str) -> MachineAction:
        """One action of the tenant; ApiError 400 when ``action_id`` is no guid, 404 unknown."""
        with self._database.read(tenant_id) as session:
            return _existing(session, action_id)

    def cancel(self, principal: Principal, action_id: str, comment: str | None) -> MachineAction:
        """End an open action; ApiError 400 when it has ended already."""
        with self._database.session(principal.tenant_id) as session:
            action = _existing(session, action_id, lock=True)
            if action.status not in OPEN:
                raise bad_request(f"The action has ended already: {action.status}.", "InvalidInput")
            action.status = "Cancelled"
            action.cancellation_requestor = principal.name or principal.application_id
            action.cancellation_comment = comment
            action.cancellation_time = action.last_update_time = now()
            audit.record(session, principal, "machineaction.cancel", action.id)
        metrics.actions.labels(action.type, "Cancelled").inc()
        self._wakeups.notify(principal.tenant_id, action.machine_id)
        return action

    def record_status(
        self, tenant_id: str, device_id: str, action_id: str, status: str, error: str, result: dict[str, Any]
    ) -> None:
        """What the agent says of its own action. A final action stays; saying it twice is no error."""
        if status not in ("InProgress", "Succeeded", "Failed"):
            raise bad_request(f"An agent cannot report the status {status[:40]!r}.", "InvalidInput")
        with self._database.session(tenant_id) as session:
            action = _existing(session, action_id, lock=True)
            if action.machine_id != device_id:
                raise not_found("Machine action", action_id)
            if action.status not in OPEN or action.status == status:
                return
            if action.type == LIVE_RESPONSE:
                action.commands = followed(action.commands, result.get("commands"))
            action.status = status
            action.last_update_time = now()
            action.result = {**action.result, **dict(list(result.items())[:RESULT_ITEMS])}
            if status == "Failed":
                action.troubleshoot_info = error[:COMMENT_LIMIT] or "The agent gave no reason."
                action.error_hresult = -2147467259  # E_FAIL, what clients know as a failure without a code
            elif status == "Succeeded" and action.type in (ISOLATE, UNISOLATE):
                device = session.get(Device, device_id, with_for_update={"of": Device})
                if device:
                    device.isolated = action.type == ISOLATE
            if status != "InProgress" and action.type == SCAN:
                raise_detections(session, action, action.last_update_time, self._settings.incident_window)
            elif status == "Succeeded" and action.type == OFFBOARD:
                device = session.get(Device, device_id, with_for_update={"of": Device})
                if device:
                    _let_go(session, device, action)
            audit.record(session, device_id, f"machineaction.{status.lower()}", action.id)
        metrics.actions.labels(action.type, status).inc()

    def expire(self) -> int:
        """Turn actions whose time is over into TimeOut; how many."""
        time = now()
        with self._database.system_read() as session:
            due = session.scalars(_overdue(time).with_only_columns(MachineAction.id)).all()
        if not due:
            return 0
        with self._database.system_session() as session:
            # One that is changing right now is left to the next look.
            actions = session.scalars(_overdue(time).with_for_update(skip_locked=True)).all()
            for action in actions:
                action.status = "TimeOut"
                action.last_update_time = time
                metrics.actions.labels(action.type, "TimeOut").inc()
        return len(actions)


def pending_for(session: Session, device_id: str) -> Sequence[MachineAction]:
    """Actions that the device has not begun, oldest first."""
    return session.scalars(
        select(MachineAction)
        .where(MachineAction.machine_id == device_id, MachineAction.status == "Pending")
        .order_by(MachineAction.creation_time, MachineAction.id)
        .limit(100)
    ).all()


def cancelled_for(session: Session, device_id: str) -> Sequence[str]:
    """Ids of actions that were cancelled lately: the device may have begun them."""
    return session.scalars(
        select(MachineAction.id).where(
            MachineAction.machine_id == device_id,
            MachineAction.status == "Cancelled",
            MachineAction.cancellation_time > now() - timedelta(minutes=10),
        )
    ).all()


def _overdue(time: Any) -> Any:
    return select(MachineAction).where(MachineAction.status.in_(OPEN), MachineAction.deadline <= time)


def _is_busy(session: Session, device_id: str, kind: str, parameters: Mapping[str, Any]) -> bool:
    """Whether an action is open that this one would get in the way of."""
    open_actions = session.scalars(
        select(MachineAction).where(
            MachineAction.machine_id == device_id,
            MachineAction.status.in_(OPEN),
            MachineAction.type.in_(KINDS[kind].excludes),
        )
    )
    if KINDS[kind].by_file:
        return any(action.parameters.get("sha1") == parameters.get("sha1") for action in open_actions)
    return any(True for _ in open_actions)


def _open_sessions(session: Session) -> int:
    wanted = select(func.count()).select_from(MachineAction)
    return (
        session.scalar(wanted.where(MachineAction.type == LIVE_RESPONSE, MachineAction.status.in_(OPEN))) or 0
    )


def _told(action: MachineAction) -> dict[str, Any]:
    """What the audit keeps of an action: all that is done on the device, so scripts with their arguments."""
    if action.type == LIVE_RESPONSE:
        return {"commands": [command["command"] for command in action.commands]}
    return dict(action.parameters)


def _let_go(session: Session, device: Device, action: MachineAction) -> None:
    """The agent has removed itself: its key opens nothing any more, and what else was asked of it is over."""
    device.revoked = True
    device.onboarding_status = "CanBeOnboarded"
    device.health_status = "Inactive"
    left = session.scalars(
        select(MachineAction).where(
            MachineAction.machine_id == device.id,
            MachineAction.status.in_(OPEN),
            MachineAction.id != action.id,
        )
    )
    for other in left:
        other.status = "Failed"
        other.last_update_time = now()
        other.troubleshoot_info = "The device was offboarded."
    audit.record(session, device.id, "device.offboard", device.id)


def _existing(session: Session, action_id: str, *, lock: bool = False) -> MachineAction:
    """An action by its id. Locked, it stays as it is read here until the transaction ends."""
    try:
        identifier = str(UUID(action_id))
    except ValueError:
        raise bad_request("The key value must be of type 'Edm.Guid'.") from None
    action = session.get(MachineAction, identifier, with_for_update=lock or None)
    if action is None:
        raise missing(session, "Machine action", MachineAction, identifier)
    return action


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    for choice in allowed:
        if choice.lower() == value.lower():
            return choice
    raise bad_request(f"{name} must be one of {', '.join(allowed)}.", "InvalidInput")
