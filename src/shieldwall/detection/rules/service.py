"""The rules of a tenant: made, changed, tuned, removed. Every change moves the revision in its transaction.

A rule's text and what a tenant decided about it are kept apart, so that a new text leaves the decisions. An
actor limited to device groups changes only what stays within them. ApiError 400, 403, 404: its mistakes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.builtin import builtin_rules
from shieldwall.detection.rules.checking import check
from shieldwall.detection.rules.deciding import check_groups, check_reach, decide, differs
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.known import (
    KnownRule,
    any_rule,
    groups_of,
    known_rule,
    known_rules,
    stored_rule,
)
from shieldwall.detection.rules.models import (
    RuleCursor,
    RuleRun,
    RuleSuppression,
    RuleTuning,
    StoredRule,
)
from shieldwall.detection.rules.rule import CONTINUOUS, Rule
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.times import now

RULES_LIMIT = 20_000
"""Most rules of a tenant's own."""
SUPPRESSIONS_LIMIT = 1000
"""Of one rule."""

_TEXTS = tuple(
    item.name for item in fields(Rule) if item.name not in ("id", "techniques", "entities", "details")
)


@dataclass(frozen=True)
class Imported:
    """What became of one rule of many: ``added``, ``updated``, ``unchanged`` or ``refused``, and why."""

    rule: Rule
    outcome: str
    reason: str = ""


class RuleService:
    """Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, actor: Principal, rule: Rule, decision: Decision | None = None) -> KnownRule:
        """Keep a new rule. Its own first run over the past is due at once."""
        check(rule)
        decision = decision or Decision()
        tenant_id = actor.tenant_id
        check_reach(actor, None if decision.device_groups is ... else decision.device_groups)
        with _named(rule), self._database.session(tenant_id) as session:
            present = session.get(StoredRule, (tenant_id, rule.id))
            if present is not None or rule.id in builtin_rules():
                raise bad_request(f"There is a rule with the id {rule.id} already.", "InvalidInput")
            _check_room(session, 1)
            _add(session, actor, rule)
            decide(session, actor, rule, decision)
            audit.record(session, actor, "rule.create", rule.id, detail={"name": rule.name})
            rule_set.touch(session)
            session.flush()
            return known_rule(session, tenant_id, rule.id)

    def replace(self, actor: Principal, rule: Rule, decision: Decision | None = None) -> KnownRule:
        """Give a rule, by its id, another text and another decision; either may be as it was."""
        check(rule)
        tenant_id = actor.tenant_id
        with _named(rule), self._database.session(tenant_id) as session:
            row = stored_rule(session, tenant_id, rule.id)
            check_reach(actor, groups_of(session, tenant_id, rule.id))
            before = rule_set.to_rule(row)
            _fill(row, actor, rule)
            if before.period != rule.period:
                _reschedule(session, tenant_id, rule)
            if decision is not None:
                decide(session, actor, rule, decision)
            audit.record(session, actor, "rule.update", rule.id, detail={"name": rule.name})
            rule_set.touch(session)
            session.flush()
            return known_rule(session, tenant_id, rule.id)

    def import_many(
        self,
        actor: Principal,
        rules: Iterable[Rule],
        *,
        decisions: Mapping[str, Decision] | None = None,
        checked: bool = False,
    ) -> list[Imported]:
        """Put many in at once, by their ids; what was decided about those that are there stays.

        ``decisions``, by id, are what comes with the rules themselves. ``checked`` rules are not compiled
        again. One that cannot be taken does not hold up the others.
        """
        check_reach(actor, None)
        rules = list(rules)
        # Compiling takes a while, during which nobody should wait for the writer's lock.
        wrong = {} if checked else {rule.id: reason for rule in rules if (reason := _wrong(rule))}
        results: list[Imported] = []
        with self._database.session(actor.tenant_id) as session:
            present = {row.id: row for row in session.scalars(select(StoredRule))}
            names = {row.match_name: row.id for row in present.values()}
            names |= {rule.name.lower(): rule.id for rule in builtin_rules().values()}
            seen: set[str] = set()
            for rule in rules:
                reason = "its id is given twice" if rule.id in seen else wrong.get(rule.id, "")
                seen.add(rule.id)
                if reason:
                    results.append(Imported(rule, "refused", reason))
                    continue
                decision = (decisions or {}).get(rule.id, Decision())
                results.append(self._import(session, actor, rule, decision, present, names))
            counts = {
                outcome: sum(item.outcome == outcome for item in results)
                for outcome in ("added", "updated", "unchanged", "refused")
            }
            if counts["added"] or counts["updated"]:
                audit.record(session, actor, "rule.import", detail=counts)
                rule_set.touch(session)
        return results

    def delete(self, actor: Principal, rule_id: str) -> None:
        """Remove a rule with all that belongs to it; its alerts stay. A built-in one can only be off."""
        tenant_id = actor.tenant_id
        if rule_id in builtin_rules():
            raise bad_request("A built-in rule cannot be deleted; disable it.", "InvalidInput")
        with self._database.session(tenant_id) as session:
            row = stored_rule(session, tenant_id, rule_id)
            check_reach(actor, groups_of(session, tenant_id, rule_id))
            session.delete(row)
            for table in (RuleTuning, RuleCursor, RuleSuppression, RuleRun):
                session.execute(delete(table).where(table.tenant_id == tenant_id, table.rule_id == rule_id))
            audit.record(session, actor, "rule.delete", rule_id, detail={"name": row.name})
            rule_set.touch(session)

    def tune(self, actor: Principal, rule_id: str, decision: Decision) -> KnownRule:
        """Decide about a rule of any source."""
        tenant_id = actor.tenant_id
        with self._database.session(tenant_id) as session:
            rule = any_rule(session, tenant_id, rule_id)
            if not decision.empty:
                check_reach(actor, groups_of(session, tenant_id, rule_id))
                decide(session, actor, rule, decision)
                rule_set.touch(session)
                session.flush()
            return known_rule(session, tenant_id, rule_id)

    def get(self, tenant_id: str, rule_id: str) -> KnownRule:
        with self._database.read(tenant_id) as session:
            return known_rule(session, tenant_id, rule_id)

    def change(self, actor: Principal, known: KnownRule, rule: Rule, decision: Decision) -> KnownRule:
        """Make a known rule what ``rule`` and ``decision`` say.

        Another severity of an imported or built-in rule is a decision; its text does not change otherwise.
        """
        if known.rule.source != "Custom":
            severity = None if rule.severity == known.rule.severity else rule.severity
            decision = dataclasses.replace(decision, severity=severity)
            rule = dataclasses.replace(
                rule, severity=known.rule.severity, source=known.rule.source, origin=known.rule.origin
            )
            if rule != known.rule:
                said = (
                    f"The text of a {known.rule.source} rule cannot be changed; copy it into one of your own."
                )
                raise bad_request(said, "InvalidInput")
            return self.tune(actor, rule.id, decision)
        return self.replace(actor, dataclasses.replace(rule, origin=known.rule.origin), decision)

    def get_many(self, tenant_id: str, ids: Sequence[str]) -> list[KnownRule]:
        """Rules in the order of ``ids``; those that are not there are left out."""
        with self._database.read(tenant_id) as session:
            found = {item.rule.id: item for item in known_rules(session, tenant_id, ids)}
        return [found[rule_id] for rule_id in ids if rule_id in found]

    def list_rules(self, tenant_id: str, *, builtin: bool = True) -> list[KnownRule]:
        """Rules by name, the built-in ones among them unless they are left out."""
        with self._database.read(tenant_id) as session:
            known = known_rules(session, tenant_id, None)
        shown = (item for item in known if builtin or item.stored is not None)
        return sorted(shown, key=lambda item: (item.rule.name.lower(), item.rule.id))

    def runs(self, tenant_id: str, rule_id: str, limit: int = 100) -> Sequence[RuleRun]:
        """The newest runs of a rule, the newest first."""
        with self._database.read(tenant_id) as session:
            any_rule(session, tenant_id, rule_id)
            wanted = select(RuleRun).where(RuleRun.rule_id == rule_id)
            return session.scalars(wanted.order_by(RuleRun.id.desc()).limit(limit)).all()

    def suppress(
        self,
        actor: Principal,
        rule_id: str,
        column: str,
        value: str,
        reason: str,
        *,
        device: str | None = None,
        device_group: str | None = None,
        product: str | None = None,
        expires: datetime | None = None,
    ) -> RuleSuppression:
        """Raise no alert for hits with one value, on one device, in one group or of one product if given."""
        for name, text, limit in (("column", column, 200), ("value", value, 2048), ("reason", reason, 1000)):
            if not text or len(text) > limit or "\x00" in text:
                raise bad_request(f"{name} must be a text of 1 to {limit} characters.", "InvalidInput")
        for name, given, limit in (("device", device, 255), ("product", product, 200)):
            if given is not None and (not given or len(given) > limit or "\x00" in given):
                raise bad_request(f"{name} must be a text of 1 to {limit} characters.", "InvalidInput")
        if expires is not None and expires <= now():
            raise bad_request("expires lies in the past.", "InvalidInput")
        check_reach(actor, None if device_group is None else [device_group])
        tenant_id = actor.tenant_id
        with self._database.session(tenant_id) as session:
            any_rule(session, tenant_id, rule_id)
            if device_group:
                check_groups(session, [device_group])
            present = (
                select(func.count()).select_from(RuleSuppression).where(RuleSuppression.rule_id == rule_id)
            )
            if (session.scalar(present) or 0) >= SUPPRESSIONS_LIMIT:
                raise bad_request(f"A rule has at most {SUPPRESSIONS_LIMIT} suppressions.", "InvalidInput")
            row = RuleSuppression(
                rule_id=rule_id,
                column=column,
                value=value,
                reason=reason,
                device=device,
                device_group=device_group,
                product=product,
                expires_time=expires,
                created_by=actor.actor[:200],
                created_time=now(),
            )
            session.add(row)
            detail = {"column": column, "value": value, "reason": reason, "group": device_group}
            audit.record(session, actor, "rule.suppress", rule_id, detail=detail)
            rule_set.touch(session)
        return row

    def unsuppress(self, actor: Principal, rule_id: str, number: int) -> None:
        with self._database.session(actor.tenant_id) as session:
            row = session.get(RuleSuppression, number)
            if row is None or row.tenant_id != actor.tenant_id or row.rule_id != rule_id:
                raise not_found("Suppression", str(number))
            check_reach(actor, None if row.device_group is None else [row.device_group])
            session.delete(row)
            audit.record(session, actor, "rule.unsuppress", rule_id, detail={"id": number})
            rule_set.touch(session)

    def suppressions(self, tenant_id: str, rule_id: str) -> Sequence[RuleSuppression]:
        with self._database.read(tenant_id) as session:
            any_rule(session, tenant_id, rule_id)
            wanted = select(RuleSuppression).where(RuleSuppression.rule_id == rule_id)
            return session.scalars(wanted.order_by(RuleSuppression.id)).all()

    def _import(
        self,
        session: Session,
        actor: Principal,
        rule: Rule,
        decision: Decision,
        present: dict[str, StoredRule],
        names: dict[str, str],
    ) -> Imported:
        row = present.get(rule.id)
        same = row is not None and rule_set.to_rule(row) == rule
        if same and not differs(session, actor.tenant_id, rule.id, decision):
            return Imported(rule, "unchanged")
        if rule.id in builtin_rules():
            return Imported(rule, "refused", "a built-in rule has this id")
        holder = names.get(rule.name.lower())
        if holder is not None and holder != rule.id:
            return Imported(rule, "refused", f"rule {holder} has this name")
        try:
            with session.begin_nested():
                if row is None:
                    _check_room(session, 1, len(present))
                    row = _add(session, actor, rule)
                elif not same:
                    names.pop(row.match_name, None)
                    period = row.period
                    _fill(row, actor, rule)
                    if period != rule.period:
                        _reschedule(session, actor.tenant_id, rule)
                decide(session, actor, rule, decision)
        except ApiError as error:
            return Imported(rule, "refused", error.message)
        outcome = "updated" if rule.id in present else "added"
        present[rule.id] = row
        names[rule.name.lower()] = rule.id
        return Imported(rule, outcome)


@contextmanager
def _named(rule: Rule) -> Iterator[None]:
    """Turn the database's refusal of a second rule of one name into the caller's mistake."""
    refusal = ApiError(409, "Conflict", f"There is a rule named {rule.name!r} already.")
    if any(
        other.name.lower() == rule.name.lower() and other.id != rule.id for other in builtin_rules().values()
    ):
        raise refusal
    try:
        yield
    except IntegrityError as error:
        if "match_name" in str(error.orig):
            raise refusal from None
        raise


def _add(session: Session, actor: Principal, rule: Rule) -> StoredRule:
    time = now()
    row = StoredRule(tenant_id=actor.tenant_id, id=rule.id, created_by=actor.actor[:200], created_time=time)
    _fill(row, actor, rule)
    session.add(row)
    if rule.source == "Custom":
        session.merge(RuleCursor(tenant_id=actor.tenant_id, rule_id=rule.id, done_until=None, due=time))
    elif rule.period != CONTINUOUS:
        due = time + timedelta(minutes=rule.period)
        session.merge(RuleCursor(tenant_id=actor.tenant_id, rule_id=rule.id, done_until=time, due=due))
    return row


def _fill(row: StoredRule, actor: Principal, rule: Rule) -> None:
    time = now()
    if row.query != rule.query:
        row.query_modified_time = time
    for name in _TEXTS:
        setattr(row, name, getattr(rule, name))
    row.match_name = rule.name.lower()
    row.techniques = list(rule.techniques)
    row.entities, row.details = dict(rule.entities), dict(rule.details)
    row.modified_by, row.modified_time = actor.actor[:200], time


def _reschedule(session: Session, tenant_id: str, rule: Rule) -> None:
    """Go on from where the rule has looked to, at its new frequency."""
    cursor = session.get(RuleCursor, (tenant_id, rule.id))
    time = now()
    if cursor is None:
        cursor = RuleCursor(tenant_id=tenant_id, rule_id=rule.id, done_until=time)
        session.add(cursor)
    if cursor.done_until is None:
        return
    if rule.period == CONTINUOUS:
        cursor.due = None
    else:
        # What a continuous rule has not looked at since then, nobody asks a scheduled one to.
        cursor.done_until = time if cursor.due is None else cursor.done_until
        cursor.due = cursor.done_until + timedelta(minutes=rule.period)


def _wrong(rule: Rule) -> str:
    try:
        check(rule)
    except ApiError as error:
        return error.message
    return ""


def _check_room(session: Session, more: int, present: int | None = None) -> None:
    if present is None:
        present = session.scalar(select(func.count()).select_from(StoredRule)) or 0
    if present + more > RULES_LIMIT:
        raise bad_request(f"Max capacity exceeded: a tenant has at most {RULES_LIMIT} rules.")
