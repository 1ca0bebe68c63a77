"""Requests and reports for one action at the same moment: one wins, whatever the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import func, select, update

from shieldwall.devices.models import Device
from shieldwall.errors import ApiError
from shieldwall.identity import audit
from shieldwall.identity.models import AuditEntry
from shieldwall.identity.principal import Principal
from shieldwall.response.actions import ActionService
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now
from shieldwall.wakeups import Wakeups
from tests.conftest import TENANT

DEVICE = "a" * 40
ANALYST = Principal(TENANT, "app", "analyst", frozenset())
SHA1 = "1" * 40


@pytest.fixture
def service(database: Database, monkeypatch: pytest.MonkeyPatch) -> ActionService:
    """Actions of one device. Each change dwells between its check and its commit."""
    time_ = now()
    with database.session(TENANT) as session:
        session.add(
            Device(
                id=DEVICE,
                computer_dns_name="host",
                first_seen=time_,
                last_seen=time_,
                last_contact=time_,
                public_key="k",
            )
        )
    record = audit.record

    def dwell(*arguments: Any, **named: Any) -> None:
        time.sleep(0.2)
        record(*arguments, **named)

    monkeypatch.setattr(audit, "record", dwell)
    return ActionService(database, Wakeups(), Settings())


def at_once(*steps: Callable[[], object]) -> list[str]:
    """What came of steps that began together: ``done``, or the code of a refusal."""
    together = Barrier(len(steps))

    def run(step: Callable[[], object]) -> str:
        together.wait(10)
        try:
            step()
        except ApiError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(len(steps)) as pool:
        return sorted(pool.map(run, steps))


def entries(database: Database, action: str) -> int:
    with database.read(TENANT) as session:
        found = select(func.count()).select_from(AuditEntry).where(AuditEntry.action == action)
        return session.scalar(found) or 0


def test_of_two_equal_requests_one_is_refused(database: Database, service: ActionService) -> None:
    outcomes = at_once(
        lambda: service.isolate(ANALYST, DEVICE, "x", "Full"),
        lambda: service.unisolate(ANALYST, DEVICE, "x"),
    )
    assert outcomes == ["ActiveRequestAlreadyExists", "done"]
    outcomes = at_once(*[lambda: service.stop_and_quarantine(ANALYST, DEVICE, "x", SHA1)] * 4)
    assert outcomes == ["ActiveRequestAlreadyExists"] * 3 + ["done"]
    with database.read(TENANT) as session:
        assert session.scalar(select(func.count()).select_from(MachineAction)) == 2


def test_requests_for_different_files_are_both_taken(service: ActionService) -> None:
    assert at_once(
        lambda: service.stop_and_quarantine(ANALYST, DEVICE, "x", SHA1),
        lambda: service.stop_and_quarantine(ANALYST, DEVICE, "x", "2" * 40),
    ) == ["done", "done"]


def test_of_two_final_reports_the_first_stands(database: Database, service: ActionService) -> None:
    action = service.isolate(ANALYST, DEVICE, "x", "Full").id
    at_once(
        lambda: service.record_status(TENANT, DEVICE, action, "Succeeded", "", {"isolated": True}),
        lambda: service.record_status(TENANT, DEVICE, action, "Failed", "no", {}),
    )
    final = service.get(TENANT, action)
    ended = [entries(database, f"machineaction.{status}") for status in ("succeeded", "failed")]
    assert sum(ended) == 1
    assert final.status == ("Succeeded" if ended[0] else "Failed")
    assert (final.troubleshoot_info is None) == bool(ended[0])


def test_a_cancellation_and_a_report_do_not_both_win(database: Database, service: ActionService) -> None:
    action = service.isolate(ANALYST, DEVICE, "x", "Full").id
    outcomes = at_once(
        lambda: service.cancel(ANALYST, action, "mistake"),
        lambda: service.record_status(TENANT, DEVICE, action, "Succeeded", "", {}),
    )
    cancelled = service.get(TENANT, action).status == "Cancelled"
    assert outcomes == (["done", "done"] if cancelled else ["InvalidInput", "done"])
    with database.read(TENANT) as session:
        device = session.get(Device, DEVICE)
        assert device is not None
        assert device.isolated != cancelled
    assert entries(database, "machineaction.succeeded") == (0 if cancelled else 1)


def test_two_cancellations_are_one(database: Database, service: ActionService) -> None:
    action = service.isolate(ANALYST, DEVICE, "x", "Full").id
    outcomes = at_once(*[lambda: service.cancel(ANALYST, action, "mistake")] * 2)
    assert outcomes == ["InvalidInput", "done"]
    assert entries(database, "machineaction.cancel") == 1


def test_what_is_reported_in_time_does_not_time_out(database: Database, service: ActionService) -> None:
    action = service.isolate(ANALYST, DEVICE, "x", "Full").id
    with database.session(TENANT) as session:
        session.execute(update(MachineAction).values(deadline=now() - timedelta(seconds=1)))

    def expire() -> None:
        time.sleep(0.1)
        service.expire()

    at_once(expire, lambda: service.record_status(TENANT, DEVICE, action, "Succeeded", "", {}))
    assert service.get(TENANT, action).status == "Succeeded"
    assert service.expire() == 0
