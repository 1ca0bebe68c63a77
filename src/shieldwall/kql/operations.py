"""Comparison and the string operators, with Kusto's types and nulls."""

from __future__ import annotations

import re
from typing import Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.patterns import pattern
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import UNKNOWN, Value, constant, convert, made, to_string

MAX_PATTERN = 250
"""Needles in one multi-search of ClickHouse, which takes up to 255."""
_TERM = re.compile(r"[A-Za-z0-9]+")
_EDGE = r"[\x00-/:-@\[-`{-\x7f]"
"""What parts terms: every ASCII character but letters and digits, as for the index."""


def _comparable(left: Value, right: Value, at: int, *, exact: bool = False) -> tuple[Value, Value]:
    """Both of one type; ``exact`` for equality."""
    a, b = left.type, right.type
    if a == b:
        return (to_string(left), to_string(right)) if a == "dynamic" else (left, right)
    if a in NUMERIC and b in NUMERIC:
        return left, right
    if a == "dynamic":
        return _dynamic_as(left, b, at, exact=exact), right
    if b == "dynamic":
        return left, _dynamic_as(right, a, at, exact=exact)
    if left.is_null:
        return constant(b, None), right
    if right.is_null:
        return left, constant(a, None)
    if a == "string" or b == "string":
        text, other = (left, right) if a == "string" else (right, left)
        if text.is_constant and other.type != "bool":
            text = convert(text, other.type, at)
            return (text, other) if a == "string" else (other, text)
        return to_string(left), to_string(right)
    if {a, b} <= {*NUMERIC, "bool"}:
        return (convert(left, "long"), right) if a == "bool" else (left, convert(right, "long"))
    if "timespan" in (a, b) and (a in NUMERIC or b in NUMERIC):
        return convert(left, "timespan"), convert(right, "timespan")
    raise KqlError(f"A {a} and a {b} cannot be compared; convert one of them.", at, "SEM0064")


def _dynamic_as(value: Value, kind: str, at: int, *, exact: bool) -> Value:
    """A dynamic for comparing with a value of ``kind``. Beside whole numbers it keeps its fraction."""
    if kind not in ("int", "long"):
        return convert(value, kind, at)
    if exact and not value.is_constant:
        # Reals beyond 2^53 are equal where whole numbers are not; a fraction is equal to none.
        text = to_string(value).sql
        fraction = f"if(match({text}, '^-?[0-9]+[.]0+$'), toInt64OrNull(splitByChar('.', {text})[1]), NULL)"
        return made("long", f"ifNull(toInt64OrNull({text}), {fraction})", value)
    return convert(value, "real", at)


def compare(op: str, left: Value, right: Value, at: int) -> Value:
    left, right = _comparable(left, right, at)
    return made("bool", f"({left.sql} {op} {right.sql})", left, right)


def equal(op: str, left: Value, right: Value, at: int) -> Value:
    """Equality; of a value and null it is false, and inequality is true."""
    indexed = left.indexed
    left, right = _comparable(left, right, at, exact=True)
    if op == "==" and indexed and isinstance(right.constant, str):
        return made("bool", f"({_prefilter(left, right.constant)}{left.sql} = {right.sql})", left, right)
    sign, unequal = ("=", "false") if op == "==" else ("!=", "true")
    plain = f"({left.sql} {sign} {right.sql})"
    constants = [value for value in (left, right) if value.is_constant and not value.is_null]
    if left.type in ("string", "dynamic") or len(constants) == 2:
        return made("bool", plain, left, right)
    known = f"ifNull({plain}, {unequal})"
    if constants:
        return made("bool", known, left, right, where=plain if op == "==" else "")
    exact = f"if(isNull({left.sql}) AND isNull({right.sql}), NULL, {known})"
    return made("bool", exact, left, right, where=plain if op == "==" else "")


def negate(value: Value) -> Value:
    return made("bool", f"(NOT {value.sql})", value)


def _prefilter(value: Value, text: str) -> str:
    """A condition on the text index that rows with all terms of ``text`` fulfil, and AND; or nothing."""
    if not value.indexed or not text.isascii():
        return ""
    terms = dict.fromkeys(term.lower() for term in _TERM.findall(text))
    return f"hasAllTokens(lower({value.sql}), [{', '.join(map(sql.quote, terms))}]) AND " if terms else ""


def string_operation(op: str, left: Value, right: Value, at: int) -> Value:
    """``has``, ``contains``, ``=~`` and the like; a name with ``!`` in front is the opposite."""
    negated = (op[0] == "!" and op != "!~") or op.startswith("not")
    base = {"!~": "=~", "notcontains": "contains", "notlike": "like"}.get(op, op.removeprefix("!"))
    subject = to_string(left)
    subject.indexed = left.indexed
    needle = to_string(right)
    if base == "matches regex":
        found = f"match({subject.sql}, {pattern(needle, at)})"
    else:
        found = _OPERATIONS[base](subject, needle)
    value = made("bool", found, left, right)
    if base == "contains" and needle.constant and found == _search(subject, needle):
        value.held = (subject.sql, needle.sql)
    return negate(value) if negated or op == "!~" else value


def searched_together(values: list[Value]) -> list[Value]:
    """Of values joined by ``or``, those that look for texts in one that is computed do so together: each by
    itself would compute it again."""
    groups: dict[str, list[Value]] = {}
    found: list[Value | list[Value]] = []
    for value in values:
        subject = value.held[0]
        if "(" not in subject:
            found.append(value)
            continue
        group = groups.get(subject)
        if group is None or len(group) == MAX_PATTERN:
            group = groups[subject] = []
            found.append(group)
        group.append(value)
    return [item if isinstance(item, Value) else _any_held(item) for item in found]


def _any_held(values: list[Value]) -> Value:
    if len(values) == 1:
        return values[0]
    needles = ", ".join(dict.fromkeys(value.held[1] for value in values))
    return made("bool", f"multiSearchAnyCaseInsensitive({values[0].held[0]}, [{needles}])", *values)


def _folded(value: Value) -> str:
    if isinstance(value.constant, str):
        return sql.quote(value.constant.lower())
    return f"lower({value.sql})" if not isinstance(value.constant, str) else value.sql


def _equal_fold(subject: Value, needle: Value) -> str:
    text = needle.constant
    if isinstance(text, str):
        lower = "lowerUTF8" if not text.isascii() else "lower"
        return f"({_prefilter(subject, text)}{lower}({subject.sql}) = {sql.quote(text.lower())})"
    return f"(lowerUTF8({subject.sql}) = lowerUTF8({needle.sql}))"


def _contains(subject: Value, needle: Value) -> str:
    text = needle.constant
    if isinstance(text, str) and text.isascii():
        guard = _prefilter(subject, _inner_terms(text, before=False, after=False))
        return f"({guard}{_search(subject, needle)})" if guard else _search(subject, needle)
    return f"(positionCaseInsensitiveUTF8({subject.sql}, {needle.sql}) > 0)"


def _search(subject: Value, needle: Value) -> str:
    return f"(positionCaseInsensitive({subject.sql}, {needle.sql}) > 0)"


def _contains_cs(subject: Value, needle: Value) -> str:
    return f"(position({subject.sql}, {needle.sql}) > 0)"


def _has(subject: Value, needle: Value) -> str:
    return term_condition(subject, needle, fold=True)


def _has_cs(subject: Value, needle: Value) -> str:
    return term_condition(subject, needle, fold=False)


def term_condition(
    subject: Value, needle: Value, *, fold: bool, before: bool = True, after: bool = True
) -> str:
    """That the needle stands in the subject with no letter or digit before it and after it."""
    text = needle.constant
    flag = "(?i)" if fold else ""
    if not isinstance(text, str):
        inner = f"regexpQuoteMeta({needle.sql})"
        edge = sql.quote(f"(?:^|{_EDGE})"), sql.quote(f"(?:$|{_EDGE})")
        start = f"if(match({needle.sql}, '^[a-zA-Z0-9]'), {edge[0]}, '')" if before else "''"
        end = f"if(match({needle.sql}, '[a-zA-Z0-9]$'), {edge[1]}, '')" if after else "''"
        return f"match({subject.sql}, concat('{flag}', {start}, {inner}, {end}))"
    if not text:
        return "true"
    whole = before and after and _TERM.fullmatch(text) is not None
    if whole and subject.indexed:
        condition = f"hasAllTokens(lower({subject.sql}), [{sql.quote(text.lower())}])"
        return condition if fold else f"({condition} AND hasToken({subject.sql}, {sql.quote(text)}))"
    if whole:
        return f"hasToken{'CaseInsensitive' if fold else ''}({subject.sql}, {sql.quote(text)})"
    pattern = flag + term_pattern(text, before=before, after=after)
    guard = _prefilter(subject, _inner_terms(text, before=before, after=after))
    return f"({guard}match({subject.sql}, {sql.quote(pattern)}))"


def _inner_terms(text: str, *, before: bool, after: bool) -> str:
    """The part of the text whose terms must be whole terms of the subject."""
    if not before:
        text = re.sub(r"^[A-Za-z0-9]+", "", text)
    if not after:
        text = re.sub(r"[A-Za-z0-9]+$", "", text)
    return text


def term_pattern(text: str, *, before: bool = True, after: bool = True) -> str:
    """The regular expression of a text with its edges at edges of terms."""
    start = f"(?:^|{_EDGE})" if before and re.match("[A-Za-z0-9]", text[0]) else ""
    end = f"(?:$|{_EDGE})" if after and re.match("[A-Za-z0-9]", text[-1]) else ""
    return start + quote_pattern(text) + end


def quote_pattern(text: str) -> str:
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def _hasprefix(subject: Value, needle: Value) -> str:
    return term_condition(subject, needle, fold=True, after=False)


def _hasprefix_cs(subject: Value, needle: Value) -> str:
    return term_condition(subject, needle, fold=False, after=False)


def _hassuffix(subject: Value, needle: Value) -> str:
    return term_condition(subject, needle, fold=True, before=False)


def _hassuffix_cs(subject: Value, needle: Value) -> str:
    return term_condition(subject, needle, fold=False, before=False)


def _startswith(subject: Value, needle: Value) -> str:
    if isinstance(needle.constant, str) and needle.constant.isascii():
        guard = _prefilter(subject, _inner_terms(needle.constant, before=True, after=False))
        return f"({guard}startsWithCaseInsensitive({subject.sql}, {needle.sql}))"
    return f"startsWith(lowerUTF8({subject.sql}), lowerUTF8({needle.sql}))"


def _endswith(subject: Value, needle: Value) -> str:
    if isinstance(needle.constant, str) and needle.constant.isascii():
        guard = _prefilter(subject, _inner_terms(needle.constant, before=False, after=True))
        return f"({guard}endsWithCaseInsensitive({subject.sql}, {needle.sql}))"
    return f"endsWith(lowerUTF8({subject.sql}), lowerUTF8({needle.sql}))"


def _like(subject: Value, needle: Value) -> str:
    return f"({subject.sql} ILIKE {needle.sql})"


_OPERATIONS: dict[str, Any] = {
    "=~": _equal_fold,
    "contains": _contains,
    "contains_cs": _contains_cs,
    "has": _has,
    "has_cs": _has_cs,
    "hasprefix": _hasprefix,
    "hasprefix_cs": _hasprefix_cs,
    "hassuffix": _hassuffix,
    "hassuffix_cs": _hassuffix_cs,
    "startswith": _startswith,
    "startswith_cs": lambda subject, needle: f"startsWith({subject.sql}, {needle.sql})",
    "endswith": _endswith,
    "endswith_cs": lambda subject, needle: f"endsWith({subject.sql}, {needle.sql})",
    "like": _like,
    "likecs": lambda subject, needle: f"({subject.sql} LIKE {needle.sql})",
}


def contains_any(op: str, of: Value, items: list[Value], at: int) -> Value:
    """``has_any`` and ``has_all`` over a list."""
    subject = to_string(of)
    subject.indexed = of.indexed
    constants = [item.constant for item in items if item.type != "dynamic" or item.is_constant]
    texts = [text for text in (_text_of(value) for value in constants) if text]
    others = [item for item in items if item.constant is UNKNOWN]
    parts: list[str] = []
    if op == "has_all":
        parts = [term_condition(subject, constant("string", text), fold=True) for text in texts]
    elif texts:
        parts = [_any_term(subject, texts)]
    for item in others:
        if item.type == "dynamic":
            each = "arrayAll" if op == "has_all" else "arrayExists"
            inner = term_condition(subject, Value("string", "x"), fold=True)
            texts_in = f"JSONExtract({item.sql}, 'Array(String)')"
            found = f"{each}(x -> {inner}, {texts_in})"
            if op == "has_any" and not subject.is_constant:
                # One search for all texts goes first; few rows are left to be looked at term by term.
                found = f"(multiSearchAnyCaseInsensitive({subject.sql}, {texts_in}) AND {found})"
            parts.append(found)
        else:
            parts.append(term_condition(subject, to_string(item), fold=True))
    joined = (" AND " if op == "has_all" else " OR ").join(parts) or ("true" if op == "has_all" else "false")
    return made("bool", f"({joined})", of, *items)


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _any_term(subject: Value, texts: list[str]) -> str:
    single = list(dict.fromkeys(text.lower() for text in texts if _TERM.fullmatch(text)))
    complex_ = list(dict.fromkeys(text for text in texts if not _TERM.fullmatch(text)))
    parts: list[str] = []
    if single and subject.indexed:
        parts.append(f"hasAnyTokens(lower({subject.sql}), [{', '.join(map(sql.quote, single))}])")
    elif single:
        complex_ = [*single, *complex_]
    for start in range(0, len(complex_), MAX_PATTERN):
        some = complex_[start : start + MAX_PATTERN]
        patterns = "|".join(term_pattern(text) for text in some)
        condition = f"match({subject.sql}, {sql.quote('(?i)(?:' + patterns + ')')})"
        if len(some) > 1 and all(text.isascii() for text in some):
            needles = ", ".join(sql.quote(text) for text in some)
            condition = f"(multiSearchAnyCaseInsensitive({subject.sql}, [{needles}]) AND {condition})"
        parts.append(condition)
    return " OR ".join(parts)
