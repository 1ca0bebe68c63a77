"""Changes of one incident at once, on both databases: none is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from shieldwall.alerts.models import Incident
from shieldwall.api.incident_changes import update_incident
from shieldwall.api.incidents import find_incident
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from tests.api.conftest import incident
from tests.conftest import TENANT

WRITERS = 6


def test_comments_made_at_once_are_all_kept(database: Database) -> None:
    with database.session(TENANT) as session:
        row = incident()
        session.add(row)
        session.flush()
        number = row.id
    # SQLite lets one in at a time; elsewhere all have read the incident before the first changes it.
    together = threading.Barrier(WRITERS if database.engine.dialect.name == "postgresql" else 1)

    def say(text: str) -> None:
        with database.session(TENANT) as session:
            found = find_incident(session, str(number))
            together.wait(20)
            update_incident(session, Principal(TENANT, "app", text, frozenset()), found.id, {"comment": text})

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(say, [f"remark {turn}" for turn in range(WRITERS)]))
    with database.read(TENANT) as session:
        kept = session.get(Incident, number)
        assert kept is not None
        assert {said["comment"] for said in kept.comments} == {f"remark {turn}" for turn in range(WRITERS)}
