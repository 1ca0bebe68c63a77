"""An alert takes in what is told of it, in whatever order sensors tell it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.models import Alert, Evidence
from shieldwall.alerts.raising import raise_alert
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.conftest import TENANT

from .conftest import draft

SEEN = EvidenceDraft("File", sha256="c" * 64, file_name="x", detection_status="Detected")
STOPPED = replace(SEEN, detection_status="Prevented")


def told(seconds: int, entity: EvidenceDraft) -> AlertDraft:
    return replace(draft("one", "High", time=now() + timedelta(seconds=seconds)), evidence=(entity,))


def raised(database: Database, *drafts: AlertDraft) -> Alert:
    for item in drafts:
        with database.session(TENANT) as session:
            alert, _ = raise_alert(session, item, 3600)
            identifier = alert.id
    with database.session(TENANT) as session:
        return session.scalars(select(Alert).where(Alert.id == identifier)).one()


def statuses(database: Database) -> list[tuple[str | None, str]]:
    with database.read(TENANT) as session:
        return [(row.detection_status, row.remediation_status) for row in session.scalars(select(Evidence))]


def test_what_was_stopped_says_so_though_it_was_seen_first(devices: Database) -> None:
    raised(devices, told(0, SEEN), told(5, STOPPED))
    assert statuses(devices) == [("Prevented", "Prevented")]


def test_what_is_told_late_counts_too_but_once(devices: Database) -> None:
    first, late = told(0, SEEN), told(-5, STOPPED)
    alert = raised(devices, first, late, late, first)
    assert statuses(devices) == [("Prevented", "Prevented")]
    assert alert.event_count == 2
    assert alert.first_event_time == late.first_event_time
    assert alert.last_event_time == first.last_event_time
