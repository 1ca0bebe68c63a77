"""From text to tokens: one regular expression, most frequent kinds first."""

from __future__ import annotations

import re
from typing import NamedTuple

from shieldwall.kql.errors import KqlSyntaxError


class Token(NamedTuple):
    """A piece of the text. ``kind`` is name, string, number, timespan, op or end; ``text`` is as written."""

    kind: str
    text: str
    start: int
    end: int


TICKS = {
    "tick": 1,
    "microsecond": 10,
    "ms": 10_000,
    "s": 10_000_000,
    "m": 600_000_000,
    "h": 36_000_000_000,
    "d": 864_000_000_000,
}
"""Timespan units in ticks of 100 ns, by the name that ``unit`` gives."""

_UNITS = {
    "tick": "ticks?",
    "microsecond": "microseconds?|micros?|us",
    "ms": "milliseconds?|millis?|ms",
    "s": "seconds?|secs?|s",
    "m": "minutes?|mins?|m",
    "h": "hours?|hrs?|h",
    "d": "days?|d",
}
_DURATION = "|".join(_UNITS.values())
_NEGATED = (
    "in~|in|has_any|has_all|has_cs|hasprefix_cs|hassuffix_cs|hasprefix|hassuffix|has|contains_cs|contains|"
    "startswith_cs|startswith|endswith_cs|endswith|between"
)

_PATTERN = re.compile(
    rf"""
    (?P<space>(?:[\s\u200b\ufeff]|//[^\n]*)+)
  | (?P<string>[hH]?(?:
        ```(?:.|\n)*?``` | ~~~(?:.|\n)*?~~~
      | @"(?:[^"]|"")*" | @'(?:[^']|'')*'
      | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' ))
  | (?P<timespan>\d+(?:\.\d+)?(?:{_DURATION})\b)
  | (?P<number>0[xX][0-9a-fA-F]+|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+\.(?![.\w])|\d+(?![A-Za-z_0-9]))
  | (?P<name>(?:in~|[A-Za-z_$][\w$]*|\d+[A-Za-z_]\w*))
  | (?P<op>!(?:{_NEGATED})\b~?|==|!=|<>|<=|>=|=~|!~|=>|\.\.
      |[|,;:.()\[\]{{}}=<>+\-*/%@?!~])
    """,
    re.VERBOSE,
)
MOST_DIGITS = 256
"""Characters of a number; Python refuses to show much longer ones."""
_UNIT = re.compile("|".join(f"(?P<{name}>(?:{pattern})$)" for name, pattern in _UNITS.items()))
_SPLIT = re.compile(r"([\d.]+)([a-z]+)")


def tokenize(text: str) -> list[Token]:
    """All tokens of ``text``, the last of kind end. KqlSyntaxError where none fits."""
    tokens: list[Token] = []
    position, size = 0, len(text)
    match = _PATTERN.match
    while position < size:
        found = match(text, position)
        if found is None:
            kind = (
                "The string is not closed" if text[position] in "\"'`" else "This character is not expected"
            )
            raise KqlSyntaxError(f"{kind}: {text[position : position + 20]!r}.", position)
        end = found.end()
        if end - position > MOST_DIGITS and found.lastgroup in ("number", "timespan"):
            raise KqlSyntaxError(f"A number has at most {MOST_DIGITS} characters.", position)
        if (kind := found.lastgroup or "") != "space":
            tokens.append(Token(kind, found.group(), position, end))
        position = end
    tokens.append(Token("end", "", size, size))
    return tokens


def duration(text: str) -> int:
    """Ticks of a timespan literal such as 1.5h."""
    found = _SPLIT.fullmatch(text)
    assert found
    unit = _UNIT.fullmatch(found[2])
    assert unit
    assert unit.lastgroup
    number, ticks = found[1], TICKS[unit.lastgroup]
    return int(number) * ticks if "." not in number else round(float(number) * ticks)


_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


def _escaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "uUx" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0].isdigit():
        return chr(int(code, 8)) if code[0] < "8" else code
    return _PLAIN.get(code, code)


def unquote(text: str) -> str:
    """The value of a string literal."""
    if text[0] in "hH":
        text = text[1:]
    if text[:3] in ("```", "~~~"):
        return text[3:-3]
    if text[0] == "@":
        quote = text[1]
        return text[2:-1].replace(quote * 2, quote)
    body = text[1:-1]
    return _ESCAPE.sub(_escaped, body) if "\\" in body else body
