"""format_datetime and format_timespan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded, coerce, text_constant
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import DAY, Value, made, ticks_of

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

NAMED_AFTER_ARGUMENT.update(("format_datetime", "format_timespan"))

_NATIVE = {
    "yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "hh": "%I", "mm": "%i",
    "ss": "%S", "tt": "%p",
}  # fmt: skip
"""Parts that ClickHouse's formatDateTime writes."""
_NUMBERS = {
    "y": "toYear({0}) % 100",
    "M": "toMonth({0})",
    "d": "toDayOfMonth({0})",
    "H": "toHour({0})",
    "h": "(toHour({0}) + 11) % 12 + 1",
    "m": "toMinute({0})",
    "s": "toSecond({0})",
}
"""Parts without leading zeros."""
_SPANS = {"d": (DAY, 0), "h": (36_000_000_000, 24), "m": (600_000_000, 60), "s": (10_000_000, 60)}
"""Parts of a timespan: what one is in ticks, and how many make the next greater one."""
_PARTS = "yMdHhmsfFt"


def _runs(form: str) -> Iterator[str]:
    """The pieces of a format: runs of the same letter, and what stands between them."""
    for letter, run in groupby(form):
        text = "".join(run)
        yield from [text] if letter in _PARTS else list(text)


def _fraction(ticks: str, run: str) -> str:
    """SQL of so many digits of a second's fraction; without zeros at the end for ``F``."""
    digits = f"substring(leftPad(toString(positiveModulo({ticks}, 10000000)), 7, '0'), 1, {len(run)})"
    return digits if run[0] == "f" else f"trim(TRAILING '0' FROM {digits})"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"concat({', '.join(parts)})"


def _format(binder: Binder, call: Call, kind: str) -> tuple[Value, str]:
    value, form = bound(binder, call, 2)
    text = text_constant(form, call, "the format")
    if not text:
        raise KqlError(f"{call.name}(): the format is empty.", call.at, "SEM0240")
    return coerce(value, kind, call, 0), text


@coded("format_datetime")
def format_datetime(binder: Binder, call: Call, args: list[Value]) -> Value:
    date, form = _format(binder, call, "datetime")
    parts: list[str] = []
    native = ""
    for run in _runs(form):
        if run in _NATIVE or run[0] not in _PARTS:
            native += _NATIVE.get(run) or run.replace("%", "%%")
            continue
        if native:
            parts.append(f"formatDateTime({date.sql}, {sql.quote(native)})")
            native = ""
        parts.append(_date_part(date, run, call))
    if native:
        parts.append(f"formatDateTime({date.sql}, {sql.quote(native)})")
    return made("string", f"ifNull({_joined(parts)}, '')", date)


def _date_part(date: Value, run: str, call: Call) -> str:
    if run[0] in "fF" and len(run) <= 7:
        return _fraction(ticks_of(date.sql), run)
    if run in _NUMBERS:
        return f"toString({_NUMBERS[run].format(date.sql)})"
    raise KqlError(f"{call.name}(): '{run}' is no part of a format.", call.at, "SEM0240")


@coded("format_timespan")
def format_timespan(binder: Binder, call: Call, args: list[Value]) -> Value:
    """Without the sign of the timespan."""
    span, form = _format(binder, call, "timespan")
    ticks = f"abs({span.sql})"
    parts: list[str] = []
    for run in _runs(form):
        letter = run[0].lower() if run[0] == "H" else run[0]
        if letter in _SPANS and len(run) <= (8 if letter == "d" else 2):
            size, modulus = _SPANS[letter]
            number = f"intDiv({ticks}, {size})" + (f" % {modulus}" if modulus else "")
            text = f"toString({number})"
            parts.append(
                text if len(run) == 1 else f"leftPad({text}, greatest({len(run)}, length({text})), '0')"
            )
        elif letter in "fF" and len(run) <= 7:
            parts.append(_fraction(ticks, run))
        elif letter in _PARTS:
            raise KqlError(f"{call.name}(): '{run}' is no part of a format.", call.at, "SEM0240")
        else:
            parts.append(sql.quote(run))
    return made("string", f"ifNull({_joined(parts)}, '')", span)
