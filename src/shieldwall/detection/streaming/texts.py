"""Texts of conditions as they stand in columns, and columns as they are searched for them.

A column is searched in lower case, between two marks, and with a third behind if it has characters beyond
ASCII: with the marks, a text at the start or the end of a column is just a text too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from shieldwall.kql import sql

Form = Literal["equal", "start", "end", "part"]
"""How a text stands in a value: as all of it, at its start or end, or anywhere."""

MARKS = START, END, FOREIGN = "\x02", "\x03", "\x04"
LONGEST = 200
"""More of a text makes it no rarer."""
SPECIAL = ("\u212a", "\u017f", "\u0130", "\u0131")
"""Characters beyond ASCII that count as letters of ASCII where case is folded."""

_PLAIN = re.compile(r"[ -~]*")
_RUN = re.compile(r"[^\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff]+")
_TOO_COMMON = re.compile(r"[A-Za-z0-9 \\/.:,_\"-]?")
_OUTSIDE_STRINGS = frozenset("truefalsn0123456789+-.{}[],: ")
"""What JSON has outside of strings, in lower case."""
_CHOSEN_IN_STRINGS = (r"\\u", r"\\/")
"""What is found wherever strings have an escape that ClickHouse would write otherwise."""
_CHOSEN = (
    *_CHOSEN_IN_STRINGS,
    # Blanks behind a value or a member's name, a colon, a comma between values and an opening bracket.
    r"[ \t\r\n][,}\]]",
    r'"[ \t\r\n]+:',
    r'":[ \t\r\n]',
    r'["}\]el0-9],[ \t\r\n]+["{\[tfn0-9-]',
    r"(^|[\[{:,])[\[{][ \t\r\n]",
    # Numbers with a fraction or an exponent.
    r'(":|[\[,])-?[0-9]+[.eE]',
)
"""The same for all of JSON; texts within strings may look so too."""
_UPPER = "".join(map(chr, range(ord("A"), ord("Z") + 1)))
_FOLD = str.maketrans(_UPPER, _UPPER.lower())


def is_plain(text: str) -> bool:
    """Whether it is printable ASCII."""
    return _PLAIN.fullmatch(text) is not None


def folded(text: str) -> str:
    """With the letters of ASCII in lower case."""
    return text.translate(_FOLD)


def pieces(text: str) -> list[str]:
    """The parts of a text that any fold of its case leaves, in lower case, and that nothing escapes."""
    found: list[str] = []
    for run in _RUN.findall(text):
        found += re.split("|".join(map(re.escape, _cased(run))) or "(?!)", run)
    return [
        folded(part)[:LONGEST]
        for part in found
        if not (_TOO_COMMON.fullmatch(part) or (len(part) == 1 and part.isalpha()))
    ]


def _cased(run: str) -> list[str]:
    """The characters beyond ASCII that have a case."""
    return sorted({char for char in run if not char.isascii() and not char.lower() == char == char.upper()})


def is_foreign(text: str) -> bool:
    """Whether whatever matches it, folded in any way, has a character beyond ASCII."""
    return any(not char.isascii() and char not in SPECIAL for char in text)


def marked(text: str, form: Form) -> str:
    """A plain text as it stands in a column that is searched; cut if it is very long."""
    start = START if form in ("equal", "start") else ""
    end = END if form in ("equal", "end") else ""
    if len(text) <= LONGEST:
        return f"{start}{folded(text)}{end}"
    return f"{start}{folded(text[:LONGEST])}" if start else f"{folded(text[-LONGEST:])}{end}"


def within(piece: str) -> Iterator[str]:
    """How a piece may stand in JSON: in a string, or, being JSON itself, as it is."""
    inside = _inside(piece)
    yield inside
    if inside != piece:
        yield piece


def of_member(key: str | None, text: str, form: Form) -> list[str]:
    """How a member may stand in JSON of which all, the start or the end, as text, is the plain ``text``."""
    if not text or len(text) > LONGEST or form == "part":
        return []
    plain = folded(text)
    if form == "end":
        bare = [plain + behind for behind in ",}]"] if plain[-1] in "0123456789e]}" else []
        return [f'{_inside(plain)}"', *bare]
    if key is None or not is_plain(key):
        return []
    name = f'"{_inside(folded(key))}":'
    found = [f'{name}"{_inside(plain)}' + ('"' if form == "equal" else "")]
    if plain[0] in "-0123456789tfn{[":
        found.append(name + plain)
    return found


def _inside(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def is_told(text: str) -> bool:
    """Whether in JSON it can only stand within a string, and there in one way but for escapes of choice."""
    return '"' not in text and not set(text) <= _OUTSIDE_STRINGS


def searched(column: str, *, json: bool, told: bool = False, marks: bool = True) -> str:
    """SQL of a column as it is searched. JSON is written anew where it is not as ClickHouse would write it:
    there is one way then to say something.

    Where all texts are ``told`` by strings, only what may be written otherwise within these matters. Without
    ``marks``, none of the texts has one: two copies of the column less.
    """
    if not json:
        old, new = sql.quote(_UPPER + START + END + FOREIGN), sql.quote(_UPPER.lower() + "\x01" * 3)
        text, lowered = column, f"translate({column}, {old}, {new})"
    else:
        patterns = ", ".join(map(sql.quote, _CHOSEN_IN_STRINGS if told else _CHOSEN))
        text = f"if(multiMatchAny({column}, [{patterns}]), JSONExtractRaw({column}), {column})"
        # JSON has no such characters as the marks.
        lowered = f"lower({text})"
    if not marks:
        return lowered
    return (
        f"concat({sql.quote(START)}, {lowered}, "
        f"if(isASCII({text}), {sql.quote(END)}, {sql.quote(END + FOREIGN)}))"
    )
