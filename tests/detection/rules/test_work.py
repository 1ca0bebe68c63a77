"""A server that dies while a rule runs looks at that window after its next start, once, as at all others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.detection.rules.models import RuleCursor
from shieldwall.detection.rules.service import RuleService
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import TENANT
from tests.detection.rules.conftest import ANYBODY, rule

# A server's work on rules that are due. With "die" it ends hard in the transaction of the second window.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from shieldwall import log
from shieldwall.detection.rules import running
from shieldwall.detection.rules.running import RuleRunner
from shieldwall.detection.rules.work import RuleWork
from shieldwall.investigations.service import Investigations
from shieldwall.investigations.work import InvestigationWork
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.hunting import Hunting
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

url, folder, tenant, mode = sys.argv[1:]
log.configure("ERROR")
settings = Settings(data=Path(folder), database_url=url)
database = Database(settings.state_url)
telemetry = TelemetryStore.open(settings)
hunting = Hunting(telemetry)
if mode == "die":
    record, looks = RuleRunner._record, []

    def dying(*arguments):
        looks.append(record(*arguments))
        arguments[1].flush()
        if len(looks) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return looks[-1]

    RuleRunner._record = dying
else:
    telemetry.insert_rows("DeviceProcessEvents", tenant, [
        {"Timestamp": now(), "DeviceId": "a" * 40, "DeviceName": "web01", "FileName": "curl",
         "ReportId": 1, "ProcessCommandLine": "curl x | sh", "AccountName": "root"}])
work = RuleWork(RuleRunner(database, hunting, settings), database, telemetry, hunting)
work.start()
durable = InvestigationWork(Investigations(database, telemetry, None, settings), settings)
durable.start()
while work.run_due():
    pass
if mode == "last":
    from datetime import timedelta
    from shieldwall.detection.rules import work as module
    module.SETTLE = timedelta(0)
    assert work.run_due() == 1
    module.KEPT_WORKFLOWS = -timedelta(days=1)
    assert work.prune() >= 5
work.stop()
durable.stop()
"""


@pytest.mark.slow
def test_a_window_is_neither_skipped_nor_repeated_when_the_server_is_killed(
    rules: RuleService, database: Database, tmp_path: Path
) -> None:
    rules.create(ANYBODY, rule(period=60))
    start = (now() - timedelta(hours=4, minutes=30)).replace(microsecond=7)
    with database.session(TENANT) as session:
        cursor = session.scalars(select(RuleCursor)).one()
        cursor.done_until, cursor.due = start, start + timedelta(hours=1)

    def run(mode: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, database.url, str(tmp_path), TENANT, mode]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ})

    died = run("die")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(rules.runs(TENANT, rule().id)) == 1
    # The next server stores an event, which the windows of the pause do not see.
    lived = run("live")
    assert lived.returncode == 0, lived.stderr
    ends = [run.window_end for run in rules.runs(TENANT, rule().id)]
    assert sorted(ends) == [start + timedelta(hours=n) for n in range(1, 5)]
    # The window that has it is over.
    with database.session(TENANT) as session:
        session.scalars(select(RuleCursor)).one().due = now()
    last = run("last")
    assert last.returncode == 0, last.stderr
    with database.read(TENANT) as session:
        assert len(session.scalars(select(Alert.id)).all()) == 1
