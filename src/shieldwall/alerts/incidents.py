"""Incidents: made for alerts, merged with one another, and always what their alerts say together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.models import Alert, Incident
from shieldwall.alerts.naming import SEVERITIES, Facts, Summary, summary
from shieldwall.alerts.seen import chunks
from shieldwall.state.bulk import insert_rows
from shieldwall.state.engine import unscoped
from shieldwall.times import now

REDIRECTED = "Redirected"
OPEN = ("Active", "InProgress")
ENTITIES_LIMIT = 5_000
"""An incident with so many alerts takes in no more, and no other incident."""
APART_LIMIT = 200

_INCIDENTS = cast(Table, Incident.__table__)

__all__ = ["REDIRECTED", "SEVERITIES", "Facts"]


@dataclass
class Group:
    """An incident while alerts are placed. Made ones have negative numbers until they are stored."""

    id: int
    status: str = "Active"
    assigned_to: str | None = None
    classification: str = "Unknown"
    determination: str = "NotAvailable"
    apart_from: frozenset[int] = frozenset()
    size: int = 0
    into: int | None = None
    """The group that it was merged into in this work."""
    members: list[Facts] = field(default_factory=list)
    """The alerts that are new to it."""
    numbers: set[int] = field(default_factory=set)
    """Its own number and those of what went into it."""

    def __post_init__(self) -> None:
        self.numbers.add(self.id)

    @classmethod
    def new(cls, groups: dict[int, Group]) -> Group:
        number = -len(groups) - 1
        made = groups[number] = cls(number)
        return made

    @property
    def is_new(self) -> bool:
        return self.id < 0 and self.into is None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def has_room(self) -> bool:
        return self.size < ENTITIES_LIMIT

    @property
    def age(self) -> tuple[bool, int]:
        """Sorts the oldest first."""
        return (self.id < 0, abs(self.id))

    def root(self, groups: Mapping[int, Group]) -> Group:
        found = self
        while found.into is not None:
            found = groups[found.into]
        return found

    def take(self, facts: Facts) -> None:
        self.members.append(facts)
        self.size += 1

    def merged_with(self, other: Group, groups: Mapping[int, Group]) -> Group:
        """The one of the two into which the other went, the older one; itself when they stay apart."""
        target, source = sorted((self, other), key=lambda group: group.age)
        if not may_merge(target, source):
            return self
        source.into = target.id
        target.members += source.members
        target.size += source.size
        target.apart_from |= source.apart_from
        target.numbers |= source.numbers
        return target


def may_merge(target: Group, source: Group) -> bool:
    """What analysts have closed, judged, given to different people or taken apart stays apart."""
    return (
        target.is_open
        and source.is_open
        and (not source.assigned_to or source.assigned_to == target.assigned_to)
        and (source.classification, source.determination) == (target.classification, target.determination)
        and not source.numbers & target.apart_from
        and not target.numbers & source.apart_from
        and target.size + source.size <= ENTITIES_LIMIT
    )


def load_groups(session: Session, numbers: Collection[int]) -> dict[int, Group]:
    """Incidents as they are now; they stay so until the transaction ends."""
    found: dict[int, Group] = {}
    for part in chunks(sorted(numbers)):
        facts = (Incident.id, Incident.status, Incident.assigned_to, Incident.classification)
        locked = select(*facts, Incident.determination, Incident.apart_from).where(Incident.id.in_(part))
        rows = session.execute(locked.order_by(Incident.id).with_for_update()).all()
        counted = select(Alert.incident_id, func.count()).where(Alert.incident_id.in_(part))
        sizes = dict(session.execute(counted.group_by(Alert.incident_id)).all())
        for number, status, owner, classification, determination, apart in rows:
            size = sizes.get(number, 0)
            found[number] = Group(
                number, status, owner, classification, determination, frozenset(apart), size
            )
    return found


def create_incidents(session: Session, tenant_id: str, groups: Sequence[Group]) -> dict[int, int]:
    """Store incidents that alerts have founded; their numbers by those that they had meanwhile."""
    if not groups:
        return {}
    time = now()
    rows = []
    for group in groups:
        told = summary(group.members)
        rows.append(
            {
                "tenant_id": tenant_id,
                "name": told.name,
                "severity": told.severity,
                "created_time": time,
                "last_update_time": time,
                "first_event_time": told.first or time,
                "last_event_time": told.last or time,
                "tags": [],
                "comments": [],
                "apart_from": sorted(group.apart_from),
                "status": group.status,
                "classification": group.classification,
                "determination": group.determination,
                "named_by_hand": False,
                "graded_by_hand": False,
            }
        )
    numbers = _insert(session, rows)
    return dict(zip((group.id for group in groups), numbers, strict=True))


def _insert(session: Session, rows: list[dict[str, Any]]) -> list[int]:
    """Store incidents; their numbers in the order of the rows."""
    if session.get_bind().dialect.name != "sqlite":
        made = insert(Incident).returning(Incident.id, sort_by_parameter_order=True)
        return list(session.scalars(made, rows))
    # SQLite tells one number for each statement only. It has one writer, so the next numbers are known;
    # they are counted over all tenants, whatever the session sees.
    newest = session.connection().scalar(select(func.max(_INCIDENTS.c.id)))
    first = (newest or 0) + 1
    numbers = list(range(first, first + len(rows)))
    numbered = [{**row, "id": number} for row, number in zip(rows, numbers, strict=True)]
    insert_rows(session.connection(), _INCIDENTS, numbered)
    return numbers


def merge_incidents(session: Session, groups: Mapping[int, Group]) -> None:
    """Empty each stored incident that was merged into another one, and leave a pointer behind."""
    for group in sorted(groups.values(), key=lambda each: each.age):
        if group.id > 0 and group.into is not None:
            source, target = (
                session.get_one(Incident, number, populate_existing=True)
                for number in (group.id, group.root(groups).id)
            )
            merge(session, source, target)


def merge(session: Session, source: Incident, target: Incident) -> None:
    """Empty ``source`` into ``target``: alerts and tags go, the rest stays behind with a redirect."""
    session.execute(update(Alert).where(Alert.incident_id == source.id).values(incident_id=target.id))
    # Whoever pointed to the source is led on, so that a redirect is one step.
    session.execute(
        update(Incident)
        .where(Incident.redirect_incident_id == source.id, Incident.tenant_id == target.tenant_id)
        .values(redirect_incident_id=target.id)
    )
    target.tags = list(dict.fromkeys([*target.tags, *source.tags]))
    for number in source.apart_from:
        if number != target.id and (other := session.get(Incident, number)) is not None:
            keep_apart(target, other)
    source.status = REDIRECTED
    source.redirect_incident_id = target.id
    source.tags = list(dict.fromkeys([*source.tags, REDIRECTED]))
    source.last_update_time = target.last_update_time = now()
    session.flush()


def keep_apart(one: Incident, other: Incident) -> None:
    """Never merge the two again; somebody has told them apart."""
    one.apart_from = [*dict.fromkeys([*one.apart_from, other.id])][-APART_LIMIT:]
    other.apart_from = [*dict.fromkeys([*other.apart_from, one.id])][-APART_LIMIT:]


def refresh(session: Session, numbers: Iterable[int]) -> None:
    """Bring name, severity and times of incidents to what their alerts say now."""
    session.flush()
    # Whoever asks, an incident is what all of its alerts say.
    with unscoped(session):
        for part in chunks(sorted(set(numbers))):
            told = {number: summary(facts) for number, facts in _facts(session, part).items()}
            for row in session.scalars(select(Incident).where(Incident.id.in_(part)).order_by(Incident.id)):
                if row.id in told:
                    _tell(row, told[row.id])
    session.flush()


def _tell(row: Incident, told: Summary) -> None:
    # What an analyst has said of it stands.
    if not row.named_by_hand:
        row.name = told.name
    if not row.graded_by_hand:
        row.severity = told.severity
    row.first_event_time = told.first or row.first_event_time
    row.last_event_time = told.last or row.last_event_time
    row.last_update_time = now()


def _facts(session: Session, numbers: Sequence[int]) -> dict[int, list[Facts]]:
    """What the alerts of incidents say; those that are alike are one row."""
    alike = (
        Alert.title,
        Alert.severity,
        Alert.category,
        Alert.detection_source,
        Alert.machine_id,
        Alert.computer_dns_name,
    )
    judged = (Alert.status, Alert.classification)
    rows = session.execute(
        select(
            Alert.incident_id,
            *alike,
            func.min(Alert.first_event_time).label("first"),
            func.max(Alert.last_event_time).label("last"),
            *judged,
        )
        .where(Alert.incident_id.in_(numbers))
        .group_by(Alert.incident_id, *alike, *judged)
        .order_by(Alert.incident_id, func.min(Alert.first_event_time), Alert.title)
    )
    found: dict[int, list[Facts]] = {}
    for row in rows:
        facts = Facts(
            row.title,
            row.severity,
            row.category,
            row.detection_source,
            row.machine_id,
            row.computer_dns_name,
            row.first,
            row.last,
            row.status != "Resolved" and row.classification != "FalsePositive",
        )
        found.setdefault(row.incident_id, []).append(facts)
    return found
