"""What a rule must be before it is taken: its texts, times, columns and query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

from shieldwall.detection.rules import templates
from shieldwall.detection.rules.rule import CONTINUOUS, Rule, Severity
from shieldwall.detection.streaming.compiling import compile_rule
from shieldwall.errors import bad_request
from shieldwall.kql.errors import KqlError
from shieldwall.kql.parser import parse
from shieldwall.kql.syntax import Let, Name, Pipeline, walk
from shieldwall.telemetry.hunting import compiled
from shieldwall.telemetry.schema import ALIASES, TABLES

MINUTE, HOUR, DAY = 1, 60, 24 * 60
SHORTEST, LONGEST = 5 * MINUTE, 14 * DAY
QUERY_LIMIT = 100_000
ORIGIN_LIMIT = 100_000
DETAILS = 20
"""Most custom details of a rule."""

SEVERITIES: Sequence[str] = get_args(Severity)
ENTITIES = (
    "Device",
    "User",
    "Mailbox",
    "Process",
    "File",
    "Ip",
    "Url",
    "Domain",
    "RegistryKey",
    "RegistryValue",
)
"""Kinds of entities that a rule may name a column for."""

_LIMITS = {
    "id": 64,
    "name": 300,
    "title": 500,
    "category": 64,
    "description": 10_000,
    "recommended_action": 10_000,
}
_TECHNIQUE = re.compile(r"T\d{4}(\.\d{3})?")
_HALF = re.compile("[\ud800-\udfff]")
"""Halves of characters, which no database keeps."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def default_lookback(period: int) -> int:
    """Minutes that a rule looks back where it does not say, as the service does for its frequencies."""
    if period == CONTINUOUS:
        return 0
    return 4 * period if period <= 12 * HOUR else 30 * DAY


def check(rule: Rule) -> None:
    """ApiError 400 unless a rule may be kept; it names the field, and in the query line and column."""
    for name, limit in _LIMITS.items():
        _text(name, getattr(rule, name), limit)
    for name in ("name", "query", "title", "category"):
        if not getattr(rule, name).strip():
            raise bad_request(f"{name} must not be empty.", "InvalidInput")
    if not _ID.fullmatch(rule.id):
        raise bad_request("id must be 1 to 64 letters, digits, dots, dashes and underscores.", "InvalidInput")
    for name in ("name", "title", "category"):
        if not getattr(rule, name).isprintable():
            raise bad_request(f"{name} must be printable characters in one line.", "InvalidInput")
    _text("query", rule.query, QUERY_LIMIT)
    _text("origin", rule.origin, ORIGIN_LIMIT)
    if rule.severity not in SEVERITIES:
        raise bad_request(f"severity must be one of {', '.join(SEVERITIES)}.", "InvalidInput")
    if wrong := [each for each in rule.techniques if not _TECHNIQUE.fullmatch(each)]:
        raise bad_request(
            f"techniques: {wrong[0][:40]!r} is not a technique such as T1059.004.", "InvalidInput"
        )
    if len(rule.techniques) > 100:
        raise bad_request("techniques must be at most 100.", "InvalidInput")
    check_times(rule.period, rule.lookback)
    columns = [name for name, _ in compiled(rule.query).columns]
    if rule.period == CONTINUOUS:
        _check_continuous(rule)
    _check_columns(rule, columns)


def check_times(period: int, lookback: int | None) -> None:
    """ApiError 400 unless these are a frequency and a look-back, in minutes, that go together."""
    if period != CONTINUOUS and not SHORTEST <= period <= LONGEST:
        raise bad_request("period must be 0 (continuous) or from 5 minutes to 14 days.", "InvalidInput")
    if lookback is None:
        return
    if period == CONTINUOUS:
        raise bad_request(
            "lookback: a continuous rule looks at each event once and has none.", "InvalidInput"
        )
    if lookback < period:
        raise bad_request("lookback must not be shorter than the period.", "InvalidInput")
    most, said = 30 * DAY, "at most 30 days"
    if period < HOUR:
        most, said = 48 * HOUR - 1, "shorter than 48 hours where the period is under an hour"
    elif period < DAY:
        most, said = 14 * DAY, "at most 14 days where the period is under a day"
    if not SHORTEST <= lookback <= most:
        raise bad_request(f"lookback must be 5 minutes or more and {said}.", "InvalidInput")


def tables_of(query: str) -> list[str]:
    """The hunting tables that a query names as sources, each once."""
    found = []
    for node in walk(_parsed(query)):
        source = node.source if isinstance(node, Pipeline) else node.value if isinstance(node, Let) else None
        if isinstance(source, Name) and (source.name in TABLES or source.name in ALIASES.tables):
            found.append(source.name)
    return list(dict.fromkeys(found))


def _check_continuous(rule: Rule) -> None:
    """It sees each row once, by itself, so it can read one table only, and compare nothing over time."""
    try:
        compile_rule(rule.query)
    except KqlError as error:
        message = f"query: {error.message}{_place(rule.query, error.offset)}"
        raise bad_request(message, "InvalidInput") from None


def _check_columns(rule: Rule, columns: Sequence[str]) -> None:
    """What the alert takes from the result has to be in it."""
    present = set(columns)
    for field in ("title", "description"):
        named = templates.columns(getattr(rule, field))
        if len(named) > templates.PLACES:
            raise bad_request(f"{field} names more than {templates.PLACES} columns.", "InvalidInput")
        _present(field, named, present)
    if unknown := set(rule.entities) - set(ENTITIES):
        raise bad_request(
            f"entities: {min(unknown)[:40]!r} is none of {', '.join(ENTITIES)}.", "InvalidInput"
        )
    if len(rule.details) > DETAILS:
        raise bad_request(f"details must be at most {DETAILS} pairs.", "InvalidInput")
    for name in rule.details:
        _text("details", name, 100)
    for field, chosen in (("entities", rule.entities), ("details", rule.details)):
        _present(field, list(chosen.values()), present)


def _present(field: str, named: Sequence[str], present: set[str]) -> None:
    for name in named:
        if name not in present:
            raise bad_request(f"{field}: the query's result has no column {name[:100]!r}.", "InvalidInput")


def _parsed(query: str) -> object:
    try:
        return parse(query)
    except KqlError as error:
        raise bad_request(f"query: {error.message}{_place(query, error.offset)}", "InvalidInput") from None


def _place(query: str, offset: int) -> str:
    located = KqlError("", offset).locate(query)
    return f" Line {located.line}, column {located.column}."


def _text(name: str, value: object, limit: int) -> None:
    if not isinstance(value, str) or "\x00" in value or _HALF.search(value):
        raise bad_request(f"{name} must be text.", "InvalidInput")
    if len(value) > limit:
        raise bad_request(f"{name} is longer than {limit} characters.", "InvalidInput")
