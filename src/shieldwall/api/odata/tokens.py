"""Cuts the text of a ``$filter`` into tokens, as loosely as the clients that write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from shieldwall.api.odata.errors import odata_error

TEXT_LIMIT = 16_384
"""Characters of one expression."""


class Kind(Enum):
    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    TIME = "time"
    GUID = "guid"
    MARK = "mark"
    END = "end"


@dataclass(frozen=True)
class Token:
    """One token: a string's text is without its quotes; ``position`` counts characters from the start."""

    kind: Kind
    text: str
    position: int


# A plus sign that arrives here is a blank that was encoded twice, or belongs to a time's offset, whose own
# plus sign may in turn have become a blank.
_TOKEN = re.compile(
    r"""(?P<blank>[\s+]+)
    |(?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})
    |(?P<time>\d{4}-\d\d-\d\d(?:[Tt]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?(?:[Zz]|[-+\ ]\d\d:\d\d)?)
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    |(?P<string>'(?:[^']|'')*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_.]*)
    |(?P<mark>[(),:/\[\]])""",
    re.VERBOSE | re.ASCII,
)


def tokenize(text: str) -> Iterator[Token]:
    """The tokens of ``text`` and one END; ApiError ``ODataError`` names the place that is not one."""
    if len(text) > TEXT_LIMIT:
        raise odata_error(f"The expression is longer than {TEXT_LIMIT} characters.")
    if "\x00" in text:
        raise odata_error("The expression contains a NUL character.")
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            what = "an unterminated string" if text[position] == "'" else repr(text[position])
            raise odata_error(f"Syntax error at position {position} of the expression: {what}.")
        kind, value = str(found.lastgroup), found.group()
        if kind == "string":
            value = value[1:-1].replace("''", "'")
        if kind != "blank":
            yield Token(Kind(kind), value, position)
        position = found.end()
    yield Token(Kind.END, "", position)
