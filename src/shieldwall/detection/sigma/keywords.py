"""Words that a rule looks for anywhere in an event."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from shieldwall.detection.sigma.clauses import Clause, joined
from shieldwall.detection.sigma.fields import LEAST_GUARD, Piece, Wildcard, escaped, merged
from shieldwall.detection.sigma.literals import quoted

Word = Sequence[Piece]
_IN_TEXT = {Wildcard.ANY: r'(?:[^"\\]|\\.)*', Wildcard.ONE: r'(?:[^"\\]|\\.)'}
"""Wildcards that stay inside one string of JSON."""
_IN_ROW = {piece: piece.value for piece in Wildcard}
_VALUE_ENDS = r'(?:[^"\\]|\\.)*"\s*[,}\]]'
"""What follows inside a value, but not inside the name of a member."""
_NUMBER_ENDS = r"[\d.]*\s*[,}\]]"


def in_record(column: str, words: Sequence[Word], *, cased: bool) -> Clause:
    """That one value in a column of JSON has one of the words in it; names of members do not count."""
    written = [list(map(_written, _trimmed(word))) for word in words]
    patterns = [_pattern(word, _IN_TEXT) for word in written]
    ends = f"(?:{_VALUE_ENDS}|{_NUMBER_ENDS})" if any(map(_is_number, written)) else _VALUE_ENDS
    either = patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"
    found = Clause(f"{column} matches regex {quoted(_flags(cased) + either + ends)}")
    longest = [max((piece for piece in word if isinstance(piece, str)), key=len) for word in written]
    if min(map(len, longest)) < LEAST_GUARD:
        return found
    guards = [Clause(f"{column} contains{'_cs' if cased else ''} {quoted(text)}") for text in longest]
    return joined("and", [joined("or", guards), found])


def in_row(word: Word, *, cased: bool) -> Clause:
    """That a column of a row has the text in it."""
    pieces = _trimmed(word)
    if len(pieces) == 1 and isinstance(pieces[0], str):
        return Clause(f"* contains{'_cs' if cased else ''} {quoted(pieces[0])}")
    return Clause(f"* matches regex {quoted(_flags(cased) + _pattern(pieces, _IN_ROW))}")


def _pattern(word: Word, wildcards: Mapping[Wildcard, str]) -> str:
    return "".join(wildcards[piece] if isinstance(piece, Wildcard) else escaped(piece) for piece in word)


def _trimmed(pieces: Word) -> list[Piece]:
    """Without wildcards at the ends: words are found anywhere."""
    found = merged(pieces)
    while found and found[0] is Wildcard.ANY:
        del found[0]
    while found and found[-1] is Wildcard.ANY:
        del found[-1]
    return found


def _is_number(word: Word) -> bool:
    return all(isinstance(piece, str) and piece.replace(".", "").isdigit() for piece in word)


def _written(piece: Piece) -> Piece:
    """As a string of JSON has it."""
    return json.dumps(piece, ensure_ascii=False)[1:-1] if isinstance(piece, str) else piece


def _flags(cased: bool) -> str:
    return "(?s)" if cased else "(?is)"
