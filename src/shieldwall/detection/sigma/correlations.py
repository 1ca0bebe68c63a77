"""Correlations of Sigma as scheduled queries: what events of one group come to within a span of time.

A window ends at an event and reaches back over the span, both ends included; the rule hits where the
condition holds for one. Events that lack a field of ``group-by`` belong to no group. One row is given for
each group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionItem,
    CorrelationConditionNOT,
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationType,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from shieldwall.detection.sigma.backend import KqlBackend
from shieldwall.detection.sigma.literals import quoted
from shieldwall.detection.sigma.queries import query_of

HOUR, DAY = 60, 24 * 60
LONGEST = 29 * DAY
"""Minutes of the spans of a rule together: rules look back for 30 days."""
MOST_NESTED = 4
MOST_RULES = 50
"""Rules that a correlation refers to."""
MOST_COUNT = 10_000
"""Events that a condition on their number may ask for."""
COMMON = ("Timestamp", "DeviceId", "DeviceName", "MachineGroup")
"""Columns that every stream of events has, besides those of its group."""
_OTHERS = ("Rule", "Value", "Begin", "At", "Slot", "Found", "First", "FirstSeen")
_SIGNS = {
    SigmaCorrelationConditionOperator.LT: "<",
    SigmaCorrelationConditionOperator.LTE: "<=",
    SigmaCorrelationConditionOperator.GT: ">",
    SigmaCorrelationConditionOperator.GTE: ">=",
    SigmaCorrelationConditionOperator.EQ: "==",
    SigmaCorrelationConditionOperator.NEQ: "!=",
}
_AGGREGATES = {
    SigmaCorrelationType.EVENT_COUNT: "count()",
    SigmaCorrelationType.VALUE_COUNT: "count_distinct(Value)",
    SigmaCorrelationType.VALUE_SUM: "sum(todouble(Value))",
    SigmaCorrelationType.VALUE_AVG: "avg(todouble(Value))",
    SigmaCorrelationType.VALUE_MEDIAN: "percentile(todouble(Value), 50)",
    SigmaCorrelationType.TEMPORAL: "count_distinct(Rule)",
}
_TEMPORAL = (SigmaCorrelationType.TEMPORAL, SigmaCorrelationType.TEMPORAL_ORDERED)
_COUNTS = (*_TEMPORAL, SigmaCorrelationType.EVENT_COUNT)
"""Types that read no field but those of the group."""


class CorrelationError(ValueError):
    """A correlation that cannot be converted. ``field`` is the path of what is to blame."""

    def __init__(self, reason: str, field: str = "correlation") -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True)
class Correlated:
    """A query, and the columns of its result for each field of the group. Times are in minutes."""

    query: str
    groups: Mapping[str, str]
    period: int
    lookback: int


def correlated(rule: SigmaCorrelationRule, backend: KqlBackend) -> Correlated:
    """What a correlation whose references are resolved asks for.

    CorrelationError, and what ``backend`` raises for a rule that it refers to.
    """
    writer = _Writer(backend)
    windows = writer.windows(rule)
    minutes = -(-writer.seconds // 60)
    if minutes > LONGEST:
        raise CorrelationError("the timespan is longer than rules look back, 29 days", "correlation.timespan")
    groups = _group_columns(rule)
    by = f" by {', '.join(groups.values())}" if groups else ""
    last = f"arg_max(Timestamp, {', '.join(COMMON[1:])})"
    result = f"{windows}\n| summarize {last}, FirstSeen = min(Begin){by}"
    if not groups:
        # Without groups there is a row even where nothing was found.
        result += "\n| where isnotnull(Timestamp)"
    period = 5 if minutes < HOUR else HOUR if minutes < DAY else DAY
    return Correlated("\n".join([*writer.streams, result]), groups, period, minutes + period)


@dataclass
class _Writer:
    """Writes the streams that windows are made of as ``let`` statements, each under its own name."""

    backend: KqlBackend
    streams: list[str] = field(default_factory=list)
    seconds: int = 0
    """The longest time that lies between the first and the last event of a hit."""
    _inside: list[SigmaCorrelationRule] = field(default_factory=list)

    def windows(self, rule: SigmaCorrelationRule) -> str:
        """A table of the windows that fulfil a correlation: when each ends and begins, and its group."""
        if any(rule is other for other in self._inside) or len(self._inside) >= MOST_NESTED:
            raise CorrelationError(
                f"correlations refer to each other in a circle, or more than {MOST_NESTED} deep",
                "correlation.rules",
            )
        if not 1 <= len(rule.referenced_rules) <= MOST_RULES:
            raise CorrelationError(f"it must refer to from 1 to {MOST_RULES} rules", "correlation.rules")
        self._inside.append(rule)
        before, self.seconds = self.seconds, 0
        stream = self._stream(rule)
        self.seconds = max(before, self.seconds + rule.timespan.seconds)
        self._inside.pop()
        if rule.type is SigmaCorrelationType.TEMPORAL_ORDERED:
            return _in_order(rule, stream)
        count = _least_count(rule)
        if count is not None:
            return _by_position(rule, stream, count)
        return _by_window(rule, stream)

    def _stream(self, rule: SigmaCorrelationRule) -> str:
        parts = [part for reference in rule.referenced_rules for part in self._events(rule, reference)]
        name = f"Events{len(self.streams) + 1}"
        text = parts[0] if len(parts) == 1 else "union " + ",\n".join(f"({part})" for part in parts)
        needed = [*_group_columns(rule).values(), *([] if rule.type in _COUNTS else ["Value"])]
        if needed:
            text += f"\n| where {' and '.join(f'isnotempty({column})' for column in needed)}"
        self.streams.append(f"let {name} = {text};")
        return name

    def _events(self, rule: SigmaCorrelationRule, reference: SigmaRuleReference) -> Iterator[str]:
        """The events of one rule, with the columns of the group, and the value if one is asked for."""
        named = f"Rule = {quoted(reference.reference)}"
        other = reference.rule
        if isinstance(other, SigmaCorrelationRule):
            known = _group_columns(other)
            inner = self.windows(other)
            columns = []
            for name, column in _group_columns(rule).items():
                wanted = _field_of(rule, reference, name)
                if wanted not in known:
                    raise CorrelationError(
                        f"the correlation {reference.reference} is not grouped by {wanted}",
                        "correlation.group-by",
                    )
                columns.append(f"{column} = {known[wanted]}")
            if rule.type not in _COUNTS:
                raise CorrelationError("values of a correlation cannot be counted", "correlation.rules")
            yield f"{inner}\n| project {', '.join([*COMMON, named, *columns])}"
            return
        for rows, clause in self.backend.clauses(other):
            columns = [
                f"{column} = {rows.field(_field_of(rule, reference, name)).string}"
                for name, column in _group_columns(rule).items()
            ]
            if rule.type not in _COUNTS:
                columns.append(
                    f"Value = {_joined([rows.field(name).string for name in _value_fields(rule)])}"
                )
            yield f"{query_of([(rows, clause)])}\n| project {', '.join([*COMMON, named, *columns])}"


def _group_columns(rule: SigmaCorrelationRule) -> dict[str, str]:
    """The columns of a group by the names that the rule has for them."""
    found: dict[str, str] = {}
    for name in rule.group_by or ():
        column = re.sub(r"\W", "_", name)
        while column in (*COMMON, *_OTHERS, *found.values()) or not re.match("[A-Za-z_]", column):
            column = f"_{column}"
        found[name] = column
    return found


def _field_of(rule: SigmaCorrelationRule, reference: SigmaRuleReference, name: str) -> str:
    """What the events of a rule call a field of the group."""
    alias = rule.aliases.aliases.get(name)
    if alias is None:
        return name
    for known, wanted in alias.mapping.items():
        if known.reference == reference.reference:
            return wanted
    raise CorrelationError(f"the alias {name} has no field of {reference.reference}", "correlation.aliases")


def _value_fields(rule: SigmaCorrelationRule) -> list[str]:
    named = rule.condition.fieldref if isinstance(rule.condition, SigmaCorrelationCondition) else None
    return [named] if isinstance(named, str) else list(named or ())


def _joined(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f'strcat_delim("\\n", {", ".join(values)})'


# Windows


def _least_count(rule: SigmaCorrelationRule) -> int | None:
    """How many events must lie within the span, where that is all that is asked for."""
    condition = rule.condition
    if rule.type is not SigmaCorrelationType.EVENT_COUNT or not isinstance(
        condition, SigmaCorrelationCondition
    ):
        return None
    if not isinstance(condition.count, int) or condition.op not in (
        SigmaCorrelationConditionOperator.GT,
        SigmaCorrelationConditionOperator.GTE,
    ):
        return None
    count = condition.count + (condition.op is SigmaCorrelationConditionOperator.GT)
    if count > MOST_COUNT:
        raise CorrelationError(f"more than {MOST_COUNT} events cannot be asked for", "correlation.condition")
    return max(count, 1)


def _by_position(rule: SigmaCorrelationRule, stream: str, count: int) -> str:
    """Each event that comes no later than the span after the event so many places before it."""
    keys = list(_group_columns(rule).values())
    if count == 1:
        return f"{stream}\n| extend Begin = Timestamp"
    order = ", ".join(f"{column} asc" for column in (*keys, "Timestamp"))
    same = "".join(f"prev({column}, {count - 1}) == {column} and " for column in keys)
    return (
        f"{stream}\n| sort by {order}\n| extend Begin = prev(Timestamp, {count - 1}), "
        f"First = {same}isnotnull(prev(Timestamp, {count - 1}))\n"
        f"| where First and Timestamp - Begin <= {_span(rule)}"
    )


def _by_window(rule: SigmaCorrelationRule, stream: str) -> str:
    """Each event joined with those of its group that lie within the span before it.

    Joined on slots as long as the span: what lies within it is in the event's own slot or in the one before.
    """
    keys = list(_group_columns(rule).values())
    span = _span(rule)
    grouped = ", ".join([*keys, "Timestamp"])
    others = ", ".join(f"{column} = take_any({column})" for column in COMMON[1:])
    value = ["Rule"] if rule.type is SigmaCorrelationType.TEMPORAL else []
    value += ["Value"] if rule.type not in _COUNTS else []
    found, condition = _condition(rule)
    return (
        f"{stream}\n| summarize {others} by {grouped}\n| extend Slot = bin(Timestamp, {span})\n"
        f"| join kind=inner (\n    {stream}\n    | project {', '.join([*keys, 'At = Timestamp', *value])}\n"
        f"    | extend Slot = pack_array(bin(At, {span}), bin(At, {span}) + {span})\n"
        f"    | mv-expand Slot to typeof(datetime)\n) on {', '.join([*keys, 'Slot'])}\n"
        f"| where At between ((Timestamp - {span}) .. Timestamp)\n"
        f"| summarize Begin = min(At), {found} by {', '.join([*keys, *COMMON])}\n| where {condition}"
    )


def _condition(rule: SigmaCorrelationRule) -> tuple[str, str]:
    """The aggregates over a window, and the condition on them."""
    condition = rule.condition
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        names = condition.get_referenced_rules()
        places = {name: f"Found{place}" for place, name in enumerate(names)}
        counts = ", ".join(f"{place} = countif(Rule == {quoted(name)})" for name, place in places.items())
        return counts, _presence(condition.parsed, places)
    if rule.type is SigmaCorrelationType.VALUE_PERCENTILE:
        if condition.percentile is None or not 0 <= condition.percentile <= 100:
            raise CorrelationError("a percentile from 0 to 100 is needed", "correlation.condition")
        aggregate = f"percentile(todouble(Value), {condition.percentile})"
    else:
        aggregate = _AGGREGATES[rule.type]
    return f"Found = {aggregate}", f"Found {_SIGNS[condition.op]} {condition.count}"


def _presence(node: CorrelationConditionItem | SigmaRuleReference, places: Mapping[str, str]) -> str:
    if isinstance(node, SigmaRuleReference):
        return f"{places[node.reference]} > 0"
    parts = [_presence(part, places) for part in node.args]
    if isinstance(node, CorrelationConditionNOT):
        return f"not({parts[0]})"
    return f"({(' and ' if isinstance(node, CorrelationConditionAND) else ' or ').join(parts)})"


def _in_order(rule: SigmaCorrelationRule, stream: str) -> str:
    """From each event of the first rule, the earliest of the second, then of the third, within the span."""
    condition, references = rule.condition, rule.referenced_rules
    whole = isinstance(condition, SigmaCorrelationCondition) and (condition.op, condition.count) == (
        SigmaCorrelationConditionOperator.GTE,
        len(references),
    )
    if not whole:
        raise CorrelationError("rules in order must all be there", "correlation.condition")
    keys, span = list(_group_columns(rule).values()), _span(rule)
    where = [f"{stream}\n| where Rule == {quoted(reference.reference)}" for reference in references]
    text = f"{where[0]}\n| extend Begin = Timestamp"
    for events in where[1:]:
        inner = events.replace("\n", "\n    ")
        columns = ", ".join([*keys, *(f"{column}1 = {column}" for column in COMMON)])
        last = ", ".join(f"{column}1" for column in COMMON[1:])
        text += (
            f"\n| extend Slot = pack_array(bin(Begin, {span}), bin(Begin, {span}) + {span})\n"
            f"| mv-expand Slot to typeof(datetime)\n"
            f"| join kind=inner (\n    {inner}\n    | project {columns}, Slot = bin(Timestamp, {span})\n"
            f") on {', '.join([*keys, 'Slot'])}\n"
            f"| where Timestamp1 between (Timestamp .. (Begin + {span}))\n"
            f"| summarize arg_min(Timestamp1, {last}) by {', '.join([*keys, 'Begin'])}\n"
            f"| project {', '.join([*keys, 'Begin', *(f'{column} = {column}1' for column in COMMON)])}"
        )
    return text


def _span(rule: SigmaCorrelationRule) -> str:
    return f"{rule.timespan.seconds}s"
