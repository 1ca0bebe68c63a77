"""What a tenant decides about a rule: whether it is on, how grave it is, where it holds and what it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.actions import read_actions
from shieldwall.detection.rules.checking import SEVERITIES
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.models import RuleTuning
from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.rules.rule_set import Tuning
from shieldwall.detection.rules.schedule import begin_anew
from shieldwall.devices.models import DeviceGroup
from shieldwall.errors import ApiError, bad_request
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.times import now

MANAGE = "CustomDetection.ReadWrite.All"


def differs(session: Session, tenant_id: str, rule_id: str, decision: Decision) -> bool:
    """Whether a decision would change anything."""
    row = session.get(RuleTuning, (tenant_id, rule_id))
    kept = Tuning() if row is None else rule_set.to_tuning(row)
    groups = decision.device_groups
    wanted = {
        "enabled": decision.enabled,
        "severity": decision.severity,
        "device_groups": frozenset(groups) if isinstance(groups, Collection) else groups,
        "actions": tuple(decision.actions) if isinstance(decision.actions, Collection) else ...,
    }
    return any(value is not ... and value != getattr(kept, name) for name, value in wanted.items())


def decide(session: Session, actor: Principal, rule: Rule, decision: Decision) -> None:
    if decision.empty:
        return
    row = session.get(RuleTuning, (actor.tenant_id, rule.id))
    if row is None:
        row = RuleTuning(tenant_id=actor.tenant_id, rule_id=rule.id, enabled=True, actions=[])
    if decision.enabled is not ...:
        if decision.enabled and not row.enabled:
            begin_anew(session, actor.tenant_id, rule)
        row.enabled = bool(decision.enabled)
    if decision.severity is not ...:
        if decision.severity is not None and decision.severity not in SEVERITIES:
            raise bad_request(f"severity must be one of {', '.join(SEVERITIES)}.", "InvalidInput")
        row.severity = decision.severity
    if decision.device_groups is not ...:
        groups = None if decision.device_groups is None else sorted(set(decision.device_groups))
        check_reach(actor, groups)
        check_groups(session, groups or [])
        row.device_groups = groups
    if decision.actions is not ...:
        row.actions = [action.written() for action in decision.actions]
    _check_actions(session, row)
    row.modified_by, row.modified_time = actor.actor[:200], now()
    session.add(row)
    detail: Mapping[str, Any] = {
        "enabled": row.enabled,
        "severity": row.severity,
        "groups": row.device_groups,
        "actions": row.actions,
    }
    audit.record(session, actor, "rule.tune", rule.id, detail=detail)


def _check_actions(session: Session, row: RuleTuning) -> None:
    """ApiError 400 when an action is for device groups that there are not, or beyond those of the rule."""
    for action in read_actions(row.actions):
        check_groups(session, action.device_groups)
        if row.device_groups is not None and not set(action.device_groups) <= set(row.device_groups):
            raise bad_request("An action is for device groups outside the rule's own.", "InvalidInput")


def check_reach(actor: Principal, groups: Collection[str] | None) -> None:
    """ApiError 403 when a rule is for devices beyond the actor's; None means all devices."""
    reach = actor.reach((MANAGE,))
    if reach is not None and (groups is None or not groups or not set(groups) <= reach.names):
        raise ApiError(403, "Forbidden", "The rule is for devices outside the user's device groups.")


def check_groups(session: Session, groups: Collection[str]) -> None:
    known = {"", *session.scalars(select(DeviceGroup.name).where(DeviceGroup.name.in_(groups)))}
    if unknown := set(groups) - known:
        raise bad_request(f"There is no device group {min(unknown)[:200]!r}.", "InvalidInput")
