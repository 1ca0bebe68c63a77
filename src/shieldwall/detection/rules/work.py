"""The durable part of the schedule: each window is a workflow, which goes on after a crash.

A window is named by its tenant, rule and end, so that two servers on one database do not both look at it. The
transaction that writes what a run found also moves the rule's cursor (`running.py`): done twice, it is done
once. DBOS itself is started by ``investigations.work``, after `RuleWork.start`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from dbos import DBOS, SetWorkflowID

from shieldwall import log
from shieldwall.detection.rules import schedule
from shieldwall.detection.rules.running import Interrupted, RuleRunner
from shieldwall.state.engine import Database
from shieldwall.telemetry.hunting import Cancellation, Hunting
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, parse, to_text

SETTLE = timedelta(seconds=10)
"""After the end of a window, for clocks that differ; besides, no insert that began in it may be under way."""
TURN_SECONDS = 20.0
"""How long one turn goes on with windows that are due."""
RETRY_SECONDS = 60.0
"""After a run that something other than its query made fail."""
KEPT_WORKFLOWS = timedelta(days=1)
PRUNED_AT_ONCE = 500
OVER = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

logger = log.get("rules")


@dataclass
class _Desk:
    """Who does the work; the functions below are known to DBOS by their names alone."""

    look: Callable[[str, str, datetime], None] | None = None


_desk = _Desk()


class RuleWork:
    """Looks at windows that are due, from ``start`` to ``stop``, one after another."""

    def __init__(
        self, runner: RuleRunner, database: Database, telemetry: TelemetryStore, hunting: Hunting
    ) -> None:
        self._runner = runner
        self._database = database
        self._telemetry = telemetry
        self._hunting = hunting
        self._stopping = threading.Event()
        self._cancellation: Cancellation | None = None
        self._failed: dict[schedule.Due, float] = {}
        self._turn = threading.Lock()

    def start(self) -> None:
        """Be there for workflows; before DBOS starts, since it goes on with open ones at once."""
        self._stopping.clear()
        _desk.look = self._look

    def stop(self) -> None:
        """Stop what runs: it is looked at again after the next start."""
        self._stopping.set()
        if (running := self._cancellation) is not None:
            self._hunting.cancel(running)
        with self._turn:
            pass
        _desk.look = None

    def run_due(self) -> int:
        """Look at windows that are due, for a turn; how many."""
        done = 0
        end = time.monotonic() + TURN_SECONDS
        with self._turn:
            for window in self._ready():
                if self._stopping.is_set() or time.monotonic() > end:
                    break
                if self._failed.get(window, 0.0) > time.monotonic():
                    continue
                done += self._run(window)
        return done

    def prune(self) -> int:
        """Forget workflows that ended a while ago; how many."""
        before = to_text((now() - KEPT_WORKFLOWS).replace(microsecond=0))
        ended = DBOS.list_workflows(
            name=look_at_window.__qualname__,
            status=list(OVER),
            end_time=before,
            limit=PRUNED_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if ended:
            DBOS.delete_workflows([found.workflow_id for found in ended])
        return len(ended)

    def _ready(self) -> list[schedule.Due]:
        """Windows that are due and of which all rows can be read."""
        until = now() - SETTLE
        windows = [window for window in schedule.due(self._database, until) if window.end <= until]
        if not windows:
            return []
        running = self._telemetry.system_query(
            "SELECT now64(6) - toIntervalMicrosecond(toInt64(max(elapsed) * 1000000)) AS began, "
            "count() AS count "
            "FROM system.processes WHERE query_kind = 'Insert'"
        )[0]
        if running["count"]:
            windows = [window for window in windows if window.end < running["began"]]
        return windows

    def _run(self, window: schedule.Due) -> bool:
        try:
            for attempt in range(1000):
                name = f"rule-{window.tenant_id}-{window.rule_id}-{to_text(window.end)}-{attempt}"
                known = DBOS.get_workflow_status(name)
                # One that ended without moving the cursor has failed; one that is open goes on by itself.
                if known is None or known.status not in OVER:
                    with SetWorkflowID(name):
                        started = DBOS.start_workflow(
                            look_at_window, window.tenant_id, window.rule_id, to_text(window.end)
                        )
                    started.get_result()
                    break
        except Interrupted:
            return False
        except Exception:
            logger.exception("a rule did not run", rule=window.rule_id, tenant=window.tenant_id)
            self._failed = {key: at for key, at in self._failed.items() if at > time.monotonic()}
            self._failed[window] = time.monotonic() + RETRY_SECONDS
            return False
        return True

    def _look(self, tenant_id: str, rule_id: str, end: datetime) -> None:
        if self._stopping.is_set():
            raise Interrupted
        self._cancellation = Cancellation()
        try:
            run = self._runner.run_due(tenant_id, rule_id, end, self._cancellation)
        finally:
            self._cancellation = None
        if run is not None and run.over_limit:
            logger.warning(
                "more hits than a run may raise", rule=rule_id, tenant=tenant_id, rows=run.over_limit
            )


@DBOS.workflow()
def look_at_window(tenant_id: str, rule_id: str, end: str) -> None:
    look(tenant_id, rule_id, end)


@DBOS.step()
def look(tenant_id: str, rule_id: str, end: str) -> None:
    assert _desk.look is not None, "the work has not been started"
    _desk.look(tenant_id, rule_id, parse(end))
