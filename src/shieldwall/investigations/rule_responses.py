"""Carries out what detection rules ask for. They write it down with their alerts; here it becomes machine
actions, investigations and indicators, each asked for once, whatever stops the server in between."""

from __future__ import annotations

from sqlalchemy import select

from shieldwall import log
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.ownership import ALL
from shieldwall.detection.rules.models import RuleResponse
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal
from shieldwall.investigations.service import Investigations
from shieldwall.response import kinds
from shieldwall.response.actions import ActionService
from shieldwall.response.models import MachineAction
from shieldwall.state.engine import Database

AT_ONCE = 100
ATTEMPTS = 5
"""Before something that is not the request's fault is taken for final."""
BUSY = "ActiveRequestAlreadyExists"

_KINDS = {
    "Isolate": kinds.ISOLATE,
    "CollectPackage": kinds.COLLECT_PACKAGE,
    "Scan": kinds.SCAN,
    "Restrict": kinds.RESTRICT,
    "StopAndQuarantine": kinds.STOP_AND_QUARANTINE,
}

logger = log.get("rules")


class RuleResponses:
    """Safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        actions: ActionService,
        investigations: Investigations,
        indicators: IndicatorService,
    ) -> None:
        self._database = database
        self._actions = actions
        self._investigations = investigations
        self._indicators = indicators

    def carry_out(self) -> int:
        """Do what waits, the oldest first; how many were tried."""
        with self._database.system_read() as session:
            waiting = select(RuleResponse).where(RuleResponse.status == "Pending")
            rows = session.scalars(waiting.order_by(RuleResponse.id).limit(AT_ONCE)).all()
        for row in rows:
            status, message = self._outcome(row)
            with self._database.session(row.tenant_id) as session:
                kept = session.get(RuleResponse, row.id, with_for_update=True)
                if kept is not None and kept.status == "Pending":
                    kept.attempts += 1
                    last = kept.attempts >= ATTEMPTS
                    kept.status = "Failed" if status == "Pending" and last else status
                    kept.message = message[:2000]
        return len(rows)

    def _outcome(self, row: RuleResponse) -> tuple[str, str]:
        """The status that a response comes to, with the id of what was asked for, or why it was not."""
        try:
            return "Done", self._ask(row)
        except ApiError as error:
            # What is under way already need not be asked for again.
            return ("Done" if error.code == BUSY else "Failed"), error.message
        except Exception as error:
            logger.exception("a response was not carried out", response=row.id, tenant=row.tenant_id)
            return "Pending", f"{type(error).__name__}: it will be tried again"

    def _ask(self, row: RuleResponse) -> str:
        name = f"Detection rule {row.rule_id}"
        principal = Principal(row.tenant_id, name, name, frozenset({ALL}))
        comment = f"{name}, alert {row.alert_id}, as {row.requested_by} has set it"
        if row.kind in ("BlockFile", "AllowFile"):
            return self._list_file(principal, row, comment)
        if row.kind == "Investigate":
            return str(self._investigations.start(principal, row.device_id, comment).id)
        return self._act(principal, row, comment)

    def _act(self, principal: Principal, row: RuleResponse, comment: str) -> str:
        external_id = f"rule-response-{row.id}"
        with self._database.read(row.tenant_id) as session:
            mine = select(MachineAction.id).where(MachineAction.external_id == external_id)
            asked = session.scalar(mine.limit(1))
        if asked is not None:
            return asked
        scope: str | None = None
        parameters: dict[str, object] = {}
        file: tuple[str, str] | None = None
        if row.kind == "Isolate":
            scope = str(row.parameters.get("isolation", "Full"))
            parameters = {"scope": scope}
        elif row.kind == "Scan":
            scope, parameters = "Full", {"scope": "Full", "rules": []}
        elif row.kind == "StopAndQuarantine":
            parameters, file = {"sha1": row.target}, ("Sha1", row.target)
        made = self._actions.create(
            principal,
            row.device_id,
            _KINDS[row.kind],
            comment,
            scope=scope,
            parameters=parameters,
            related_file=file,
            external_id=external_id,
            request_source="CustomDetection",
        )
        return made.id

    def _list_file(self, principal: Principal, row: RuleResponse, comment: str) -> str:
        body = {
            "indicatorValue": row.target,
            "indicatorType": "FileSha1" if len(row.target) == 40 else "FileSha256",
            "action": "BlockAndRemediate" if row.kind == "BlockFile" else "Allowed",
            "title": f"{'Blocked' if row.kind == 'BlockFile' else 'Allowed'} by a detection rule",
            "description": comment,
            "severity": "Informational",
            "generateAlert": False,
            "rbacGroupNames": row.parameters.get("device_groups", []),
        }
        return str(self._indicators.create_or_update(row.tenant_id, principal, body).id)
