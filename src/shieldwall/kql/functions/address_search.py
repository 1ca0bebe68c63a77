"""Searching text for IPv4 addresses, or for addresses that begin with a prefix such as ``10.1.``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.functions.addresses import V4
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.operations import term_condition
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_PREFIX = re.compile(rf"(?:{_OCTET}\.){{1,3}}")
_BEFORE = "(?:^|[^a-zA-Z0-9])"
_AFTER = "(?:$|[^a-zA-Z0-9])"
Condition = Callable[[Value, Value], str]


@coded("has_ipv4", "has_any_ipv4")
def has_ipv4(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether one of the addresses stands in the text, with no letter or digit at its ends."""
    return _searched(binder, call, _has_address)


@coded("has_ipv4_prefix", "has_any_ipv4_prefix")
def has_ipv4_prefix(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether an address that begins with one of the prefixes stands in the text."""
    return _searched(binder, call, _has_prefix)


def _searched(binder: Binder, call: Call, condition: Condition) -> Value:
    several = call.name.startswith("has_any")
    first, *needles = bound(binder, call, 2, 10_000 if several else 2)
    subject = coerce(first, "string", call, 0)
    subject.indexed = first.indexed
    parts: list[str] = []
    for needle in needles:
        if several and needle.type == "dynamic":
            parts += _in_array(subject, needle, condition)
        else:
            parts.append(condition(subject, coerce(needle, "string", call, 1)))
    known = [part for part in parts if part != "false"]
    return made("bool", f"({' OR '.join(known) or 'false'})", subject, *needles)


def _in_array(subject: Value, needles: Value, condition: Condition) -> list[str]:
    if needles.is_constant:
        held = json.loads(needles.constant or "[]")
        texts = held if isinstance(held, list) else [held]
        return [condition(subject, constant("string", text)) for text in texts if isinstance(text, str)]
    each = condition(subject, Value("string", "x"))
    return [f"arrayExists(x -> {each}, JSONExtract({needles.sql}, 'Array(String)'))"]


def _has_address(subject: Value, needle: Value) -> str:
    if isinstance(needle.constant, str):
        if "/" in needle.constant or V4.constant(needle.constant) is None:
            return "false"
        return term_condition(subject, needle, fold=False)
    return f"(isIPv4String({needle.sql}) AND {term_condition(subject, needle, fold=False)})"


def _has_prefix(subject: Value, needle: Value) -> str:
    prefix = needle.constant
    if not isinstance(prefix, str):
        return _has_computed_prefix(subject, needle)
    if not _PREFIX.fullmatch(prefix):
        return _has_address(subject, needle)
    rest = rf"{_OCTET}(?:\.{_OCTET}){{{3 - prefix.count('.')}}}"
    pattern = sql.quote(_BEFORE + prefix.replace(".", r"\.") + rest + _AFTER)
    found = f"match({subject.sql}, {pattern})"
    # The text index knows rows with the terms of the prefix.
    return f"({term_condition(subject, needle, fold=False)} AND {found})" if subject.indexed else found


def _has_computed_prefix(subject: Value, needle: Value) -> str:
    text = needle.sql
    octet = sql.quote(rf"\.{_OCTET}")
    more = f"repeat({octet}, toUInt8(3 - countSubstrings({text}, '.')))"
    parts = [sql.quote(_BEFORE), f"regexpQuoteMeta({text})", sql.quote(_OCTET), more, sql.quote(_AFTER)]
    prefixed = f"match({subject.sql}, concat({', '.join(parts)}))"
    is_prefix = f"match({text}, {sql.quote(f'^{_PREFIX.pattern}$')})"
    return f"if({is_prefix}, {prefixed}, {_has_address(subject, needle)})"
