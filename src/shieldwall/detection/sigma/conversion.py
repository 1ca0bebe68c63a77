"""From the texts of Sigma files to rules of ours, with a reason for each that is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule, SigmaRuleBase

from shieldwall.detection.rules.rule import CONTINUOUS, Rule
from shieldwall.detection.sigma.attributes import attributes, rule_id
from shieldwall.detection.sigma.backend import KqlBackend
from shieldwall.detection.sigma.correlations import CorrelationError, correlated
from shieldwall.detection.sigma.documents import UnreadableError
from shieldwall.detection.sigma.parsing import Failed, File, Parsed, parse
from shieldwall.detection.sigma.pipeline import Placeholders, pipeline
from shieldwall.detection.sigma.queries import query_of
from shieldwall.detection.sigma.refusals import FAILURES, Refused, refused
from shieldwall.telemetry.hunting import compiled

SEVERAL_TABLES = 5
"""Minutes between runs of a rule that reads several tables, and so cannot look at each group of events."""
MOST_QUERY = 1 << 20
"""Characters of a query."""


@dataclass(frozen=True)
class Converted:
    """What files came to."""

    rules: tuple[Rule, ...] = ()
    refused: tuple[Refused, ...] = ()


class Converter:
    """Converts with one set of values for placeholders. Not safe to use from several threads at once."""

    def __init__(self, placeholders: Placeholders | None = None) -> None:
        self._backend = KqlBackend(pipeline(placeholders or {}))

    def convert(self, files: Iterable[File]) -> Converted:
        """Rules of files that may name each other: filters change rules, correlations are made of them.

        A rule that a correlation is made of, and that need not alert by itself, is part of that only.
        """
        problems: list[Refused] = []
        parsed = self._parsed(files, problems)
        for each in [item.rule for item in parsed]:
            if isinstance(each, SigmaFilter):
                for item in parsed:
                    if isinstance(item.rule, SigmaRule):
                        each.apply_on_rule(item.rule)
        parsed = [item for item in parsed if not isinstance(item.rule, SigmaFilter)]
        parsed = self._resolved(parsed, problems)
        rules = []
        for item in parsed:
            # One that refers to itself is asked for nowhere else.
            if item.rule._output or _in_circle(item.rule):
                try:
                    rules.append(self._rule(item))
                except FAILURES as error:
                    problems.append(self._refused(item, error))
        made = {rule.id for rule in rules}
        problems += [lost for item in parsed if (lost := _lost(item, made)) is not None]
        return Converted(tuple(rules), tuple(problems))

    def _parsed(self, files: Iterable[File], problems: list[Refused]) -> list[Parsed]:
        found: list[Parsed] = []
        for file in files:
            before = len(found) + len(problems)
            try:
                for item in parse(file):
                    if isinstance(item, Failed):
                        problems.append(refused(item.path, item.document, item.error, "", self._backend))
                    else:
                        found.append(item)
            except UnreadableError as error:
                problems.append(Refused(file.path, "", str(error), "", error.line, "unreadable"))
            if before == len(found) + len(problems):
                problems.append(Refused(file.path, "", "the file has no rule", kind="unreadable"))
        return found

    def _resolved(self, parsed: list[Parsed], problems: list[Refused]) -> list[Parsed]:
        """The rules without correlations of what is not there; those that are left know their rules."""
        known = SigmaCollection([item.rule for item in parsed], resolve_references=False)
        found = []
        for item in parsed:
            try:
                if isinstance(item.rule, SigmaCorrelationRule):
                    item.rule.resolve_rule_references(known)
                found.append(item)
            except FAILURES as error:
                problems.append(self._refused(item, error))
        return found

    def _rule(self, item: Parsed) -> Rule:
        head = attributes(item.rule)
        common: dict[str, Any] = {"id": rule_id(item.rule), "source": "Sigma", "origin": item.text}
        if isinstance(item.rule, SigmaCorrelationRule):
            found = correlated(item.rule, self._backend)
            rule = Rule(
                **common,
                **head,
                query=found.query,
                period=found.period,
                lookback=found.lookback,
                entities={"Device": "DeviceId"},
                details=dict(found.groups),
            )
        else:
            assert isinstance(item.rule, SigmaRule)
            clauses = self._backend.clauses(item.rule)
            several = len({rows.table for rows, _ in clauses}) > 1
            period = SEVERAL_TABLES if several else CONTINUOUS
            rule = Rule(**common, **head, query=query_of(clauses), period=period)
        if len(rule.query) > MOST_QUERY:
            raise CorrelationError(f"its query is longer than {MOST_QUERY} characters", "detection")
        compiled(rule.query)
        return rule

    def _refused(self, item: Parsed, error: Exception) -> Refused:
        return refused(item.path, item.document, error, rule_id(item.rule), self._backend)


def merged(parts: Iterable[tuple[str, Converted]]) -> Converted:
    """What several conversions came to, each with the path it is of: an id is taken once, by the first."""
    rules: dict[str, Rule] = {}
    names: dict[str, str] = {}
    problems: dict[Refused, None] = {}
    for path, part in parts:
        problems.update(dict.fromkeys(part.refused))
        for rule in part.rules:
            if rule.id in rules:
                reason = f"the rule {rules[rule.id].name!r} has the same id"
                problems[Refused(path, rule.name, reason, "id", 0, "id is there twice", rule.id)] = None
                continue
            if names.setdefault(rule.name.lower(), rule.id) != rule.id:
                rule = replace(rule, name=f"{rule.name} ({rule.id[:8]})")
            rules[rule.id] = rule
    return Converted(tuple(rules.values()), tuple(problems))


def _lost(item: Parsed, made: Collection[str]) -> Refused | None:
    """A rule that is part of correlations only, of which none could be made."""
    users = _users(item.rule)
    if item.rule._output or _in_circle(item.rule) or any(rule_id(user) in made for user in users):
        return None
    reason = f"it is part of the correlation {users[0].title!r}, which was refused"
    return Refused(item.path, item.rule.title, reason, "", 0, "part of a correlation", rule_id(item.rule))


def _users(rule: SigmaRuleBase) -> list[SigmaRuleBase]:
    """The correlations that a rule is part of, also by others."""
    found: dict[int, SigmaRuleBase] = {}
    waiting = list(rule._backreferences)
    while waiting:
        user = waiting.pop()
        if id(user) not in found:
            found[id(user)] = user
            waiting += user._backreferences
    return list(found.values())


def _in_circle(rule: SigmaRuleBase) -> bool:
    return any(user is rule for user in _users(rule))
