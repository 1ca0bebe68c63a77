"""Literals written as ``type(text)``, and dynamic ones."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.lexer import TICKS, duration, tokenize, unquote
from shieldwall.kql.syntax import Literal
from shieldwall.kql.types import TYPE_NAMES

if TYPE_CHECKING:
    from shieldwall.kql.syntax_expressions import ExpressionReader

LITERAL_TYPES = frozenset(name for name in TYPE_NAMES if name not in ("string", "dynamic"))

_DAY = TICKS["d"]
_CLOCK = re.compile(r"(-)?(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7})\d*)?)?")
_ISO = re.compile(
    r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?(?:[T ]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:[.,](\d+))?)?)?)?"
    r"\s*(Z|[+-]\d{2}:?\d{2})?"
)
_DAYS = (
    "%m/%d/%Y", "%Y/%m/%d", "%m-%d-%Y", "%d %b %Y", "%d %b %y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y",
    "%b %d, %Y", "%B %d, %Y", "%Y%m%d",
)  # fmt: skip
_TIMES = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_OTHER_DATES = (*(day + time for day in _DAYS for time in _TIMES), "%a %b %d %H:%M:%S %Y")
_AROUND = re.compile(r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*, ?|\s+(?:gmt|utc)$", re.IGNORECASE)
"""What may stand around a date without changing it."""


def parse_literal(parser: ExpressionReader) -> Literal:
    """``datetime(2024-01-01)``, ``long(5)``, ``guid(...)`` and the like; the name comes next."""
    name = parser.advance()
    inside = _inside(parser)
    kind = TYPE_NAMES[name.text]
    text = inside.strip()
    if text[:1] in ("'", '"', "@"):
        text = unquote(text)
    if text == "null" or (text == "" and kind == "datetime"):
        return Literal(name.start, kind, None)
    value = parse_text(kind, text)
    if value is None and text != inside.strip():
        # A quoted text that is no such value is a null, as the conversion of that text would be.
        return Literal(name.start, kind, None)
    if value is None:
        raise KqlSyntaxError(f"'{text[:60]}' is not a {kind}.", name.start)
    return Literal(name.start, kind, value)


def _inside(parser: ExpressionReader) -> str:
    """The text between the parentheses that come next."""
    opened = parser.expect("(")
    depth = 1
    while depth:
        if parser.token.kind == "end":
            raise parser.unexpected("')'")
        if parser.token.text == "(":
            depth += 1
        elif parser.token.text == ")":
            depth -= 1
        last = parser.advance()
    return parser.text[opened.end : last.start]


def parse_text(kind: str, text: str) -> Any:
    """The value that ``text`` stands for in a literal of ``kind``; None if it stands for none."""
    try:
        if kind == "bool":
            return {"true": True, "false": False, "1": True, "0": False}.get(text.lower())
        if kind in ("int", "long"):
            return int(text, 16) if text[:2].lower() == "0x" else int(text.replace("- ", "-"))
        if kind == "real":
            return _real(text)
        if kind == "decimal":
            return str(text)
        if kind == "timespan":
            return parse_timespan(text)
        if kind == "datetime":
            return parse_datetime(text)
        if kind == "guid":
            bare = text.strip("{}").replace("-", "").lower()
            return (
                f"{bare[:8]}-{bare[8:12]}-{bare[12:16]}-{bare[16:20]}-{bare[20:]}"
                if re.fullmatch("[0-9a-f]{32}", bare)
                else None
            )
    except (ValueError, OverflowError):
        return None
    return None


def _real(text: str) -> float:
    lowered = text.lower()
    if lowered in ("+inf", "inf"):
        return math.inf
    if lowered == "-inf":
        return -math.inf
    return float(text)


def parse_timespan(text: str) -> int | None:
    """Ticks of ``1.02:03:04.5``, ``2d``, ``0.5`` (days) and the like."""
    text = text.strip()
    if found := _CLOCK.fullmatch(text):
        sign, days, hours, minutes, seconds, fraction = found.groups()
        ticks = (
            int(days or 0) * _DAY
            + int(hours) * TICKS["h"]
            + int(minutes) * TICKS["m"]
            + int(seconds or 0) * TICKS["s"]
            + int((fraction or "0").ljust(7, "0"))
        )
        return -ticks if sign else ticks
    negative = text.startswith("-")
    try:
        tokens = tokenize(text.lstrip("-").strip())
    except KqlSyntaxError:
        return None
    if len(tokens) == 3 and tokens[0].kind == "number" and tokens[1].kind == "name":
        tokens = tokenize(tokens[0].text + tokens[1].text)
    if len(tokens) != 2:
        return None
    if tokens[0].kind == "timespan":
        ticks = duration(tokens[0].text)
    elif tokens[0].kind == "number":
        ticks = round(float(tokens[0].text) * _DAY)
    else:
        return None
    return -ticks if negative else ticks


def parse_datetime(text: str) -> str | None:
    """``YYYY-MM-DD hh:mm:ss.fffffff`` in UTC; None if the text is no time."""
    text = _AROUND.sub("", text.strip())
    found = _ISO.fullmatch(text)
    if found is None:
        if re.fullmatch(r"\d{4}", text):
            return f"{text}-01-01 00:00:00.0000000"
        if re.fullmatch(r"\d{4}( *, *\d{1,2}){1,2}", text):
            return parse_datetime(re.sub(" *, *", "-", text))
        for form in _OTHER_DATES:
            try:
                return datetime.strptime(text, form).strftime("%Y-%m-%d %H:%M:%S.0000000").rjust(27, "0")
            except ValueError:
                continue
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    digits = (fraction or "").ljust(7, "0")[:7]
    moment = datetime(
        int(year) or 1, int(month), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0)
    )
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment = moment - offset if zone[0] == "+" else moment + offset
    return moment.isoformat(" ", "seconds") + "." + digits


def parse_dynamic(parser: ExpressionReader) -> Literal:
    """``dynamic(...)``: JSON, with Kusto's own strings and typed literals in it."""
    at = parser.advance().start
    parser.expect("(")
    value = _json(parser)
    parser.expect(")")
    if value is None:
        return Literal(at, "dynamic", None)
    return Literal(at, "dynamic", json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _json(parser: ExpressionReader) -> Any:
    token = parser.token
    if token.kind == "string":
        value = ""
        while parser.token.kind == "string":
            value += unquote(parser.advance().text)
        return value
    if parser.accept("["):
        items = []
        while not parser.at("]"):
            items.append(_json(parser))
            if not parser.accept(","):
                break
        parser.expect("]")
        return items
    if parser.accept("{"):
        bag: dict[str, Any] = {}
        while not parser.at("}"):
            key = parser.advance()
            parser.expect(":")
            bag[unquote(key.text) if key.kind == "string" else key.text] = _json(parser)
            if not parser.accept(","):
                break
        parser.expect("}")
        return bag
    if parser.accept("null"):
        return None
    if token.kind == "name" and token.text == "dynamic" and parser.peek().text == "(":
        return json.loads(value) if (value := parse_dynamic(parser).value) is not None else None
    if token.kind == "name" and token.text in LITERAL_TYPES and parser.peek().text == "(":
        return json_value(parse_literal(parser))
    negative = parser.accept("-", "+")
    found = parser._primary()
    if not isinstance(found, Literal):
        raise KqlSyntaxError("A dynamic literal holds only literals.", token.start)
    value = json_value(found)
    if negative and not isinstance(value, int | float):
        raise KqlSyntaxError("Only a number has a sign.", token.start)
    return -value if negative and negative.text == "-" else value


def json_value(literal: Literal) -> Any:
    """How a literal stands in JSON."""
    if literal.type == "timespan" and literal.value is not None:
        return timespan_text(literal.value)
    if literal.type == "datetime" and literal.value is not None:
        return literal.value.replace(" ", "T") + "Z"
    if isinstance(literal.value, float) and not math.isfinite(literal.value):
        # JSON has no such numbers: they are texts wherever a dynamic holds them.
        return "NaN" if math.isnan(literal.value) else ("Infinity" if literal.value > 0 else "-Infinity")
    return literal.value


def timespan_text(ticks: int) -> str:
    """``[-][d.]hh:mm:ss[.fffffff]``"""
    sign, ticks = ("-", -ticks) if ticks < 0 else ("", ticks)
    days, rest = divmod(ticks, _DAY)
    seconds, fraction = divmod(rest, TICKS["s"])
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{sign}{f'{days}.' if days else ''}{text}{f'.{fraction:07}' if fraction else ''}"
