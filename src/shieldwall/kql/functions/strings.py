"""Strings: length, case, parts, joining, splitting, replacing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.frame import dynamic_text
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import (
    NAMED_AFTER_CALL,
    coded,
    coerce,
    declare,
)
from shieldwall.kql.functions.shapes import strings
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, convert, made, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

MOST_REPEATS = 1024
"""How often ``strrep`` repeats a text at most."""

_NO_TEXT = "unhex('FEFF')"

NAMED_AFTER_CALL.update(("strlen", "string_size"))

declare("""
strlen(string) -> long | toInt64(lengthUTF8({0}))
string_size(string) -> long | toInt64(length({0}))
strcmp(string, string) -> long | multiIf({0} = {1}, 0, {0} < {1}, -1, 1)
reverse(string) -> string | reverseUTF8({0})
isascii(string) -> bool | isASCII({0})
isutf8(string) -> bool | toBool(isValidUTF8({0}))
""")


def folded(values: list[Value], work: Callable[..., str]) -> Value | None:
    """The constant that ``work`` makes of constant strings; None if one of them is none."""
    texts = [value.constant for value in values]
    return constant("string", work(*texts)) if all(isinstance(text, str) for text in texts) else None


@coded("tolower", "toupper")
def change_case(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_string(bound(binder, call, 1)[0])
    lower = call.name == "tolower"
    if isinstance(value.constant, str):
        return constant("string", value.constant.lower() if lower else value.constant.upper())
    return made("string", f"{'lowerUTF8' if lower else 'upperUTF8'}({value.sql})", value)


@coded("isempty", "isnotempty", "notempty")
def isempty(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether a value is null or the empty string; a dynamic may hold either."""
    (value,) = bound(binder, call, 1)
    negated = call.name != "isempty"
    if value.type in ("string", "dynamic"):
        found = to_string(value)
        if isinstance(found.constant, str):
            return constant("bool", (found.constant == "") != negated)
        return made("bool", f"({found.sql} {'!=' if negated else '='} '')", value)
    return made("bool", f"{'isNotNull' if negated else 'isNull'}({value.sql})", value)


@coded("strcat")
def strcat(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = [to_string(value) for value in bound(binder, call, 1, 10_000)]
    found = folded(values, lambda *texts: "".join(texts))
    return found or made("string", f"concat({', '.join(value.sql for value in values)})", *values)


@coded("strcat_delim")
def strcat_delim(binder: Binder, call: Call, _: list[Value]) -> Value:
    between, *values = (to_string(value) for value in bound(binder, call, 2, 10_000))
    found = folded([between, *values], lambda between, *texts: between.join(texts))
    if found:
        return found
    texts = ", ".join(value.sql for value in values)
    # Joining arrays takes a constant separator only.
    joined = f", {between.sql}, ".join(value.sql for value in values)
    text = f"arrayStringConcat([{texts}], {between.sql})" if between.is_constant else f"concat({joined})"
    return made("string", text, between, *values)


@coded("substring")
def substring(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A part by its place, from 0 or negative from the end, and its length; empty beyond the ends."""
    values = bound(binder, call, 2, 3)
    text = to_string(values[0])
    start, *size = (coerce(value, "long", call, place + 1) for place, value in enumerate(values[1:]))
    if size and isinstance(size[0].constant, int) and size[0].constant < 0:
        size = []
    length = [part.sql if part.is_constant else f"greatest({part.sql}, 0)" for part in size]
    if not isinstance(start.constant, int):
        # A place before the beginning is the beginning.
        from_end = f"greatest(toInt64(lengthUTF8({text.sql})) + {start.sql}, 0)"
        at = f"if({start.sql} < 0, {from_end}, {start.sql}) + 1"
    elif start.constant >= 0:
        at = str(start.constant + 1)
        if isinstance(text.constant, str) and all(isinstance(part.constant, int) for part in size):
            end = start.constant + size[0].constant if size else None
            return constant("string", text.constant[start.constant : end])
    else:
        at = f"greatest(toInt64(lengthUTF8({text.sql})) + {start.sql}, 0) + 1"
    found = f"substringUTF8({', '.join([text.sql, at, *length])})"
    nullable = not all(isinstance(part.constant, int) for part in (start, *size))
    return made("string", f"ifNull({found}, '')" if nullable else found, text, start, *size)


@coded("strrep")
def strrep(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = bound(binder, call, 2, 3)
    text, between = to_string(values[0]), to_string(values[2]) if len(values) > 2 else constant("string", "")
    times = coerce(values[1], "long", call, 1)
    count = f"toUInt64(greatest(least(ifNull({times.sql}, 0), {MOST_REPEATS}), 0))"
    if between.constant == "":
        return made("string", f"repeat({text.sql}, {count})", text, times)
    # With a separator behind each one, the last of which is taken away.
    whole = f"repeat(concat({text.sql}, {between.sql}), {count})"
    kept = f"substring({whole}, 1, greatest(toInt64(length({whole})) - toInt64(length({between.sql})), 0))"
    return made("string", kept, text, times, between)


@coded("split")
def split(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The parts between separators; with a place, an array of just that part."""
    values = bound(binder, call, 2, 3)
    text, between = to_string(values[0]), to_string(values[1])
    place = coerce(values[2], "long", call, 2) if len(values) > 2 else None
    name = values[0].name
    if isinstance(text.constant, str) and isinstance(between.constant, str) and place is None:
        parts = text.constant.split(between.constant) if between.constant else [text.constant]
        return constant("dynamic", dynamic_text(parts))
    if between.constant == "":
        array = f"[{text.sql}]"
    elif between.is_constant:
        array = f"splitByString({between.sql}, {text.sql})"
    else:
        # Splitting takes a constant separator only: bytes that no text has.
        array = f"splitByString({_NO_TEXT}, replaceAll({text.sql}, {between.sql}, {_NO_TEXT}))"
    if place is None:
        found = strings(array, text, between)
    elif isinstance(place.constant, int):
        chosen = (
            f"arraySlice({array}, {place.constant + 1}, 1)" if place.constant >= 0 else "emptyArrayString()"
        )
        found = strings(chosen, text, between)
    else:
        chosen = f"if(ifNull({place.sql}, -1) < 0, [], arraySlice({array}, ifNull({place.sql}, 0) + 1, 1))"
        found = strings(chosen, text, between, place)
    found.name = name
    return found


@coded("replace_string")
def replace_string(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = [coerce(value, "string", call, place) for place, value in enumerate(bound(binder, call, 3))]
    found = folded(values, lambda text, old, new: text.replace(old, new) if old else text)
    return found or made("string", f"replaceAll({', '.join(value.sql for value in values)})", *values)


@coded("replace_strings")
def replace_strings(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Several texts at once: an earlier one of the list goes first, and what is replaced is left alone."""
    values = bound(binder, call, 3)
    text = coerce(values[0], "string", call, 0)
    olds, news = (coerce(value, "dynamic", call, 1) for value in values[1:])
    if not (isinstance(olds.constant, str) and isinstance(news.constant, str)):
        return binder.in_python("replace_strings", [text, olds, news], "string", _replaced)
    pairs = _pairs(json.loads(olds.constant), json.loads(news.constant))
    found = text.sql
    # Marks of bytes that no text has stand for what is replaced until all is found.
    marks = [_mark(place) for place in range(len(pairs))]
    for (old, _new), mark in zip(pairs, marks, strict=True):
        found = f"replaceAll({found}, {sql.quote(old)}, {mark})"
    for (_old, new), mark in zip(pairs, marks, strict=True):
        found = f"replaceAll({found}, {mark}, {sql.quote(new)})"
    return made("string", found, text)


def _mark(place: int) -> str:
    return f"unhex('FE{0xF8 + (place >> 6 & 7):X}{0xF8 + (place >> 3 & 7):X}{0xF8 + (place & 7):X}')"


def _pairs(olds: Any, news: Any) -> list[tuple[str, str]]:
    if not isinstance(olds, list) or not isinstance(news, list):
        return []
    pairs: list[tuple[str, str]] = []
    for place, old in enumerate(olds[:512]):
        if isinstance(old, str) and old:
            new = news[place] if place < len(news) else None
            pairs.append((old, new if isinstance(new, str) else old))
    return pairs


def _replaced(text: str, olds: Any, news: Any) -> str:
    parts: list[tuple[str, bool]] = [(text or "", False)]
    for old, new in _pairs(olds, news):
        found: list[tuple[str, bool]] = []
        for part, done in parts:
            if done or old not in part:
                found.append((part, done))
                continue
            first, *others = part.split(old)
            found.append((first, False))
            for other in others:
                found += [(new, True), (other, False)]
        parts = found
    return "".join(part for part, _ in parts)


@coded("translate")
def translate(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Characters of one list as those of another, whose last one stands for all behind it."""
    values = [coerce(value, "string", call, place) for place, value in enumerate(bound(binder, call, 3))]
    olds, news, text = values
    if not (isinstance(olds.constant, str) and isinstance(news.constant, str)):
        return binder.in_python("translate", values, "string", _translated)
    if not olds.constant:
        return text
    if not news.constant:
        pattern = "[" + "".join(f"\\x{{{ord(char):x}}}" for char in olds.constant) + "]"
        return made("string", f"replaceRegexpAll({text.sql}, {sql.quote(pattern)}, '')", text)
    table = _table(olds.constant, news.constant)
    old, new = sql.quote("".join(table)), sql.quote("".join(table.values()))
    return made("string", f"translateUTF8({text.sql}, {old}, {new})", text)


def _table(olds: str, news: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for place, old in enumerate(olds):
        table.setdefault(old, news[min(place, len(news) - 1)] if news else "")
    return table


def _translated(olds: str, news: str, text: str) -> str:
    table = _table(olds or "", news or "")
    return "".join(table.get(char, char) for char in text or "")


@coded("format_bytes")
def format_bytes(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A number of bytes in the largest unit that fits, or in the unit asked for."""
    values = bound(binder, call, 1, 3)
    size = convert(coerce(values[0], "number", call, 0), "real")
    digits = coerce(values[1], "long", call, 1).sql if len(values) > 1 else "0"
    unit = coerce(values[2], "string", call, 2) if len(values) > 2 else constant("string", "")
    units = ("Bytes", "KB", "MB", "GB", "TB", "PB", "EB")
    names = ", ".join(map(sql.quote, units))
    chosen = f"arrayFirstIndex(u -> lower(u) = lower({unit.sql}), [{names}])"

    def text(amount: str) -> str:
        steps = ", ".join(f"abs({amount}) < {1 << 10 * place}., {place}" for place in range(1, len(units)))
        power = f"multiIf({steps}, {len(units)})" if unit.constant == "" else f"if({chosen} = 0, 1, {chosen})"
        kept = f"greatest(least(ifNull({digits}, 0), 15), 0)"
        rounded = f"round({amount} / pow(1024, {power} - 1), {kept})"
        return f"concat(toString({rounded}), ' ', [{names}][{power}])"

    return made("string", f"ifNull({sql.once(size.sql, text)}, '')", *values)
