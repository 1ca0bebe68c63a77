"""The durable part: each investigation is a workflow whose finished steps are not done again after a crash.

DBOS keeps where a workflow stands in the database, in PostgreSQL the state's own (schema ``dbos``), beside
SQLite in a file of its own, and goes on with open ones at the next start. It is one for the whole process.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from dbos import DBOS, DBOSConfig, SetWorkflowID

from shieldwall import log
from shieldwall.investigations.service import Investigations
from shieldwall.settings import Settings

VERSION = "2"
"""Of the steps below. Another one leaves open workflows to servers of the old one."""
THREADS = 2

logger = log.get("investigations")


@dataclass
class _Desk:
    """Who does the work; the functions below are known to DBOS by their names alone."""

    investigations: Investigations | None = None

    def get(self) -> Investigations:
        assert self.investigations is not None, "the work has not been started"
        return self.investigations


_desk = _Desk()


class InvestigationWork:
    """Runs investigations from ``start`` to ``stop``."""

    def __init__(self, investigations: Investigations, settings: Settings) -> None:
        self._investigations = investigations
        self._settings = settings
        self._begun: set[tuple[str, int, int]] = set()

    def start(self) -> None:
        """Go on with what was open, and take new ones up."""
        _desk.investigations = self._investigations
        config: DBOSConfig = {
            "name": "shieldwall",
            "system_database_url": _url(self._settings),
            "application_version": VERSION,
            "executor_id": socket.gethostname(),
            "max_executor_threads": THREADS,
            "sys_db_pool_size": 2 * THREADS + 2,
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        DBOS(config=config)
        DBOS.launch()

    def stop(self) -> None:
        DBOS.destroy()
        _desk.investigations = None

    def begin_queued(self) -> None:
        """Begin what waits; a round that was begun already is the same workflow, and is not begun again."""
        queued = self._investigations.queued()
        self._begun.intersection_update(queued)
        for tenant_id, number, turn in queued:
            if (tenant_id, number, turn) in self._begun:
                continue
            self._begun.add((tenant_id, number, turn))
            with SetWorkflowID(f"investigation-{tenant_id}-{number}-{turn}"):
                DBOS.start_workflow(investigate, tenant_id, number, turn)


@DBOS.workflow()
def investigate(tenant_id: str, number: int, turn: int) -> None:
    try:
        judge(tenant_id, number, turn)
        remediate(tenant_id, number)
    except Exception as error:
        logger.exception("investigation failed", investigation=number)
        fail(tenant_id, number, f"{type(error).__name__}: the evidence could not be judged")


@DBOS.step(retries_allowed=True, max_attempts=3, interval_seconds=1.0)
def judge(tenant_id: str, number: int, turn: int) -> None:
    _desk.get().judge(tenant_id, number, turn)


@DBOS.step(retries_allowed=True, max_attempts=3, interval_seconds=1.0)
def remediate(tenant_id: str, number: int) -> None:
    _desk.get().remediate(tenant_id, number)


@DBOS.step(retries_allowed=True, max_attempts=3, interval_seconds=1.0)
def fail(tenant_id: str, number: int, reason: str) -> None:
    _desk.get().fail(tenant_id, number, reason)


def _url(settings: Settings) -> str:
    if settings.state_url.startswith("sqlite"):
        return f"sqlite:///{settings.data / 'work.db'}"
    return settings.state_url
