"""Texts of values as they stand in JSON, and JSON as it is scanned."""

from __future__ import annotations

import re
from collections.abc import Iterator

SHORTEST = 2
"""A text of one character is in nearly every row."""
LONGEST = 200
"""More of a text makes it no rarer."""
_PLAIN = re.compile(r"[ -~]+")
_FOLD = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


def pieces(text: str) -> list[str]:
    """The parts of a text that are printable ASCII, in lower case: what stays of it whatever folds its case.

    The rest is not looked for: how it is folded or escaped differs.
    """
    found = [part.translate(_FOLD)[:LONGEST] for part in _PLAIN.findall(text)]
    return [part for part in found if len(part) >= SHORTEST]


def within(piece: str) -> Iterator[str]:
    """How a piece may stand in JSON: in a string, or, being JSON itself, as it is."""
    inside = _inside(piece)
    yield inside
    if inside != piece:
        yield piece


def of_member(key: str, text: str, *, whole: bool) -> list[str]:
    """How a member may stand in JSON whose value, as text, begins with ``text`` or is it.

    Empty if key or text have other characters than printable ASCII.
    """
    if not text or not _PLAIN.fullmatch(text) or not _PLAIN.fullmatch(key):
        return []
    name, plain = f'"{_inside(key.translate(_FOLD))}":', text.translate(_FOLD)
    found = [f'{name}"{_inside(plain)}' + ('"' if whole and len(plain) < LONGEST else "")]
    if plain[0] in "-0123456789tfn{[":
        found.append(name + plain)
    return [part[: len(name) + 2 * LONGEST] for part in found]


def _inside(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def scanned(column: str, *, json: bool) -> str:
    """SQL of a column as it is searched for pieces.

    JSON is written anew, so that there is one way in which it says something. The three characters beyond
    ASCII that count as ASCII letters where case is folded are replaced by those.
    """
    text = f"JSONExtractRaw({column})" if json else column
    for char, letter in (("\u212a", "k"), ("\u017f", "s"), ("\u0130", "i")):
        text = f"replaceAll({text}, '{char}', '{letter}')"
    return f"lower({text})"
