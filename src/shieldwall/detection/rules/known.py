"""Rules with all that is known of them in one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.builtin import builtin_rules
from shieldwall.detection.rules.models import RuleCursor, RuleRun, RuleTuning, StoredRule
from shieldwall.detection.rules.rule import Rule
from shieldwall.errors import not_found


@dataclass(frozen=True)
class KnownRule:
    """A rule with all that is known of it in one tenant; None is for what there is not."""

    rule: Rule
    stored: StoredRule | None
    tuning: RuleTuning | None
    cursor: RuleCursor | None
    last_run: RuleRun | None

    @property
    def enabled(self) -> bool:
        return self.tuning is None or self.tuning.enabled

    @property
    def severity(self) -> str:
        return (self.tuning and self.tuning.severity) or self.rule.severity


def stored_rule(session: Session, tenant_id: str, rule_id: str) -> StoredRule:
    row = session.get(StoredRule, (tenant_id, rule_id), with_for_update=True)
    if row is None:
        raise not_found("Detection rule", rule_id[:100])
    return row


def groups_of(session: Session, tenant_id: str, rule_id: str) -> list[str] | None:
    tuning = session.get(RuleTuning, (tenant_id, rule_id))
    return tuning.device_groups if tuning else None


def any_rule(session: Session, tenant_id: str, rule_id: str) -> Rule:
    row = session.get(StoredRule, (tenant_id, rule_id))
    found = rule_set.to_rule(row) if row else builtin_rules().get(rule_id)
    if found is None:
        raise not_found("Detection rule", rule_id[:100])
    return found


def known_rule(session: Session, tenant_id: str, rule_id: str) -> KnownRule:
    rule = any_rule(session, tenant_id, rule_id)
    newest = select(RuleRun).where(RuleRun.rule_id == rule_id).order_by(RuleRun.id.desc()).limit(1)
    return KnownRule(
        rule,
        session.get(StoredRule, (tenant_id, rule_id)),
        session.get(RuleTuning, (tenant_id, rule_id)),
        session.get(RuleCursor, (tenant_id, rule_id)),
        session.scalar(newest),
    )


def known_rules(session: Session, tenant_id: str, ids: Sequence[str] | None) -> list[KnownRule]:
    """Rules with all that is known of them, with a few queries for all; None is for every rule."""

    def read(model: Any, name: Any, *more: Any) -> dict[str, Any]:
        wanted = select(model).where(model.tenant_id == tenant_id, *more)
        if ids is not None:
            wanted = wanted.where(name.in_(ids))
        return {getattr(row, name.key): row for row in session.scalars(wanted)}

    stored = read(StoredRule, StoredRule.id)
    tunings = read(RuleTuning, RuleTuning.rule_id)
    cursors = read(RuleCursor, RuleCursor.rule_id)
    newest = select(func.max(RuleRun.id)).where(RuleRun.tenant_id == tenant_id).group_by(RuleRun.rule_id)
    runs = read(RuleRun, RuleRun.rule_id, RuleRun.id.in_(newest))
    rules = {**builtin_rules(), **{rule_id: rule_set.to_rule(row) for rule_id, row in stored.items()}}
    return [
        KnownRule(rule, stored.get(name), tunings.get(name), cursors.get(name), runs.get(name))
        for name, rule in rules.items()
        if ids is None or name in ids
    ]
