"""The backend of pySigma that writes conditions of KQL over the rows of a log source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn, cast

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionItem,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.conversion.base import Backend
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError, SigmaPlaceholderError, SigmaValueError
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaFieldReference,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
    TimestampPart,
)

from shieldwall.detection.sigma import keywords
from shieldwall.detection.sigma.clauses import Clause, joined, negated
from shieldwall.detection.sigma.fields import Field, Piece, Wildcard
from shieldwall.detection.sigma.literals import quoted
from shieldwall.detection.sigma.logsources import Rows
from shieldwall.kql.patterns import PatternError, translated
from shieldwall.telemetry.schema import SOURCE_EVENTS

OfField = ConditionFieldEqualsValueExpression
ROWS = "rows"
"""The name in the state of a pipeline and of a conversion under which the rows stand."""
_WILDCARDS = {SpecialChars.WILDCARD_MULTI: Wildcard.ANY, SpecialChars.WILDCARD_SINGLE: Wildcard.ONE}
_COMPARISONS = {
    CompareOperators.LT: "<",
    CompareOperators.LTE: "<=",
    CompareOperators.GT: ">",
    CompareOperators.GTE: ">=",
    CompareOperators.NEQ: "!=",
}
_PARTS = {
    TimestampPart.MINUTE: 'datetime_part("minute", {})',
    TimestampPart.HOUR: "hourofday({})",
    TimestampPart.DAY: "dayofmonth({})",
    TimestampPart.WEEK: "week_of_year({})",
    TimestampPart.MONTH: "monthofyear({})",
    TimestampPart.YEAR: "getyear({})",
}


class KqlBackend(Backend):
    """Makes a `Clause` of each condition; `clauses` is the way in."""

    name: ClassVar[str] = "KQL"
    requires_pipeline: ClassVar[bool] = True

    def __init__(self, pipeline: ProcessingPipeline) -> None:
        super().__init__(pipeline)
        self.init_processing_pipeline()

    def clauses(self, rule: SigmaRule) -> list[tuple[Rows, Clause]]:
        """For each kind of rows of the rule's log source, the condition on them.

        SigmaError where the rule cannot be converted, UnmappedError where there are no such rows.
        """
        conditions = rule.detection.parsed_condition
        self.last_processing_pipeline.apply(rule)
        found = []
        for rows in self.last_processing_pipeline.state[ROWS]:
            state = ConversionState(processing_state={ROWS: rows})
            parts = [self.convert_condition(condition.parsed, state) for condition in conditions]
            found.append((rows, joined("or", parts)))
        return found

    # Logic

    def convert_condition_or(self, cond: ConditionOR, state: ConversionState) -> Clause:
        """Plain texts that a field may be become one list, networks too."""
        grouped: dict[Any, list[Any]] = {}
        for place, part in enumerate(cond.args):
            grouped.setdefault(_list_key(part) or place, []).append(part)
        return joined("or", [self._either(some, state) for some in grouped.values()])

    def _either(self, some: list[Any], state: ConversionState) -> Clause:
        first = some[0]
        if len(some) == 1:
            return cast(Clause, self.convert_condition(first, state))
        if isinstance(first, ConditionValueExpression):
            return _word(state, [_pieces(part.value) for part in some], cased=False)
        of = _field(first, state)
        if isinstance(first.value, SigmaCIDRExpression):
            return _in_networks(of, [part.value for part in some])
        return joined("or", [Clause(text) for text in of.is_any_of([_pieces(part.value) for part in some])])

    def convert_condition_and(self, cond: ConditionAND, state: ConversionState) -> Clause:
        return joined("and", [self.convert_condition(_item(part), state) for part in cond.args])

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> Clause:
        return negated(self.convert_condition(_item(cond.args[0]), state))

    def convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> NoReturn:
        raise NotImplementedError

    # Values of fields

    def convert_condition_field_eq_val_str(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).matches(_pieces(cond.value)))

    def convert_condition_field_eq_val_str_case_sensitive(
        self, cond: OfField, state: ConversionState
    ) -> Clause:
        return Clause(_field(cond, state).matches(_pieces(cond.value), cased=True))

    def convert_condition_field_eq_val_num(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).equals(str(cast(SigmaNumber, cond.value))))

    def convert_condition_field_eq_val_bool(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).equals(str(bool(cast(SigmaBool, cond.value))).lower()))

    def convert_condition_field_eq_val_timestamp_part(self, cond: OfField, state: ConversionState) -> Clause:
        value, of = cast(SigmaTimestampPart, cond.value), _field(cond, state)
        moment = of.expression if of.kind == "time" else f"todatetime({of.expression})"
        return Clause(f"{_PARTS[value.timestamp_part].format(moment)} == {value.number}", nullable=True)

    def convert_condition_field_eq_val_re(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).fits(_pattern(cond.value)))

    def convert_condition_field_eq_val_cidr(self, cond: OfField, state: ConversionState) -> Clause:
        return _in_networks(_field(cond, state), [cast(SigmaCIDRExpression, cond.value)])

    def convert_condition_field_compare_op_val(self, cond: OfField, state: ConversionState) -> Clause:
        value = cast(SigmaCompareExpression, cond.value)
        operator, number = _COMPARISONS[value.op], str(value.number)
        return Clause(_field(cond, state).compares(operator, number), nullable=True)

    def convert_condition_field_eq_field(self, cond: OfField, state: ConversionState) -> Clause:
        value, of = cast(SigmaFieldReference, cond.value), _field(cond, state)
        other = _rows(state).field(value.field)
        operator = {
            (False, False): "=~",
            (True, False): "startswith",
            (False, True): "endswith",
            (True, True): "contains",
        }[value.starts_with, value.ends_with]
        same = f"{of.string} {operator} {other.string}"
        return joined("and", [Clause(of.is_there()), Clause(other.is_there()), Clause(same)])

    def convert_condition_field_eq_val_null(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).is_missing())

    def convert_condition_field_exists(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).is_there())

    def convert_condition_field_not_exists(self, cond: OfField, state: ConversionState) -> Clause:
        return Clause(_field(cond, state).is_missing())

    def convert_condition_field_eq_val_exists(self, cond: OfField, state: ConversionState) -> Clause:
        there = bool(cast(SigmaExists, cond.value))
        find = self.convert_condition_field_exists if there else self.convert_condition_field_not_exists
        return find(cond, state)

    # Words

    def convert_condition_val_str(self, cond: ConditionValueExpression, state: ConversionState) -> Clause:
        return _word(state, [_pieces(cond.value)], cased=isinstance(cond.value, SigmaCasedString))

    def convert_condition_val_num(self, cond: ConditionValueExpression, state: ConversionState) -> Clause:
        return _word(state, [_pieces(cond.value)], cased=False)

    def convert_condition_val_re(self, cond: ConditionValueExpression, state: ConversionState) -> Clause:
        rows = _rows(state)
        where = rows.rest if rows.table == SOURCE_EVENTS else "*"
        return Clause(f"{where} matches regex {quoted(_pattern(cond.value))}")

    # What KQL conditions are not made of

    def convert_condition_field_eq_query_expr(self, cond: OfField, state: ConversionState) -> NoReturn:
        raise SigmaFeatureNotSupportedByBackendError("a query inside a value is not supported")

    def convert_condition_query_expr(
        self, cond: ConditionValueExpression, state: ConversionState
    ) -> NoReturn:
        raise SigmaFeatureNotSupportedByBackendError("a query inside a value is not supported")

    def finish_query(self, rule: SigmaRule | SigmaCorrelationRule, query: Any, state: ConversionState) -> Any:
        return query

    def _elsewhere(self, *_: Any, **__: Any) -> Any:
        """Correlations are made of the finished queries of their rules, in `correlations`."""
        raise NotImplementedError

    convert_correlation_event_count_rule = _elsewhere
    convert_correlation_value_count_rule = _elsewhere
    convert_correlation_temporal_rule = _elsewhere
    convert_correlation_temporal_ordered_rule = _elsewhere
    convert_correlation_extended_temporal_rule = _elsewhere
    convert_correlation_extended_temporal_ordered_rule = _elsewhere
    convert_correlation_value_sum_rule = _elsewhere
    convert_correlation_value_avg_rule = _elsewhere
    convert_correlation_value_percentile_rule = _elsewhere
    convert_correlation_value_median_rule = _elsewhere


def _item(part: Any) -> ConditionItem:
    return cast(ConditionItem, part)


def _rows(state: ConversionState) -> Rows:
    return cast(Rows, state.processing_state[ROWS])


def _field(cond: OfField, state: ConversionState) -> Field:
    return _rows(state).field(cond.field)


def _list_key(part: Any) -> tuple[str, str] | None:
    """What conditions have in common that may become one list; None for one that stands alone."""
    if isinstance(part, ConditionValueExpression):
        uncased = isinstance(part.value, SigmaString) and not isinstance(part.value, SigmaCasedString)
        return ("", "words") if uncased or type(part.value) is SigmaNumber else None
    if not isinstance(part, OfField):
        return None
    value = part.value
    if isinstance(value, SigmaCIDRExpression):
        return part.field, "networks"
    uncased = isinstance(value, SigmaString) and not isinstance(value, SigmaCasedString)
    return (part.field, "values") if uncased or type(value) is SigmaNumber else None


def _pieces(value: SigmaType) -> list[Piece]:
    """Texts and wildcards of a Sigma string. SigmaPlaceholderError where a placeholder was not replaced."""
    if isinstance(value, SigmaNumber):
        return [str(value)]
    found: list[Piece] = []
    for part in cast(SigmaString, value).s:
        if isinstance(part, Placeholder):
            raise SigmaPlaceholderError(f"the placeholder %{part.name}% has no value")
        found.append(part if isinstance(part, str) else _WILDCARDS[part])
    return found


def _pattern(value: SigmaType) -> str:
    """A regular expression with its flags. SigmaValueError when it is none that can be run safely."""
    expression = cast(SigmaRegularExpression, value)
    if expression.contains_placeholder():
        raise SigmaPlaceholderError("a placeholder in a regular expression has no value")
    text = expression.escape(escape_escape_char=False)
    try:
        translated(text)
    except PatternError as error:
        raise SigmaValueError(f"the regular expression {text[:100]!r} cannot be run: {error}") from None
    return text


def _in_networks(of: Field, networks: Sequence[SigmaCIDRExpression]) -> Clause:
    by_version: dict[int, list[str]] = {}
    for each in networks:
        by_version.setdefault(each.network.version, []).append(str(each.network))
    parts = []
    for version, texts in by_version.items():
        listed = ", ".join(map(quoted, texts))
        call = "is_in_range" if len(texts) == 1 else "is_in_any_range"
        parts.append(Clause(f"ipv{version}_{call}({of.string}, {listed})", nullable=True))
    return joined("or", parts)


def _word(state: ConversionState, words: Sequence[Sequence[Piece]], *, cased: bool) -> Clause:
    rows = _rows(state)
    if not all(any(isinstance(piece, str) and piece for piece in word) for word in words):
        raise SigmaValueError("a word to look for anywhere must not be empty")
    if rows.table == SOURCE_EVENTS:
        return keywords.in_record(rows.rest, words, cased=cased)
    return joined("or", [keywords.in_row(word, cased=cased) for word in words])
