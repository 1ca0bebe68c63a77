"""All rules of all tenants as they are in force: what detection takes to work with, and takes anew when the
revision has moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shieldwall.detection.rules.actions import ResponseAction, read_actions
from shieldwall.detection.rules.builtin import builtin_rules
from shieldwall.detection.rules.models import RuleRevision, RuleSuppression, RuleTuning, StoredRule
from shieldwall.detection.rules.rule import CONTINUOUS, Rule
from shieldwall.detection.rules.templates import plain
from shieldwall.times import now

Key = tuple[str, str]
"""Tenant and rule."""


@dataclass(frozen=True)
class Suppression:
    """Hits that raise no alert; see ``models.RuleSuppression``."""

    id: int
    column: str
    value: str
    device: str | None
    device_group: str | None
    product: str | None
    expires: datetime | None

    def covers(self, row: Mapping[str, Any], group: str, at: datetime) -> bool:
        """Whether a row, of a device in ``group``, is one of them. Case does not matter."""
        if self.expires is not None and self.expires <= at:
            return False
        if self.device_group is not None and self.device_group != group:
            return False
        if self.product is not None and self.product.lower() != plain(row.get("Source")).lower():
            return False
        on = self.device and self.device.lower()
        if on and on not in (plain(row.get("DeviceId")).lower(), plain(row.get("DeviceName")).lower()):
            return False
        return self.column in row and plain(row[self.column]).lower() == self.value.lower()


@dataclass(frozen=True)
class Tuning:
    """What a tenant decided about a rule; see ``models.RuleTuning``."""

    enabled: bool = True
    severity: str | None = None
    device_groups: frozenset[str] | None = None
    actions: tuple[ResponseAction, ...] = ()
    by: str = ""


@dataclass(frozen=True)
class ActiveRule:
    """A rule in force in one tenant: its severity is the tenant's, and what the tenant adds stands beside."""

    tenant_id: str
    rule: Rule
    tuning: Tuning = field(default_factory=Tuning)
    suppressions: tuple[Suppression, ...] = ()


@dataclass(frozen=True)
class Watched:
    """A continuous rule and where it is in force: in ``tenants``, or in all but those ``off``."""

    rule: Rule
    tenants: frozenset[str] | None
    off: frozenset[str] = frozenset()

    def covers(self, tenant_id: str) -> bool:
        return tenant_id not in self.off and (self.tenants is None or tenant_id in self.tenants)


@dataclass(frozen=True)
class RuleSet:
    """Built-in rules are everybody's; ``own`` has those of each tenant by id, which go first."""

    revision: int
    builtin: Mapping[str, Rule]
    own: Mapping[str, Mapping[str, Rule]]
    tunings: Mapping[Key, Tuning] = field(default_factory=dict)
    suppressions: Mapping[Key, tuple[Suppression, ...]] = field(default_factory=dict)

    def find(self, tenant_id: str, rule_id: str) -> ActiveRule | None:
        """A rule as it is in force in a tenant; None when there is none, or it is off."""
        found = self.own.get(tenant_id, {}).get(rule_id) or self.builtin.get(rule_id)
        if found is None:
            return None
        tuning = self.tunings.get((tenant_id, rule_id), Tuning())
        if not tuning.enabled:
            return None
        if tuning.severity:
            found = replace(found, severity=tuning.severity)  # type: ignore[arg-type]
        return ActiveRule(tenant_id, found, tuning, self.suppressions.get((tenant_id, rule_id), ()))

    def of_tenant(self, tenant_id: str) -> Iterator[ActiveRule]:
        for rule_id in {**self.builtin, **self.own.get(tenant_id, {})}:
            if (active := self.find(tenant_id, rule_id)) is not None:
                yield active

    def continuous(self) -> Iterator[Watched]:
        """Rules to be looked for in each stored group. One id may come several times: with the query
        that each tenant gave it."""
        off: dict[str, set[str]] = {}
        for (tenant_id, rule_id), tuning in self.tunings.items():
            if not tuning.enabled:
                off.setdefault(rule_id, set()).add(tenant_id)
        tenants: dict[_Same, set[str]] = {}
        replaced: dict[str, set[str]] = {}
        for tenant_id, rules in self.own.items():
            for rule_id, rule in rules.items():
                replaced.setdefault(rule_id, set()).add(tenant_id)
                if rule.period == CONTINUOUS and tenant_id not in off.get(rule_id, ()):
                    tenants.setdefault(_Same(rule), set()).add(tenant_id)
        for rule_id, rule in self.builtin.items():
            if rule.period == CONTINUOUS:
                yield Watched(rule, None, frozenset(off.get(rule_id, set()) | replaced.get(rule_id, set())))
        for same, where in tenants.items():
            yield Watched(same.rule, frozenset(where))


@dataclass(frozen=True, eq=False)
class _Same:
    """A rule that is the same where id and query are: tenants that imported one rule share the work."""

    rule: Rule

    def __hash__(self) -> int:
        return hash((self.rule.id, self.rule.query))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and (self.rule.id, self.rule.query) == (
            other.rule.id,
            other.rule.query,
        )


def revision(session: Session) -> int:
    """Moves with every change of a rule, its tuning or its suppressions, in whatever tenant."""
    return session.scalar(select(RuleRevision.revision)) or 0


def touch(session: Session) -> None:
    """Move the revision, in the transaction of the change itself."""
    moved = session.execute(update(RuleRevision).values(revision=RuleRevision.revision + 1))
    if not moved.rowcount:  # type: ignore[attr-defined]
        session.merge(RuleRevision(id=1, revision=1))


def load(session: Session) -> RuleSet:
    """All rules of all tenants; ``session`` is a system session."""
    own: dict[str, dict[str, Rule]] = {}
    for row in session.scalars(select(StoredRule).order_by(StoredRule.tenant_id, StoredRule.id)):
        own.setdefault(row.tenant_id, {})[row.id] = to_rule(row)
    tunings = {(row.tenant_id, row.rule_id): to_tuning(row) for row in session.scalars(select(RuleTuning))}
    suppressions: dict[Key, list[Suppression]] = {}
    time = now()
    for item in session.scalars(select(RuleSuppression).order_by(RuleSuppression.id)):
        if item.expires_time is None or item.expires_time > time:
            suppressions.setdefault((item.tenant_id, item.rule_id), []).append(to_suppression(item))
    listed = {key: tuple(items) for key, items in suppressions.items()}
    return RuleSet(revision(session), builtin_rules(), own, tunings, listed)


def load_one(session: Session, tenant_id: str, rule_id: str) -> ActiveRule | None:
    """A rule as it is in force in a tenant; ``session`` is a system session."""
    row = session.get(StoredRule, (tenant_id, rule_id))
    tuning = session.get(RuleTuning, (tenant_id, rule_id))
    mine = (RuleSuppression.tenant_id == tenant_id, RuleSuppression.rule_id == rule_id)
    listed = session.scalars(select(RuleSuppression).where(*mine).order_by(RuleSuppression.id))
    key = (tenant_id, rule_id)
    own = {tenant_id: {rule_id: to_rule(row)}} if row else {}
    tunings = {key: to_tuning(tuning)} if tuning else {}
    found = RuleSet(0, builtin_rules(), own, tunings, {key: tuple(map(to_suppression, listed))})
    return found.find(tenant_id, rule_id)


def only(active: ActiveRule) -> RuleSet:
    """A set with one rule in force."""
    key = (active.tenant_id, active.rule.id)
    own = {active.tenant_id: {active.rule.id: active.rule}}
    return RuleSet(0, {}, own, {key: active.tuning}, {key: active.suppressions})


def to_rule(row: StoredRule) -> Rule:
    return Rule(
        id=row.id,
        name=row.name,
        query=row.query,
        title=row.title,
        severity=row.severity,  # type: ignore[arg-type]
        category=row.category,
        techniques=tuple(row.techniques),
        description=row.description,
        recommended_action=row.recommended_action,
        period=row.period,
        lookback=row.lookback,
        entities=row.entities,
        details=row.details,
        source=row.source,  # type: ignore[arg-type]
        origin=row.origin,
    )


def to_tuning(row: RuleTuning) -> Tuning:
    groups = None if row.device_groups is None else frozenset(row.device_groups)
    return Tuning(row.enabled, row.severity, groups, read_actions(row.actions), row.modified_by)


def to_suppression(row: RuleSuppression) -> Suppression:
    return Suppression(
        row.id, row.column, row.value, row.device, row.device_group, row.product, row.expires_time
    )
