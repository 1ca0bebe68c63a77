"""Functions over regular expressions: extract, replace, trim, find."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound, expect
from shieldwall.kql.functions.registry import coded, coerce, number_constant, text_constant
from shieldwall.kql.functions.shapes import strings
from shieldwall.kql.patterns import Pattern, compiled, escaped
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, convert, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_REFERENCE = re.compile(r"\\(.?)", re.DOTALL)


def _regex(value: Value, call: Call, what: str = "the regular expression") -> Pattern:
    """A constant regular expression."""
    return compiled(text_constant(value, call, what), call.at)


@coded("extract")
def extract(binder: Binder, call: Call, _: list[Value]) -> Value:
    """What a group of the first match matched, 0 being the whole, as text or as the type asked for."""
    expect(call, 3, 4)
    regex, group, source = (binder.bind(arg) for arg in call.args[:3])
    found = _regex(regex, call)
    number = number_constant(group, call, "the group")
    text = coerce(source, "string", call, 2)
    kind = binder.type_of(call.args[3]) if len(call.args) > 3 else "string"
    if not 0 <= number <= found.groups:
        return constant(kind, "" if kind == "string" else None)
    part = made("string", f"regexpExtract({text.sql}, {sql.quote(found.text)}, {number})", text)
    return convert(part, kind, call.at)


@coded("extract_all", "extractall")
def extract_all(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All matches: an array of texts for one group, of arrays for several; null if there is none."""
    regex, *chosen, source = bound(binder, call, 2, 3)
    found = _regex(regex, call)
    text = coerce(source, "string", call, len(chosen) + 1)
    if not 1 <= found.groups <= 16:
        raise KqlError(
            f"{call.name}(): the regular expression needs from 1 to 16 groups.", call.at, "SEM0240"
        )
    groups = _chosen_groups(chosen[0], found, call) if chosen else list(range(1, found.groups + 1))
    quoted = sql.quote(found.text)
    if len(groups) == 1 and groups[0] == 1:
        array = f"extractAll({text.sql}, {quoted})"
        return strings(array, text, null=f"empty({array})")
    matches = f"extractAllGroupsVertical({text.sql}, {quoted})"
    if len(groups) == 1:
        array = f"arrayMap(g -> g[{groups[0]}], {matches})"
        return strings(array, text, null=f"empty({array})")
    if chosen:
        matches = f"arrayMap(g -> [{', '.join(f'g[{group}]' for group in groups)}], {matches})"
    return made("dynamic", f"if(empty({matches}), '', toJSONString({matches}))", text)


def _chosen_groups(value: Value, found: Pattern, call: Call) -> list[int]:
    chosen = json.loads(value.constant) if value.type == "dynamic" and value.constant else None
    if not isinstance(chosen, list) or not chosen:
        raise KqlError(f"{call.name}(): the groups must be a constant array.", call.at, "SEM0240")
    groups: list[int] = []
    for item in chosen:
        number = found.names.get(item, 0) if isinstance(item, str) else item
        if not isinstance(number, int) or not 1 <= number <= found.groups:
            raise KqlError(f"{call.name}(): there is no group '{item}'.", call.at, "SEM0240")
        groups.append(number)
    return groups


@coded("replace_regex")
def replace_regex(binder: Binder, call: Call, _: list[Value]) -> Value:
    source, regex, rewrite = bound(binder, call, 3)
    return _replaced(call, source, regex, rewrite)


@coded("replace")
def replace(binder: Binder, call: Call, _: list[Value]) -> Value:
    regex, rewrite, source = bound(binder, call, 3)
    return _replaced(call, source, regex, rewrite)


def _replaced(call: Call, source: Value, regex: Value, rewrite: Value) -> Value:
    """A text with all matches replaced; ``\\1`` stands for a group in the rewrite, ``\\0`` for the whole."""
    text = coerce(source, "string", call, 0)
    found = _regex(regex, call)
    new = _rewrite(text_constant(rewrite, call, "the rewrite"), found.groups)
    return made("string", f"replaceRegexpAll({text.sql}, {sql.quote(found.text)}, {sql.quote(new)})", text)


def _rewrite(text: str, groups: int) -> str:
    """A rewrite as ClickHouse takes it: groups that are not there are empty, other backslashes stay."""

    def part(found: re.Match[str]) -> str:
        char = found[1]
        if char.isdecimal() and char.isascii():
            return f"\\{char}" if int(char) <= groups else ""
        return "\\\\" + ("" if char == "\\" else char)

    return _REFERENCE.sub(part, text)


@coded("trim", "trim_start", "trim_end")
def trim(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A text without the match at its ends."""
    regex, source = bound(binder, call, 2)
    text = coerce(source, "string", call, 1)
    found = _regex(regex, call).text
    trimmed = text.sql
    if call.name != "trim_end":
        trimmed = f"replaceRegexpOne({trimmed}, {sql.quote(f'^(?:{found})')}, '')"
    if call.name != "trim_start":
        trimmed = f"replaceRegexpOne({trimmed}, {sql.quote(f'(?:{found})$')}, '')"
    return made("string", trimmed, text)


@coded("indexof_regex")
def indexof_regex(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The place, from 0, of the first or a later match in a part of the text; -1 if there is none."""
    values = bound(binder, call, 2, 5)
    text = coerce(values[0], "string", call, 0)
    regex = _regex(values[1], call).text
    found, grouped = sql.quote(regex), sql.quote(f"({regex})")
    numbers = [coerce(value, "long", call, place + 2) for place, value in enumerate(values[2:])]
    start, length, wanted = (*numbers, *(constant("long", number) for number in (0, -1, 1)[len(numbers) :]))
    if not isinstance(wanted.constant, int):
        raise KqlError("indexof_regex(): the occurrence must be a constant.", call.at, "SEM0240")
    if wanted.constant < 0:
        return Value("long", sql.null("long"), text.deps)
    number = max(wanted.constant, 1)
    part = text.sql
    if start.constant != 0 or length.constant != -1:
        whole = f"if({length.sql} < 0, lengthUTF8({text.sql}), {length.sql})"
        part = f"ifNull(substringUTF8({text.sql}, greatest({start.sql}, 0) + 1, {whole}), '')"

    def place(within: str) -> str:
        matches = f"extractAll({within}, {grouped})"
        before = f"arraySlice(splitByRegexp({found}, {within}), 1, {number})"
        between = f"arraySlice({matches}, 1, {number - 1})" if number > 1 else "[]"
        parts = f"arrayStringConcat(arrayConcat({before}, {between}))"
        return f"if(length({matches}) < {number}, -1, {start.sql} + toInt64(lengthUTF8({parts})))"

    searched = sql.once(part, place)
    valid = f"{start.sql} >= 0 AND {length.sql} >= -1"
    return made("long", f"if({valid}, {searched}, NULL)" if numbers else searched, text, *numbers)


@coded("regex_quote")
def regex_quote(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A regular expression that matches just this text."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    if isinstance(text.constant, str):
        return constant("string", escaped(text.constant))
    special, quoted = sql.quote(r"([\\.+*?()|\[\]{}^$#&~-])"), sql.quote(r"\\\1")
    return made("string", f"replaceRegexpAll({text.sql}, {special}, {quoted})", text)
