"""Where, and how often, a text stands in another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.operations import term_condition
from shieldwall.kql.patterns import pattern
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, made, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

MOST_OCCURRENCES = 100
"""How far ``indexof`` counts occurrences."""


@coded("indexof")
def indexof(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The place, from 0, of the first or a later occurrence in a part of the text; -1 if there is none.

    A start below 0 counts from the end. A length is that of the part that is searched, which is behind the
    occurrence before when a later one is asked for; -1 stands for all there is.
    """
    values = bound(binder, call, 2, 5)
    text, needle = to_string(values[0]), to_string(values[1])
    if len(values) == 2:
        return made("long", f"(toInt64(positionUTF8({text.sql}, {needle.sql})) - 1)", text, needle)
    numbers = [coerce(value, "long", call, place + 2) for place, value in enumerate(values[2:])]
    start, length, wanted = (*numbers, *(constant("long", number) for number in (-1, 1)[len(numbers) - 1 :]))
    if not isinstance(wanted.constant, int):
        raise KqlError("indexof(): the occurrence must be a constant.", call.at, "SEM0240")
    if wanted.constant < 0 or (isinstance(length.constant, int) and length.constant < -1):
        return made("long", sql.null("long"), text, needle)

    def found(size: str) -> str:
        begin = start.sql
        if not (isinstance(start.constant, int) and start.constant >= 0):
            end = f"toInt64(lengthUTF8({text.sql}))"
            begin = f"if({start.sql} < 0, greatest({end} + {start.sql}, 0), {start.sql})"
        place = sql.once(begin, lambda at: _position(text.sql, needle.sql, at, size))
        for _number in range(1, min(wanted.constant, MOST_OCCURRENCES)):
            place = sql.once(place, lambda at: _next_position(text.sql, needle.sql, at, size))
        return place

    searched = sql.once(length.sql, found)
    computed = [number.sql for number in (start, length) if not isinstance(number.constant, int)]
    if computed:
        wrong = " OR ".join([f"{length.sql} < -1", *(f"isNull({number})" for number in computed)])
        searched = f"if({wrong}, NULL, {searched})"
    return made("long", searched, text, needle, *numbers)


def _position(text: str, needle: str, at: str, length: str) -> str:
    """SQL of where the needle stands within a length from ``at`` on, -1 if it does not."""
    place = f"(toInt64(positionUTF8({text}, {needle}, toUInt64({at} + 1))) - 1)"
    within = f"({length} < 0 OR {place} + toInt64(lengthUTF8({needle})) <= {at} + {length})"
    return f"if({at} <= lengthUTF8({text}) AND {place} >= 0 AND {within}, {place}, -1)"


def _next_position(text: str, needle: str, at: str, length: str) -> str:
    """The same behind the occurrence at ``at``, which is -1 if there was none."""
    return f"if({at} < 0, -1, {_position(text, needle, f'({at} + 1)', length)})"


@coded("countof")
def countof(binder: Binder, call: Call, _: list[Value]) -> Value:
    """How often a text stands in another, overlaps counted; of a regular expression they are not."""
    values = bound(binder, call, 2, 3)
    text, needle = (coerce(value, "string", call, place) for place, value in enumerate(values[:2]))
    kind = values[2].constant if len(values) > 2 else "normal"
    if kind not in ("normal", "regex"):
        raise KqlError('countof(): the kind must be "normal" or "regex".', call.at, "SEM0240")
    if kind == "regex":
        return made("long", f"toInt64(countMatches({text.sql}, {pattern(needle, call.at)}))", text)
    found = needle.constant
    if found == "":
        return made("long", "toInt64(0)", text)
    if isinstance(found, str) and not any(found.startswith(found[size:]) for size in range(1, len(found))):
        return made("long", f"toInt64(countSubstrings({text.sql}, {needle.sql}))", text)
    places = f"range(1, toUInt64(length({text.sql}) + 1))"
    each = f"arrayCount(p -> substring({text.sql}, p, length({needle.sql})) = {needle.sql}, {places})"
    return made("long", f"if({needle.sql} = '', 0, toInt64({each}))", text, needle)


@coded("has_any_index")
def has_any_index(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The place, from 0, of the first item of an array that the text has as a term; -1 if it has none."""
    source, needles = bound(binder, call, 2)
    subject = coerce(source, "string", call, 0)
    subject.indexed = source.indexed
    array = coerce(needles, "dynamic", call, 1)
    if not array.is_constant:
        each = term_condition(subject, Value("string", "x"), fold=True)
        items = f"JSONExtract({array.sql}, 'Array(String)')"
        return made("long", f"(toInt64(arrayFirstIndex(x -> {each}, {items})) - 1)", subject, array)
    held = json.loads(array.constant or "[]")
    texts = (
        [item if isinstance(item, str) else json.dumps(item) for item in held]
        if isinstance(held, list)
        else []
    )
    if not texts:
        return constant("long", -1)
    cases = ", ".join(
        f"{term_condition(subject, constant('string', text), fold=True)}, {place}"
        for place, text in enumerate(texts)
    )
    return made("long", f"toInt64(multiIf({cases}, -1))", subject)
