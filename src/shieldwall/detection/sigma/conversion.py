"""From the text of Sigma files to rules of ours, with a reason for each that is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from sigma.collection import SigmaCollection, deep_dict_update
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import (
    SigmaConditionError,
    SigmaCorrelationConditionError,
    SigmaCorrelationRuleError,
    SigmaCorrelationTypeError,
    SigmaDateError,
    SigmaError,
    SigmaFilterError,
    SigmaIdentifierError,
    SigmaLevelError,
    SigmaLogsourceError,
    SigmaModifiedError,
    SigmaNameError,
    SigmaRelatedError,
    SigmaRuleNotFoundError,
    SigmaStatusError,
    SigmaTagError,
    SigmaTimespanError,
    SigmaTitleError,
)
from sigma.filters import SigmaFilter
from sigma.rule import SigmaDetection, SigmaRule, SigmaRuleBase

from shieldwall.detection.rules.rule import CONTINUOUS, Rule
from shieldwall.detection.sigma.attributes import attributes, rule_id
from shieldwall.detection.sigma.backend import ROWS, KqlBackend
from shieldwall.detection.sigma.correlations import CorrelationError, correlated
from shieldwall.detection.sigma.documents import Document, UnreadableError, documents
from shieldwall.detection.sigma.logsources import RECORD, Rows, UnmappedError
from shieldwall.detection.sigma.pipeline import Placeholders, pipeline
from shieldwall.detection.sigma.queries import query_of
from shieldwall.errors import ApiError
from shieldwall.telemetry.hunting import compiled
from shieldwall.telemetry.schema import SOURCE_EVENTS

SEVERAL_TABLES = 5
"""Minutes between runs of a rule that reads several tables, and so cannot look at each group of events."""
MOST_QUERY = 1 << 20
"""Characters of a query."""
_FIELDS: tuple[tuple[type[Exception], str], ...] = (
    (UnmappedError, "logsource"),
    (SigmaLogsourceError, "logsource"),
    (SigmaConditionError, "detection.condition"),
    (SigmaTimespanError, "correlation.timespan"),
    (SigmaCorrelationTypeError, "correlation.type"),
    (SigmaCorrelationConditionError, "correlation.condition"),
    (SigmaRuleNotFoundError, "correlation.rules"),
    (SigmaCorrelationRuleError, "correlation"),
    (SigmaFilterError, "filter"),
    (SigmaModifiedError, "modified"),
    (SigmaDateError, "date"),
    (SigmaIdentifierError, "id"),
    (SigmaLevelError, "level"),
    (SigmaNameError, "name"),
    (SigmaRelatedError, "related"),
    (SigmaStatusError, "status"),
    (SigmaTagError, "tags"),
    (SigmaTitleError, "title"),
)


@dataclass(frozen=True)
class File:
    """A text of rules and what it is called."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Refused:
    """A rule, or a whole file, of which no rule was made. ``line`` counts from 1; 0 where none is meant."""

    path: str
    title: str
    reason: str
    field: str = ""
    line: int = 0
    kind: str = ""
    """What the reason is in general, for counting: the log source that is missing, or the kind of error."""
    rule_id: str = ""
    """If it has one."""


@dataclass(frozen=True)
class Converted:
    """What files came to."""

    rules: tuple[Rule, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass
class _Parsed:
    """One rule of a file on its way."""

    path: str
    text: str
    document: Document
    rule: SigmaRule | SigmaCorrelationRule | SigmaFilter


class Converter:
    """Converts with one set of values for placeholders. Not safe to use from several threads at once."""

    def __init__(self, placeholders: Placeholders | None = None) -> None:
        self._backend = KqlBackend(pipeline(placeholders or {}))

    def convert(self, files: Iterable[File]) -> Converted:
        """Rules of files that may name each other: filters change rules, correlations are made of them.

        A rule that a correlation is made of, and that need not alert by itself, is part of that only.
        """
        refused: list[Refused] = []
        parsed: list[_Parsed] = []
        for file in files:
            for found in _parse(file):
                if isinstance(found, Refused):
                    refused.append(found)
                else:
                    parsed.append(found)
        filters = [item.rule for item in parsed if isinstance(item.rule, SigmaFilter)]
        simple = [item.rule for item in parsed if isinstance(item.rule, SigmaRule)]
        for each in filters:
            for rule in simple:
                each.apply_on_rule(rule)
        known = SigmaCollection(
            [item.rule for item in parsed if not isinstance(item.rule, SigmaFilter)], resolve_references=False
        )
        for item in parsed:
            if isinstance(item.rule, SigmaCorrelationRule):
                try:
                    item.rule.resolve_rule_references(known)
                except SigmaError as error:
                    refused.append(self._refused(item, error))
        rules = []
        for item in parsed:
            if isinstance(item.rule, SigmaFilter) or any(_is_of(item, each) for each in refused):
                continue
            if not item.rule._output:
                continue
            try:
                rules.append(self._rule(item))
            except (SigmaError, UnmappedError, CorrelationError, ApiError, RecursionError) as error:
                refused.append(self._refused(item, error))
        made = {rule.id for rule in rules}
        refused += [lost for item in parsed if (lost := _lost(item, made)) is not None]
        return Converted(tuple(rules), tuple(refused))

    def _rule(self, item: _Parsed) -> Rule:
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

    def _refused(self, item: _Parsed, error: Exception) -> Refused:
        path = self._blame(item, error)
        kind = "log source" if isinstance(error, UnmappedError) else type(error).__name__
        reason = error.message if isinstance(error, ApiError) else str(error) or "it is nested too deeply"
        title = item.rule.title
        line = item.document.line(path)
        return Refused(item.path, title, reason[:1000], path, line, kind, rule_id(item.rule))

    def _blame(self, item: _Parsed, error: Exception) -> str:
        """The path of the field that an error is about."""
        if isinstance(error, CorrelationError):
            return error.field
        for kind, path in _FIELDS:
            if isinstance(error, kind):
                return path
        return self._blamed_item(item.document) or "detection"

    def _blamed_item(self, document: Document) -> str:
        """The path of the first item of a detection that cannot be converted by itself."""
        detection = document.data.get("detection")
        rows = Rows(SOURCE_EVENTS, rest=RECORD)
        for name, definition in detection.items() if isinstance(detection, dict) else ():
            if name in ("condition", "timeframe"):
                continue
            for path, part in _items(f"detection.{name}", definition):
                try:
                    of = SigmaDetection.from_definition(part)
                    state = ConversionState(processing_state={ROWS: rows})
                    self._backend.convert_condition(of.postprocess(None), state)  # type: ignore[arg-type]
                except (SigmaError, ValueError, TypeError, AttributeError):
                    return path
        return ""


def merged(parts: Iterable[tuple[str, Converted]]) -> Converted:
    """What several conversions came to, each with the path it is of: an id is taken once, by the first."""
    rules: dict[str, tuple[str, Rule]] = {}
    names: dict[str, str] = {}
    refused: dict[Refused, None] = {}
    for path, part in parts:
        refused.update(dict.fromkeys(part.refused))
        for rule in part.rules:
            if rule.id in rules:
                reason = f"the rule {rules[rule.id][1].name!r} has the same id"
                refused[Refused(path, rule.name, reason, "id", 0, "id is there twice", rule.id)] = None
                continue
            holder = names.setdefault(rule.name.lower(), rule.id)
            if holder != rule.id:
                rule = replace(rule, name=f"{rule.name} ({rule.id[:8]})")
            rules[rule.id] = (path, rule)
    return Converted(tuple(rule for _, rule in rules.values()), tuple(refused))


def _lost(item: _Parsed, made: Collection[str]) -> Refused | None:
    """A rule that is part of correlations only, of which none could be made."""
    rule = item.rule
    if isinstance(rule, SigmaFilter) or rule._output:
        return None
    users = _users(rule)
    if any(rule_id(user) in made for user in users):
        return None
    reason = f"it is part of the correlation {users[0].title!r}, which was refused"
    return Refused(item.path, rule.title, reason, "", 0, "part of a correlation", rule_id(rule))


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


def _is_of(item: _Parsed, refused: Refused) -> bool:
    return refused.path == item.path and refused.rule_id == rule_id(item.rule)


def _items(path: str, definition: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(definition, dict):
        yield from ((f"{path}.{key}", {key: value}) for key, value in definition.items())
    elif isinstance(definition, list) and any(isinstance(part, dict) for part in definition):
        for part in definition:
            yield from _items(path, part)
    else:
        yield path, definition


# Reading


def _parse(file: File) -> Iterator[_Parsed | Refused]:
    """The rules of a file, and what is wrong with those that cannot be read."""
    try:
        found = documents(file.content)
    except UnreadableError as error:
        yield Refused(file.path, "", str(error), "", error.line, "unreadable")
        return
    if not found:
        yield Refused(file.path, "", "the file has no rule", "", 0, "unreadable")
        return
    lines = file.content.decode("utf-8-sig").splitlines(keepends=True)
    for document, data in _actions(found):
        first, last = document.node.start_mark.line, document.node.end_mark.line
        text = "".join(lines[first : last + 1] if len(found) > 1 else lines)
        try:
            yield _Parsed(file.path, text, document, _rule_of(data))
        except (SigmaError, ValueError, TypeError, AttributeError, KeyError) as error:
            yield _unparsed(file.path, document, error)


def _actions(found: Sequence[Document]) -> Iterator[tuple[Document, dict[str, Any]]]:
    """Documents as rules, where those with an ``action`` are parts of others, as Sigma once had it."""
    shared: dict[str, Any] = {}
    before: dict[str, Any] = {}
    for document in found:
        data = deepcopy(document.data)
        action = data.pop("action", None) if "detection" not in document.data or len(found) > 1 else None
        if action == "global":
            shared = before = data
        elif action == "reset":
            shared = {}
        elif action == "repeat":
            before = deep_dict_update(deepcopy(before), data)
            yield document, before
        elif "correlation" in data or "filter" in data:
            yield document, data
        else:
            before = deep_dict_update(data, shared)
            yield document, before


def _rule_of(data: dict[str, Any]) -> SigmaRule | SigmaCorrelationRule | SigmaFilter:
    if "correlation" in data:
        return SigmaCorrelationRule.from_dict(data)
    if "filter" in data:
        return SigmaFilter.from_dict(data)
    return SigmaRule.from_dict(data)


def _unparsed(path: str, document: Document, error: Exception) -> Refused:
    title = str(document.data.get("title") or "")[:300]
    return Refused(path, title, str(error)[:1000], "", 0, type(error).__name__)
