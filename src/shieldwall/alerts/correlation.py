"""Which incident an alert belongs to: the one of the alerts with which it shares enough.

Whether two alerts belong together is a matter of these two alone (`weights.py`), so incidents are what is
connected by such pairs, in whatever order alerts come. A tenant's alerts are placed one after the other, also
where several servers raise them: the tenant's lock is held until the transaction ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast
from zlib import crc32

from sqlalchemy import Row, Table, func, select, text
from sqlalchemy.orm import Session

from shieldwall.alerts.entity_models import AlertLink
from shieldwall.alerts.incidents import Facts, Group, create_incidents, load_groups, merge_incidents
from shieldwall.alerts.links import Kind, Link, device_link
from shieldwall.alerts.models import Alert
from shieldwall.alerts.owners import note, owners
from shieldwall.alerts.seen import Mark, Seen, SeenEntities, chunks
from shieldwall.alerts.weights import (
    COUNTED,
    LOGON,
    THRESHOLD,
    WINDOWS,
    Shared,
    Span,
    closeness,
    rarity,
    total,
    trust,
    weight_of,
)
from shieldwall.state.engine import unscoped

NEIGHBOURS = 200
"""Most alerts that are compared for one entity, the newest; a rarer one finds the others."""
LONGEST = timedelta(days=1)
"""How much longer than an alert that comes late another one may go on that is looked for."""
REASONS = 5
RATED = COUNTED | {"own"}
"""Kinds that count for less the more common they are."""
OTHERS: frozenset[Kind] = frozenset(("logon", "private", "address", "domain"))
"""Kinds under which an alert may name another device."""
_UNCOUNTED = Seen()
_LOCK = 0x53484943
"""Name of the lock of correlation, with a tenant's hash beside it."""

_LINKS = cast(Table, AlertLink.__table__)
_ALERTS = cast(Table, Alert.__table__)


@dataclass(frozen=True)
class Candidate:
    """An alert to be placed. One that has an incident already stays in it, and may bring others to it."""

    id: str
    links: Sequence[Link]
    span: Span
    facts: Facts
    incident_id: int | None = None
    held: bool = False
    """Whether an analyst has put it where it is; then it leads its incident to no other."""
    counted: frozenset[str] = frozenset()
    """Keys of links that it had before."""


@dataclass(frozen=True)
class Placement:
    """Where an alert belongs, and why: the alerts that led there, with what they share."""

    incident_id: int
    reasons: list[dict[str, Any]]
    found: bool
    """Whether the incident was there before."""


class _Named(NamedTuple):
    """An alert that names some entity, as what, and when."""

    alert: str
    kind: Kind
    span: Span


@dataclass
class _Known:
    """What placing looks at: who names which entity, and in which incident each alert is."""

    named: dict[str, list[_Named]] = field(default_factory=lambda: defaultdict(list))
    home: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    def add(self, key: str, kind: Kind, row: Row[Any]) -> None:
        """Note a stored alert that names the entity of ``key``."""
        span = Span(row.first_event_time, row.last_event_time)
        self.named[key].append(_Named(row.alert_id, kind, span))
        self.home[row.alert_id] = row.incident_id
        if row.moved_by is not None:
            self.held.add(row.alert_id)


def place(
    session: Session, tenant_id: str, candidates: Sequence[Candidate], window: timedelta
) -> dict[str, Placement]:
    """The incident of each of a tenant's alerts, in their order; new ones are made, related ones merged.

    The caller stores the alerts, and brings the incidents that were ``found`` up to date.
    """
    with unscoped(session):
        lock(session, tenant_id)
        keys = {link.key: link for each in candidates for link in each.links}
        seen = SeenEntities(session, tenant_id, [key for key, link in keys.items() if link.kind in RATED])
        known = _known(session, tenant_id, candidates, seen, window)
        _add_owners(session, tenant_id, candidates, known, window)
        groups = load_groups(session, {*known.home.values(), *_own(candidates)})
        placed = _Placing(known, groups, seen, window).all(candidates)
        seen.save()
        numbers = create_incidents(session, tenant_id, [group for group in groups.values() if group.is_new])
        merge_incidents(session, groups)
    return {
        identifier: Placement(numbers.get(root.id, root.id), reasons, not root.is_new)
        for identifier, group, reasons in placed
        for root in (groups[group].root(groups),)
    }


def lock(session: Session, tenant_id: str) -> None:
    """Let nobody else place alerts of the tenant until this transaction ends; SQLite has one writer."""
    if session.get_bind().dialect.name == "postgresql":
        # Two 32-bit numbers, the second one signed.
        names = {"part": _LOCK, "tenant": crc32(tenant_id.encode()) - (1 << 31)}
        session.connection().execute(text("SELECT pg_advisory_xact_lock(:part, :tenant)"), names)


def _own(candidates: Iterable[Candidate]) -> set[int]:
    return {each.incident_id for each in candidates if each.incident_id is not None}


def _known(
    session: Session,
    tenant_id: str,
    candidates: Sequence[Candidate],
    seen: SeenEntities,
    window: timedelta,
) -> _Known:
    """The stored alerts that name what the candidates name, near them in time."""
    known = _Known()
    first = min((each.span.first for each in candidates), default=None)
    last = max((each.span.last for each in candidates), default=None)
    if first is None or last is None:
        return known
    by_window: dict[float, set[str]] = defaultdict(set)
    for each in candidates:
        for link in each.links:
            if not _is_common(seen, link, first):
                by_window[WINDOWS[link.kind]].add(link.key)
    for times, keys in by_window.items():
        for row in _named(session, tenant_id, keys, first - window * times, last + window * times):
            known.add(row.key, row.kind, row)
    return known


def _add_owners(
    session: Session, tenant_id: str, candidates: Sequence[Candidate], known: _Known, window: timedelta
) -> None:
    """The alerts of the devices whose names and addresses the candidates name; and keep what theirs own."""
    if not candidates:
        return
    times = window * WINDOWS["own"]
    first = min(each.span.first for each in candidates) - times
    last = max(each.span.last for each in candidates) + times
    # The latest of each is kept, in whatever order alerts come.
    owned = {
        (link.key, each.facts.machine_id): each.span.last
        for each in sorted(candidates, key=lambda each: each.span.last)
        for link in each.links
        if link.kind == "own" and each.facts.machine_id
    }
    note(session, tenant_id, owned)
    named = {link.key for each in candidates for link in each.links if link.kind in OTHERS}
    found = owners(session, tenant_id, named, first)
    names: dict[str, list[str]] = defaultdict(list)
    for key, devices in found.items():
        for device in devices:
            names[device_link(device, None).key].append(key)
    for row in _named(session, tenant_id, names, first, last):
        for key in names[row.key] if row.kind == "device" else ():
            known.add(key, "own", row)


def _named(
    session: Session, tenant_id: str, keys: Collection[str], first: datetime, last: datetime
) -> Iterator[Row[Any]]:
    """Stored alerts that name any of ``keys`` between two times, the newest of each, oldest first."""
    for chunk in chunks(sorted(keys)):
        newest = func.row_number().over(
            partition_by=_LINKS.c.key, order_by=(_LINKS.c.last_time.desc(), _LINKS.c.alert_id)
        )
        numbered = (
            select(_LINKS.c.key, _LINKS.c.kind, _LINKS.c.alert_id, newest.label("number"))
            .where(
                _LINKS.c.tenant_id == tenant_id,
                _LINKS.c.key.in_(chunk),
                _LINKS.c.last_time >= first,
                _LINKS.c.last_time <= last + LONGEST,
            )
            .subquery()
        )
        alert = (
            _ALERTS.c.incident_id,
            _ALERTS.c.moved_by,
            _ALERTS.c.first_event_time,
            _ALERTS.c.last_event_time,
        )
        yield from session.connection().execute(
            select(numbered, *alert)
            .join(_ALERTS, _ALERTS.c.id == numbered.c.alert_id)
            .where(numbered.c.number <= NEIGHBOURS)
            # What was found to be wrong leads nowhere.
            .where(_ALERTS.c.classification.is_distinct_from("FalsePositive"))
            .order_by(numbered.c.key, numbered.c.number.desc())
        )


def _is_common(seen: SeenEntities, link: Link, time: datetime) -> bool:
    """Whether no alert is joined by the entity, whatever part it has in either."""
    if link.kind not in RATED:
        return False
    entity = seen.of(link.key)
    return rarity(entity.common, entity.age(time), weight_of(link.kind, link.kind) or LOGON) == 0


class _Placing:
    """Goes through the alerts in their order; each one is known to those after it."""

    def __init__(
        self, known: _Known, groups: dict[int, Group], seen: SeenEntities, window: timedelta
    ) -> None:
        self._known = known
        self._groups = groups
        self._seen = seen
        self._window = window

    def all(self, candidates: Iterable[Candidate]) -> list[tuple[str, int, list[dict[str, Any]]]]:
        """Each alert with the group that it is in, which may have been merged since, and the reasons."""
        return [(each.id, *self._one(each)) for each in candidates]

    def _one(self, alert: Candidate) -> tuple[int, list[dict[str, Any]]]:
        mark = Mark.of(alert.facts.machine_id, alert.facts.title, alert.span.last)
        if not alert.counted:
            self._seen.tenant.note(mark)
        for link in alert.links:
            if link.kind in COUNTED and link.key not in alert.counted:
                self._seen.of(link.key).note(mark)
        related = self._related(alert)
        reasons: list[dict[str, Any]] = []
        # Best first, of equals the oldest incident.
        for identifier, shared in sorted(related.items(), key=lambda each: self._order(*each)):
            group = self._group_of(identifier)
            if all(self._group_of(each["alertId"]) is not group for each in reasons):
                reasons.append(_reason(identifier, shared))
        target = self._target(alert, [each["alertId"] for each in reasons])
        if alert.incident_id is None:
            target.take(alert.facts)
        self._remember(alert, target)
        kept = [each for each in reasons if self._group_of(each["alertId"]) is target]
        return target.id, kept[:REASONS]

    def _target(self, alert: Candidate, related: Sequence[str]) -> Group:
        """The incident of an alert, into or with which those of ``related`` alerts have gone."""
        target = self._groups[alert.incident_id].root(self._groups) if alert.incident_id is not None else None
        may_lead = not alert.held
        for identifier in related:
            group = self._group_of(identifier)
            held = identifier in self._known.held
            if target is None:
                if group.has_room:
                    target, may_lead = group, not held
            elif group is not target and may_lead and not held:
                target = target.merged_with(group, self._groups)
        if target is None:
            target = Group.new(self._groups)
        return target

    def _related(self, alert: Candidate) -> dict[str, list[Shared]]:
        """Alerts of open incidents that share enough with this one, with what that is."""
        found: dict[str, dict[str, Shared]] = defaultdict(dict)
        tenant = self._seen.tenant
        believed = trust(tenant.alerts, tenant.age(alert.span.last))
        for link in alert.links:
            named = self._known.named.get(link.key)
            if not named or _is_common(self._seen, link, alert.span.last):
                continue
            entity = self._seen.of(link.key) if link.kind in RATED else _UNCOUNTED
            common, age = entity.common, entity.age(alert.span.last)
            for other in named:
                weight = weight_of(link.kind, other.kind)
                if weight is None or other.alert == alert.id:
                    continue
                near = closeness(alert.span.gap(other.span), weight, self._window)
                score = near and weight.worth * rarity(common, age, weight) * near
                if weight.learnt:
                    score *= believed
                best = found[other.alert].get(weight.name) if score else None
                if score and (best is None or best.score < score):
                    found[other.alert][weight.name] = Shared(weight, link, score)
        return {
            identifier: list(shared.values())
            for identifier, shared in found.items()
            if total(shared.values()) >= THRESHOLD and self._group_of(identifier).is_open
        }

    def _group_of(self, identifier: str) -> Group:
        return self._groups[self._known.home[identifier]].root(self._groups)

    def _order(self, identifier: str, shared: Sequence[Shared]) -> tuple[float, tuple[bool, int], str]:
        return -round(total(shared), 6), self._group_of(identifier).age, identifier

    def _remember(self, alert: Candidate, group: Group) -> None:
        if alert.held:
            self._known.held.add(alert.id)
        self._known.home[alert.id] = group.id
        for link in alert.links:
            named = self._known.named[link.key]
            named.append(_Named(alert.id, link.kind, alert.span))
            del named[:-NEIGHBOURS]


def _reason(identifier: str, shared: Iterable[Shared]) -> dict[str, Any]:
    """Why an alert is linked to another, as it is kept and shown."""
    ordered = sorted(shared, key=lambda each: (-each.score, each.weight.name))
    return {
        "alertId": identifier,
        "score": round(total(ordered), 2),
        "shared": [
            {"kind": each.weight.name, "value": each.link.shown, "score": round(each.score, 2)}
            for each in ordered
        ],
    }
