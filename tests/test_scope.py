"""A session of a caller who is limited to device groups reads and changes rows of theirs only."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from shieldwall.alerts.models import Alert, Incident
from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.state import scope
from shieldwall.state.base import DeviceScoped
from shieldwall.state.engine import Base, Database, unscoped
from shieldwall.state.missing import missing
from tests.api.conftest import DEVICE, SECOND, seed
from tests.conftest import TENANT

Found = TypeVar("Found")

UNSCOPED = {
    # Read with their device or by the agent itself, never by a person's query.
    "device_tags",
    "ingest_streams",
}


@pytest.fixture
def seeded(database: Database) -> Database:
    seed(database)
    return database


def within(database: Database, work: Callable[[Session], Found], *names: str) -> Found:
    """What ``work`` finds for a caller of these device groups; an empty name is devices of none."""

    def narrowed() -> Found:
        with database.read(TENANT) as session:
            ids = {group.name: group.id for group in session.scalars(select(DeviceGroup))} | {"": 0}
        scope.narrow(scope.DeviceScope(frozenset(ids[name] for name in names), frozenset(names)))
        with database.session(TENANT) as session:
            return work(session)

    return copy_context().run(narrowed)


def devices(session: Session) -> list[str]:
    return list(session.scalars(select(Device.id).order_by(Device.id)))


@pytest.mark.parametrize(
    ("names", "seen"),
    [(("Servers",), [DEVICE]), (("",), [SECOND]), (("Servers", ""), [DEVICE, SECOND]), ((), [])],
)
def test_devices_of_the_groups_alone_are_read(
    seeded: Database, names: tuple[str, ...], seen: list[str]
) -> None:
    assert within(seeded, devices, *names) == seen


def test_what_belongs_to_devices_follows_them(seeded: Database) -> None:
    def alerts(session: Session) -> set[str | None]:
        return set(session.scalars(select(Alert.machine_id)))

    assert within(seeded, alerts, "Servers") == {DEVICE}
    assert within(seeded, alerts, "") == {SECOND}
    assert within(seeded, alerts) == set()

    def incidents(session: Session) -> int | None:
        return session.scalar(select(func.count()).select_from(Incident))

    assert [within(seeded, incidents, name) for name in ("Servers", "")] == [1, 1]
    assert within(seeded, incidents) == 0


def test_aliases_joins_and_keys_are_narrowed_too(seeded: Database) -> None:
    other = aliased(Device)

    def joined(session: Session) -> list[str]:
        wanted = select(other.id).join(Alert, Alert.machine_id == other.id).distinct()
        return list(session.scalars(wanted))

    assert within(seeded, joined, "Servers") == [DEVICE]
    assert within(seeded, lambda session: session.get(Device, SECOND), "Servers") is None
    assert within(seeded, lambda session: session.get(Device, DEVICE), "Servers") is not None
    with_lock = select(Alert.id).where(Alert.machine_id == SECOND).with_for_update()
    assert within(seeded, lambda session: session.scalar(with_lock), "Servers") is None


def test_updates_reach_no_others(seeded: Database) -> None:
    within(seeded, lambda session: session.execute(update(Alert).values(title="changed")), "Servers")
    with seeded.read(TENANT) as session:
        changed = set(session.scalars(select(Alert.machine_id).where(Alert.title == "changed")))
    assert changed == {DEVICE}


def test_a_refusal_tells_what_is_hidden_from_what_is_not_there(seeded: Database) -> None:
    def status(identifier: str) -> int:
        return within(
            seeded, lambda session: missing(session, "Machine", Device, identifier).status, "Servers"
        )

    assert status(SECOND) == 403
    assert status("c" * 40) == 404


def test_unscoped_ends_with_its_block(seeded: Database) -> None:
    def work(session: Session) -> list[list[str]]:
        with unscoped(session):
            inside = devices(session)
        return [inside, devices(session)]

    assert within(seeded, work, "Servers") == [[DEVICE, SECOND], [DEVICE]]


def test_nobody_else_is_narrowed(seeded: Database) -> None:
    within(seeded, devices, "Servers")
    with seeded.read(TENANT) as session:
        assert devices(session) == [DEVICE, SECOND]
    with seeded.system_read() as session:
        assert len(devices(session)) == 3


def test_every_table_of_devices_is_narrowed() -> None:
    for mapper in Base.registry.mappers:
        table = str(mapper.local_table)
        if {"machine_id", "device_id"} & set(mapper.columns.keys()) and table not in UNSCOPED:
            assert issubclass(mapper.class_, DeviceScoped), table
