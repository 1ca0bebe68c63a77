"""Why no rule was made of a text: the reason, the field and the line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sigma.conversion.state import ConversionState
from sigma.exceptions import (
    SigmaConditionError,
    SigmaCorrelationConditionError,
    SigmaCorrelationRuleError,
    SigmaCorrelationTypeError,
    SigmaDateError,
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
from sigma.rule import SigmaDetection

from shieldwall.detection.sigma.backend import ROWS, KqlBackend
from shieldwall.detection.sigma.correlations import CorrelationError
from shieldwall.detection.sigma.documents import Document
from shieldwall.detection.sigma.logsources import RECORD, Rows, UnmappedError
from shieldwall.errors import ApiError
from shieldwall.telemetry.schema import SOURCE_EVENTS

FAILURES = (
    ApiError, AttributeError, KeyError, NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What a rule is refused with. Not all that pySigma finds wrong is a SigmaError, a ValueError."""
NO_LOG_SOURCE = "log source"
"""The kind of refusal of a rule for events that no source gives."""
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
class Refused:
    """A rule, or a whole file, of which no rule was made. ``line`` counts from 1; 0 where none is meant."""

    path: str
    title: str
    reason: str
    field: str = ""
    line: int = 0
    kind: str = ""
    """What the reason is in general, for counting."""
    rule_id: str = ""
    """If it has one."""

    def __str__(self) -> str:
        place = f":{self.line}" if self.line else ""
        named = f" ({self.field})" if self.field else ""
        return f"{self.path}{place}{named}: {self.reason}"


def refused(path: str, document: Document, error: Exception, rule_id: str, backend: KqlBackend) -> Refused:
    """The refusal of a document because of an error."""
    field = _field(document, error, backend)
    kind = NO_LOG_SOURCE if isinstance(error, UnmappedError) else type(error).__name__
    reason = error.message if isinstance(error, ApiError) else str(error)
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    title = str(document.data.get("title") or "")[:300]
    return Refused(path, title, reason[:1000], field, document.line(field), kind, rule_id)


def _field(document: Document, error: Exception, backend: KqlBackend) -> str:
    """The path of the field that an error is about."""
    if isinstance(error, CorrelationError):
        return error.field
    for kind, path in _FIELDS:
        if isinstance(error, kind):
            return path
    detection = document.data.get("detection")
    if not isinstance(detection, dict):
        return "detection"
    for name, definition in detection.items():
        if name not in ("condition", "timeframe"):
            for path, part in _items(f"detection.{name}", definition):
                if not _converts(part, backend):
                    return path
    return "detection"


def _items(path: str, definition: Any) -> Iterator[tuple[str, Any]]:
    """Parts of a detection that stand for themselves, with their paths."""
    if isinstance(definition, dict):
        yield from ((f"{path}.{key}", {key: value}) for key, value in definition.items())
    elif isinstance(definition, list) and any(isinstance(part, dict) for part in definition):
        for part in definition:
            yield from _items(path, part)
    else:
        yield path, definition


def _converts(part: Any, backend: KqlBackend) -> bool:
    state = ConversionState(processing_state={ROWS: Rows(SOURCE_EVENTS, rest=RECORD)})
    try:
        condition = SigmaDetection.from_definition(part).postprocess(None)  # type: ignore[arg-type]
        backend.convert_condition(condition, state)
    except FAILURES:
        return False
    return True
