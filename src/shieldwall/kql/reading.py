"""Values read from text, as ``todatetime`` and its like read them: in SQL, and constants in Python."""

from __future__ import annotations

import re
from typing import Any

from shieldwall.kql import sql
from shieldwall.kql.literals import parse_text

BOUNDS = {"int": 1 << 31, "long": 1 << 63}
"""Below which whole numbers of a type lie, and not below its negative."""

_WHOLE = re.compile(r"\s*([+-]?\d+)\s*")
_HEX = re.compile(r"\s*0[xX]([0-9a-fA-F]{1,16})\s*")
_REAL = re.compile(r"\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf|infinity)\s*", re.IGNORECASE)
_BOOLS = {"true": True, "1": True, "false": False, "0": False}

_ISO = sql.quote(
    r"^\s*(\d{4}|\d{8}|\d{4}-\d\d?(-\d\d?([T ]+([01]?\d|2[0-3])(:[0-5]?\d(:[0-5]?\d(\.\d+)?)?)?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?)\s*$"
)
_WORDS = sql.quote(r"[A-Za-z]{3}|/|^\s*\d{1,2}-")
_SHORT_YEAR = sql.quote(r"^(?:[A-Za-z]+, ?)?(\d{1,2})[ -]([A-Za-z]{3})[ -](\d{2}) ")
_LONG_YEAR = sql.quote(r"\1 \2 20\3 ")
_CLOCK = sql.quote(r"^\s*(-)?(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7})\d*)?)?\s*$")
_SPAN = sql.quote(r"^\s*(-?[0-9.]+)\s*(d|h|m|s|ms|tick)?\s*$")


def from_text(kind: str, text: str) -> str:
    """SQL that reads a value of ``kind`` from SQL of text; NULL when it is none."""
    if kind == "bool":
        return (
            f"multiIf(lower({text}) IN ('true', '1'), true, lower({text}) IN ('false', '0'), false, "
            f"toInt64OrNull(trimBoth({text})) != 0)"
        )
    if kind in ("int", "long"):
        to = "toInt32" if kind == "int" else "toInt64"
        number = f"reinterpretAsInt64(reverse(unhex(substring(trimBoth({text}), 3))))"
        if kind == "int":
            number = f"accurateCastOrNull({number}, 'Int32')"
        hexadecimal = f"if(match({text}, '^\\\\s*0[xX][0-9a-fA-F]{{1,16}}\\\\s*$'), {number}, NULL)"
        return f"coalesce({to}OrNull(trimBoth({text})), {hexadecimal})"
    if kind == "real":
        return f"toFloat64OrNull(trimBoth({text}))"
    if kind == "decimal":
        return f"toDecimal128OrNull(trimBoth({text}), 17)"
    if kind == "guid":
        return f"toUUIDOrNull(replaceAll(trim(BOTH ' {{}}()' FROM {text}), '-', ''))"
    if kind == "datetime":
        return _datetime(text)
    return _timespan(text)


def _datetime(text: str) -> str:
    """ISO 8601 goes the fast way. In dates with slashes the month comes first."""
    named = f"replaceRegexpOne({text}, {_SHORT_YEAR}, {_LONG_YEAR})"
    return (
        f"multiIf(match({text}, {_ISO}), parseDateTime64BestEffortOrNull({text}, 7, 'UTC'), "
        f"match({text}, {_WORDS}), parseDateTime64BestEffortUSOrNull({named}, 7, 'UTC'), NULL)"
    )


def _timespan(text: str) -> str:
    """``[-][d.]hh:mm[:ss[.fffffff]]``, ``5d`` and the like, or a number of days."""
    clock = (
        "if(empty(g), NULL, if(g[1] = '-', -1, 1) * (toInt64OrZero(g[2]) * 864000000000 + "
        "toInt64OrZero(g[3]) * 36000000000 + toInt64OrZero(g[4]) * 600000000 + "
        "toInt64OrZero(g[5]) * 10000000 + toInt64OrZero(rightPad(g[6], 7, '0'))))"
    )
    unit = (
        "transform(g[2], ['d', 'h', 'm', 's', 'ms', 'tick'], "
        "[864000000000, 36000000000, 600000000, 10000000, 10000, 1], 864000000000)"
    )
    short = f"accurateCastOrNull(round(toFloat64OrNull(g[1]) * {unit}), 'Int64')"
    return (
        f"coalesce(arrayMap(g -> {clock}, [extractGroups({text}, {_CLOCK})])[1], "
        f"arrayMap(g -> {short}, [extractGroups({text}, {_SPAN})])[1])"
    )


def constant_from_text(kind: str, text: str) -> Any:
    """The constant of ``kind`` that a text stands for; None if it stands for none."""
    if kind == "bool":
        if (found := _BOOLS.get(text.lower())) is None and (match := _WHOLE.fullmatch(text)):
            return int(match[1]) != 0
        return found
    if kind in BOUNDS:
        if match := _WHOLE.fullmatch(text):
            return bounded(kind, int(match[1]))
        if match := _HEX.fullmatch(text):
            number = int(match[1], 16)
            return bounded(kind, number - (1 << 64) if number >= 1 << 63 else number)
        return None
    if kind in ("real", "decimal"):
        if _REAL.fullmatch(text) is None:
            return None
        return float(text) if kind == "real" else text.strip()
    if kind == "guid":
        text = text.strip(" {}()").replace("-", "")
    return parse_text(kind, text)


def bounded(kind: str, number: int) -> int | None:
    """A whole number, if it is one of ``kind``."""
    return number if -BOUNDS[kind] <= number < BOUNDS[kind] else None
