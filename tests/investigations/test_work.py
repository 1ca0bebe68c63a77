"""A server that dies in the middle of an investigation goes on with it at the next start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shieldwall.devices.models import Device
from shieldwall.identity.principal import Principal
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.service import Investigations
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import TENANT

DEVICE = "a" * 40
# A server's work on one investigation; with "die" it ends hard after the first step has begun its writing.
PROGRAM = """
import os, sys, time
from pathlib import Path
from shieldwall import log
from shieldwall.investigations.service import Investigations
from shieldwall.investigations.work import InvestigationWork
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

url, folder, tenant, number, mode = sys.argv[1:]
log.configure("ERROR")
settings = Settings(data=Path(folder), database_url=url)
database = Database(settings.state_url)

class Traced(Investigations):
    def judge(self, tenant_id, number, turn):
        Path(folder, "judged").open("a").write("judge\\n")

    def remediate(self, tenant_id, number):
        if mode == "die":
            os._exit(9)
        Path(folder, "judged").open("a").write("remediate\\n")
        with self._database.session(tenant_id) as session:
            from shieldwall.investigations import standing
            row = standing.existing(session, number, lock=True)
            standing.move(session, row, "Benign")

work = InvestigationWork(Traced(database, None, None, settings), settings)
work.start()
if mode == "die":
    work.begin_queued()
    work.begin_queued()
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    with database.read(tenant) as session:
        from shieldwall.investigations.models import Investigation
        if session.get(Investigation, int(number)).state == "Benign":
            break
    time.sleep(0.1)
else:
    sys.exit("nothing happened")
work.stop()
"""


@pytest.mark.slow
def test_an_investigation_goes_on_after_a_crash_and_repeats_no_finished_step(
    database: Database, tmp_path: Path
) -> None:
    time = now()
    with database.session(TENANT) as session:
        session.add(
            Device(
                id=DEVICE,
                computer_dns_name="host",
                first_seen=time,
                last_seen=time,
                last_contact=time,
                public_key="k",
            )
        )
    settings = Settings(data=tmp_path)
    service = Investigations(database, None, None, settings)  # type: ignore[arg-type]
    number = service.start(Principal(TENANT, "app", "analyst", frozenset()), DEVICE, "look").id

    def run(mode: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, database.url, str(tmp_path), TENANT, str(number), mode]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, env={**os.environ})

    died = run("die")
    assert died.returncode == 9, died.stderr
    again = run("live")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "judged").read_text().split() == ["judge", "remediate"]
    with database.read(TENANT) as session:
        row = session.get(Investigation, number)
        assert (row.state, row.end_time is not None) == ("Benign", True)
